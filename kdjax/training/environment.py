"""The environment of a run: versions, commit, processor, devices, threads."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from kdjax import __version__
from kdjax.machine import threads
from kdjax.training.parallel import Parallel

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint", "scipy"),
    *("scikit-learn", "pillow", "wfdb"),
)
PACKAGE = Path(__file__).resolve().parents[1]


def describe(used: Parallel) -> dict[str, Any]:
    """All that results may depend on beside the config and the data; plain values.

    commit: of the checkout that kdjax is in, `clean` whether its tracked files are as
    committed; None where kdjax is installed. threads: the CPU cores this process may
    run on, which XLA's pool has one thread each of. date: UTC, ISO 8601.
    """
    devices = jax.devices()
    return {
        "kdjax": __version__,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        **commit(),
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": used.devices,
        "parallel": used.name,
        "processes": jax.process_count(),
        "processor": processor(),
        "threads": threads(),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def in_words(used: Parallel) -> str:
    """`2 devices (cpu), 1 process, 2 threads`."""
    kind = jax.devices()[0].device_kind
    parts = [
        f"{count} {name}{'' if count == 1 else plural}"
        for count, name, plural in (
            (used.devices, "device", "s"),
            (jax.process_count(), "process", "es"),
            (threads(), "thread", "s"),
        )
    ]
    return ", ".join([f"{parts[0]} ({kind})", *parts[1:]])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def commit() -> dict[str, Any]:
    """{"commit": 40 hex digits, "clean": bool} of this checkout, None if it is none."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(PACKAGE.parent), *arguments],
                capture_output=True,
                text=True,
                timeout=20,
            )
        except (OSError, subprocess.TimeoutExpired):  # no git here
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # of this package, not of a repository that it happens to be installed below
    if git("ls-files", "--error-unmatch", str(PACKAGE / "__init__.py")) is None:
        return {"commit": None, "clean": None}
    changed = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "clean": changed == ""}


@functools.cache
def processor() -> str:
    """The CPU's model, as the operating system names it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
