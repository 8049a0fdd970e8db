#!/bin/bash
# clang-format and buildifier (changing nothing), then clang-tidy on the given .cc files or on all:
# its own checks, and clang's analysis of what absl's annotations say of locks.
set -euo pipefail

tools/format.sh --check

# clang-tidy compiles: what Bazel generates must be there.
bazel build --keep_going //...
python3 tools/compdb.py

if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(git ls-files '*.cc')
fi
printf '%s\0' "${files[@]}" |
  xargs -0 -P "$(nproc)" -n 1 clang-tidy --quiet --warnings-as-errors='*' \
    --extra-arg=-Wthread-safety -p .
echo "lint: ${#files[@]} files are clean"
