#!/bin/bash
# Runs one fuzz target, or all, for so many seconds each: tools/fuzz.sh [TARGET] [SECONDS].
# A target is a label or the end of one. What crashes one is kept beside its corpus, to be committed.
set -euo pipefail

target=""
seconds=60
for argument in "$@"; do
  case "$argument" in
    '' | *[!0-9]*) target="$argument" ;;
    *) seconds="$argument" ;;
  esac
done

all=$(bazel query --noshow_progress 'attr(tags, "fuzz", tests(//...))' 2>/dev/null)
labels=()
for label in $all; do
  case "$label" in *"$target") labels+=("$label") ;; esac
done
if [ ${#labels[@]} -eq 0 ]; then
  echo "no fuzz target '$target'; there are:" >&2
  echo "$all" >&2
  exit 1
fi

bazel build --config=fuzz "${labels[@]}"
bin=$(bazel info --config=fuzz bazel-bin 2>/dev/null)
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for label in "${labels[@]}"; do
  path="${label#//}"
  package="${path%%:*}"
  name="${path##*:}"
  corpus="$package/$(bazel query --noshow_progress --output=build "$label" 2>/dev/null |
    sed -n 's/^ *args = \["\(.*\)"\],*$/\1/p' | sed "s|^$package/||")"
  echo "== $label, $seconds s"
  mkdir -p "$found/$name"
  "$bin/$package/$name" -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$corpus/" "$found/$name" "$corpus"
done
echo "fuzz: ${#labels[@]} targets, no crash"
