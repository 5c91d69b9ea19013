"""A recording's CSV file: a line of names, then numbers."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdjax.errors import InputError


def read_table(path: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of a CSV file by name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names = [name.strip() for name in next(csv.reader([file.readline()]), [])]
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                columns = np.loadtxt(
                    _filled(file, columns=len(names)),
                    delimiter=",",
                    ndmin=2,
                    comments=None,
                    quotechar='"',
                    converters=_number,
                )
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file, found none") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as numbers ({error})") from error
    if len(set(names) - {""}) != len(names) or not names or _numbers(names):
        raise InputError(f"{path}: expected a line of different names, found {names}")
    if not len(columns):  # of which NumPy warns
        raise InputError(f"{path}: expected numbers below its first line, found none")
    if columns.shape[1] != len(names):
        raise InputError(
            f"{path}: expected {len(names)} columns, as its first line names, "
            f"found {columns.shape[1]}"
        )
    columns[np.isinf(columns)] = np.nan
    return dict(zip(names, columns.T, strict=True))


def _filled(lines: Iterable[str], *, columns: int) -> Iterator[str]:
    """The lines below the first, without the blank ones at the end.

    np.loadtxt drops blank lines without a word, which would put what follows too early:
    in one column they are NaN; ValueError among more.
    """
    blank = 0
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            blank += 1
            continue
        if blank and columns > 1:
            raise ValueError(f"line {number - blank} is blank")
        yield from ["nan\n"] * blank
        yield line
        blank = 0


def _number(text: str) -> float:
    return float(text) if text.strip() else np.nan


def _numbers(names: Sequence[str]) -> bool:
    try:
        return bool([float(name) for name in names])
    except ValueError:
        return False
