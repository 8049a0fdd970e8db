#!/bin/bash
# Images and the chart of another revision, in .previous/: what the upgrade test begins with.
#   tools/previous_release.sh v0.1.0
#   ./dev test cluster --previous .previous -k from_the_release_before
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 REVISION" >&2; exit 2; }
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
work="$(mktemp -d)"
clean() {
  (cd "$work/tree" && bazel clean --expunge) || true
  git -C "$root" worktree remove --force "$work/tree"
  rm -r "$work"
}
trap clean EXIT
git -C "$root" worktree add --detach "$work/tree" "$1"
[ ! -e "$root/.bazelrc.user" ] || cp "$root/.bazelrc.user" "$work/tree"
rm -rf "$root/.previous"
mkdir "$root/.previous"
cp -r "$work/tree/k8s/chart" "$root/.previous/chart"
cd "$work/tree"
./dev images --tag previous --output "$root/.previous/images" \
  auth-svc gateway-pop3 gateway-smtp postern-all posternctl relay-svc store-svc
