#!/bin/bash
# Installs what is missing of the given groups of tools/packages.txt: as root with apt-get; otherwise
# prints the line that does it and fails.
set -euo pipefail

lists="$(dirname "${BASH_SOURCE[0]}")/packages.txt"

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

offered() {
  [[ "$(apt-cache policy "$1" 2>/dev/null)" == *"Candidate: "[^\(]* ]]
}

# The alternative to take: the first that is installed or that apt offers, else the last. A later one
# that happens to be installed doesn't count: on Debian 12 it would be the wrong Boost.
choose() {
  local alternative
  for alternative in "$@"; do
    if installed "$alternative" || offered "$alternative"; then break; fi
  done
  echo "$alternative"
}

missing=()
list_missing() {
  local group entry wanted package
  missing=()
  for wanted in "$@"; do
    while read -r group entry; do
      [ "$group" = "$wanted" ] || continue
      # shellcheck disable=SC2046  # the alternatives are words
      package=$(choose $(tr '|' ' ' <<<"$entry"))
      installed "$package" || missing+=("$package")
    done <"$lists"
  done
}

list_missing "$@"
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
  {
    echo "Some Debian packages are missing. This installs them:"
    for package in "${missing[@]}"; do
      if ! offered "$package"; then echo "sudo apt-get update"; break; fi
    done
    echo "sudo apt-get install -y --no-install-recommends ${missing[*]}"
  } >&2
  exit 1
fi

echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
apt-get update -q
# What apt offers may be another choice now.
list_missing "$@"
# Postfix and Dovecot would start as daemons, on ports that are not ours to take.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
for package in "${missing[@]}"; do
  if [ "$package" = postfix ] && command -v debconf-set-selections >/dev/null; then
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
  fi
done
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
