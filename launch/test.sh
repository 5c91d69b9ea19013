#!/usr/bin/env bash
# Runs the tests: bash launch/test.sh [pytest arguments]. The first use makes .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/setup.sh
setup "[test,tensorboard]"
exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
