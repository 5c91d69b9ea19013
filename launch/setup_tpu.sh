#!/usr/bin/env bash
# Installs kdjax for the TPU of this machine: bash launch/setup_tpu.sh [--free_chips]
# Into .venv, pinned by launch/constraints.txt; instant when neither has changed since.
# Python 3.11 comes through uv, as the images have 3.10 or 3.12.
# --free_chips first ends every process that still holds a chip, whoever started it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/setup.sh

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# A killed run may leave processes, and libtpu's lock, behind.
free_chips() {
  local process
  for process in $(as_root lsof -t /dev/accel* /dev/vfio/* 2>/dev/null | sort -u); do
    echo "kdjax: ending process $process, which holds a chip" >&2
    as_root kill -KILL "$process" || true # it may have ended by itself
  done
  as_root rm -f /tmp/libtpu_lockfile
}

# Sets PYTHON, which setup.sh reads, to a Python 3.11.
use_python_311() {
  if command -v python3.11 >/dev/null; then
    PYTHON=python3.11
    return
  fi
  export PATH="$HOME/.local/bin:$PATH"
  if ! command -v uv >/dev/null; then
    python3 -m pip --version >/dev/null 2>&1 || {
      as_root apt-get update -qq
      as_root apt-get install -y -qq python3-pip
    } || fail "needs pip to install uv (apt-get install python3-pip)"
    # The variable: Ubuntu 24.04 wants to be asked twice, even with --user.
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --user --quiet \
      -c launch/constraints.txt uv || fail "pip could not install uv"
  fi
  uv python install --quiet 3.11 || fail "uv could not install Python 3.11"
  PYTHON="$(uv python find 3.11)"
}

case "${1-}" in
  --free_chips) free_chips ;;
  "") ;;
  *) fail "setup_tpu.sh: expected --free_chips or nothing, found '$1'" ;;
esac
use_python_311
setup "[tpu]"
