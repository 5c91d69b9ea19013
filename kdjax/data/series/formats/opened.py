"""An opened file of rows: its columns' names and its rows, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.errors import InputError

CHUNK = 2**14  # rows, so that no more of a long file is text at once


class Chunk(NamedTuple):
    """Some rows of a file: the line of each, and the cells of each column."""

    line: NDArray[np.int64]
    columns: tuple[tuple[str, ...], ...]


class Opened(NamedTuple):
    """A file's columns by name ("" for one without), and its rows, read when asked."""

    names: tuple[str, ...]
    chunks: Iterator[Chunk]


def check_names(names: tuple[str, ...], path: Path) -> None:
    """InputError if two columns have one name, or none has any."""
    named = [name for name in names if name]
    if not named:
        raise InputError(f"{path}: row 1: expected the columns' names, found none")
    for name in named:
        if named.count(name) > 1:
            raise InputError(
                f"{path}: column {name!r}, row 1: expected each name once, "
                f"found it {named.count(name)} times"
            )
