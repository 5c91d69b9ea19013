"""Wrong inputs of every kind: one line or a result, in time, and nothing half-written.

    .venv/bin/python -m tests.fuzz.run 10000

draws so many, other ones each time, and prints how many there were; with a second
argument, always the same ones. A process of its own, for in those of the tests the
annotations of all functions are checked, which a command does not do.
"""

import collections
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from kdjax.cli.command import machine_fault
from tests.fuzz import configs, datasets, flags, mutations

SECONDS = 20  # an input that takes longer hangs
MEMORY = 12 * 2**30  # what an input may ask for
SHARES = {"configs": 0.35, "flags": 0.1}  # of the inputs; the files' formats the rest


class Hangs(BaseException):
    """An input took too long; nothing under test handles this."""


@contextlib.contextmanager
def in_time():
    def stop(signum, frame):
        raise Hangs(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def check_config(number, valid, folder):
    draw = random.Random(number)
    return configs.check(mutations.config(draw.choice(valid), draw), folder / "run")


def check_flags(number, folder):
    return flags.check(flags.arguments(random.Random(number)), folder / "run")


def check_files(number, kind, valid, folder):
    draw = random.Random(number)
    copied = shutil.copytree(valid, folder / "data")
    names = sorted(path for path in copied.rglob("*") if path.is_file())
    kind.mangle(draw.choice(names), draw)
    return datasets.check(kind, copied)


def draw(check, number, same):
    """Calls check(number, folder=...) with so many numbers; how many were right."""
    ends = collections.Counter()
    how = settings(
        max_examples=number,
        deadline=None,
        database=None,
        derandomize=same,
        suppress_health_check=list(HealthCheck),
    )

    def one(number):
        with tempfile.TemporaryDirectory() as folder, in_time():
            try:
                ends["right" if check(number, folder=Path(folder)) else "wrong"] += 1
            except Exception as error:
                if isinstance(error, AssertionError) or machine_fault(error) is None:
                    raise
                ends["too large"] += 1  # exit code 3

    test = given(st.integers(0, 2**64 - 1))(how(one))
    (test if same else seed(random.randrange(2**32))(test))()
    return ends


def main(number, same=False):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    warnings.simplefilter("ignore")
    ends = collections.Counter()
    with tempfile.TemporaryDirectory() as root:
        os.environ["XDG_CACHE_HOME"] = root
        valid = [configs.valid(name) for name in configs.NAMES]
        checks = {}
        for name, kind in datasets.FORMATS.items():
            place = Path(root) / name
            place.mkdir()
            kind.write(place)
            assert datasets.check(kind, place), f"{name}: the valid files are wrong"
            checks[name] = lambda number, folder, kind=kind, place=place: check_files(
                number, kind, place, folder
            )
        checks["configs"] = lambda number, folder: check_config(number, valid, folder)
        checks["flags"] = check_flags
        rest = (1 - sum(SHARES.values())) / len(datasets.FORMATS)
        for name, check in checks.items():
            found = draw(check, max(1, round(number * SHARES.get(name, rest))), same)
            print(f"{name}: {sum(found.values())} inputs, {dict(found)}", flush=True)
            ends += found
    print(f"{sum(ends.values())} inputs: {dict(ends)}")


if __name__ == "__main__":
    main(int(sys.argv[1]), same=len(sys.argv) > 2)
