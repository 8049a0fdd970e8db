#!/bin/bash
# Formats every C++ file, and every Bazel file if buildifier is there. --check: only says what would change.
set -euo pipefail

mode=(-i)
buildifier_mode=fix
if [ "${1:-}" = --check ]; then
  mode=(--dry-run -Werror)
  buildifier_mode=check
fi

git ls-files -z '*.cc' '*.h' | xargs -0 -r clang-format "${mode[@]}"

if command -v buildifier >/dev/null; then
  git ls-files -z 'BUILD' '*/BUILD' 'WORKSPACE' '*/WORKSPACE' '*.bzl' |
    xargs -0 -r buildifier -mode="$buildifier_mode" -lint=off
else
  # Debian 12 has no package of it; Debian 13's golang-github-bazelbuild-buildtools may.
  echo "buildifier is not installed, so Bazel files are left alone." \
    "Get it from github.com/bazelbuild/buildtools/releases." >&2
fi
