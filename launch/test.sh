#!/usr/bin/env bash
# Runs the tests: bash launch/test.sh [--long] [pytest arguments]. --long: with those that
# start many processes or build a package, too, as CI does. The first use makes .venv, of
# the Python that PYTHON names if it is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/setup.sh
setup "[test,tensorboard,wandb,mlflow]"
setup_export
# Two processes share the cores: threads of BLAS would wait for one another, spinning.
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
