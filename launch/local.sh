#!/usr/bin/env bash
# Runs an experiment on this machine: bash launch/local.sh [CONFIG] [--flag=value ...]
# Without CONFIG: the quick start. The first use makes .venv.
set -euo pipefail
called_from="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/setup.sh

config=configs/digits_eskd.py
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  config="$1"
  shift
fi
[ -e "${config%%:*}" ] || config="$called_from/$config"
[ -e "${config%%:*}" ] || fail "no config file ${config#"$called_from/"}; there are: $(echo configs/*_*.py)"
setup ""
exec .venv/bin/python -m kdjax --config="$config" "$@"
