"""What is said on stdout: a line that cannot be printed ends no training."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Prints text at once. That stdout is closed or full is said on stderr, once.

    Everything that is said of a run is also in its files.
    """
    try:
        write(text)
    except OSError as error:
        print(f"kdjax: {error.filename}: {error.strerror}", file=sys.stderr)


def warn(text: str) -> None:
    """Prints `kdjax: text` on stderr at once."""
    print(f"kdjax: {text}", file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Prints text at once; an OSError names stdout, which then leads nowhere."""
    try:
        print(text, flush=True)
    except OSError as error:
        lead_nowhere()
        raise OSError(error.errno, error.strerror, "stdout") from error


def lead_nowhere() -> None:
    """Lets stdout lead to the null device: Python writes what is left at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
