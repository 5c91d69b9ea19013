#!/usr/bin/env bash
# Runs an experiment on this machine: bash launch/local.sh [CONFIG] [--flag=value ...]
# Without CONFIG: the quick start. The first use makes .venv.
set -euo pipefail
called_from="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"
source launch/setup.sh

config=digits_eskd
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  config="$1"
  shift
fi
# Paths are the caller's; this folder's configs are found from anywhere.
file="${config%%:*}"
if [ ! -e "configs/$file.py" ] && ! (cd "$called_from" && [ -e "$file" ]); then
  [ -e "$file" ] || fail "no config file $file; there are: $(echo configs/*_*.py)"
  config="$root/$config"
fi
setup ""
cd "$called_from"
exec "$root/$venv/bin/kdjax" --config="$config" "$@"
