#!/bin/bash
# Formats every C++ file (clang-format) and every Bazel file (buildifier). --check: only says what would change.
set -euo pipefail

mode=(-i)
buildifier_mode=fix
if [ "${1:-}" = --check ]; then
  mode=(--dry-run -Werror)
  buildifier_mode=check
fi

git ls-files -z '*.cc' '*.h' | xargs -0 -r clang-format "${mode[@]}"

# Debian has no package of buildifier: Go builds this version of it once, into the cache.
version=v0.0.0-20250130132114-635c1223b1e6
buildifier=$(command -v buildifier || true)
if [ -z "$buildifier" ]; then
  folder="${XDG_CACHE_HOME:-$HOME/.cache}/postern/buildifier-$version"
  buildifier="$folder/buildifier"
  if [ ! -x "$buildifier" ] &&
    ! GOBIN="$folder" GOFLAGS= go install "github.com/bazelbuild/buildtools/buildifier@$version"; then
    echo "buildifier could not be built, so Bazel files are left alone." >&2
    exit 0
  fi
fi
git ls-files -z 'BUILD' '*/BUILD' 'WORKSPACE' '*/WORKSPACE' '*.bzl' |
  xargs -0 -r "$buildifier" -mode="$buildifier_mode" -lint=off
