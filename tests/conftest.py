"""Every test: CPU, jaxtyping's annotations checked, no silent rank promotion.

Small programs compile far longer than they run, so they are compiled without much
optimisation, unless JAX_DISABLE_MOST_OPTIMIZATIONS=0, and kept between runs; those of
processes that tests start by `python` too, but for the quick start.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

UNOPTIMISED = "JAX_DISABLE_MOST_OPTIMIZATIONS"
# The older way to emit loops halves the time to compile. XLA refuses to start with a
# flag that it does not know, so it is given to the version that was tried alone.
QUICK = ""
if version("jaxlib") == "0.10.2" and os.environ.get(UNOPTIMISED) != "0":
    QUICK = (
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    )
AS_FOR_USERS = os.environ.get("XLA_FLAGS", "")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jaxtyping

# What has arrays; the rest, called far more often, is left to mypy.
CHECKED = ("augment", "data", "losses", "models", "stages", "tasks", "training")
jaxtyping.install_import_hook(
    [f"kdjax.{name}" for name in CHECKED], "beartype.beartype"
)

import jax
import pytest
from matplotlib.figure import Figure

from kdjax.training import host

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(UNOPTIMISED.lower(), os.environ.get(UNOPTIMISED) != "0")
host.cache_compilation()
# Not " ", which a newer XLA takes for the name of a file.
os.environ["XLA_FLAGS"] = f"{AS_FOR_USERS} {QUICK}".strip()
jax.devices()  # which reads them, for this process alone
os.environ["XLA_FLAGS"] = AS_FOR_USERS


# The files that take longest, some for one program: begun last, they keep one process
# busy when the other has nothing left.
FIRST = (
    *("test_parallel.py", "test_run.py", "test_processes.py", "test_experiment.py"),
    *("test_recipes.py", "test_beatgan.py", "test_plan.py", "test_together.py"),
    *("test_wheel.py", "test_lowering.py"),
)


LONG = "--long"


def pytest_addoption(parser):
    parser.addoption(LONG, action="store_true", help="the tests marked long, too")


def pytest_collection_modifyitems(config, items):
    order = {name: i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(FIRST)))
    if not config.getoption(LONG):
        skip = pytest.mark.skip(reason=f"takes long: {LONG} runs it")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


@pytest.fixture(autouse=True, scope="module")
def forget_what_is_compiled():
    """A process may map so much memory and no more: past some 1,400 tests jax crashed
    where it read another program from its cache."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def undrawn():
    """Figures are made, their files left empty: PNG is half of a short run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, file, **how: None)
        yield


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data, or a skip where this machine does not have it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def python():
    """Runs Python in a process of its own, from the project's root."""

    def run(*arguments, devices=1, check=True, env=None, optimised=False):
        if arguments[:2] == ("-m", "kdjax") and str(arguments[2]).startswith("--"):
            # another process of these tests has the other core
            arguments = (*arguments[:2], "--jobs=1", *arguments[2:])
        flags = f"--xla_force_host_platform_device_count={devices}"
        changed = os.environ | {"XLA_FLAGS": flags} | (env or {})
        if not optimised:
            changed |= {UNOPTIMISED: "1", "XLA_FLAGS": f"{flags} {QUICK}"}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env={k: v for k, v in changed.items() if v is not None},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run
