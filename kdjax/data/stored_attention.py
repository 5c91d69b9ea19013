"""Attention maps in a file: where in each example a teacher looked, by example key.

`attention.npz` holds key [n] str, fold [n] int32, as that of soft labels, maps
[n, rows, columns] float32 and header, a JSON string. A map is a share for each cell of
a grid over the image, rows from above: no share is negative, and they sum to 1. Maps
are joined by key, never by row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer, Num

from kdjax import files
from kdjax.data.dataset import rows_of
from kdjax.errors import InputError

FILE = "attention.npz"
ROUNDING = 1e-4  # of float32 shares that are summed


class Stored(NamedTuple):
    """Arrays of the file, or those of some examples."""

    key: np.ndarray
    fold: np.ndarray
    maps: np.ndarray


def write_attention(
    path: Path,
    *,
    key: np.ndarray,
    fold: Integer[np.ndarray, " n"],
    maps: Num[np.ndarray, "n rows columns"],
    header: Mapping[str, Any],
) -> None:
    """Writes maps, the key of each and the fold that it was made in."""
    arrays = Stored(key, fold.astype(np.int32), maps.astype(np.float32))
    said = np.array(json.dumps(dict(header)))
    files.write_arrays(path, arrays._asdict() | {"header": said})


def read_attention(path: Path, key: np.ndarray) -> Stored:
    """The maps of the examples of these keys, in their order.

    InputError if the file is absent or damaged, a map is not one of shares, or a key
    stands in it twice or not at all.
    """
    stored = files.read_arrays(path, Stored)
    _, fold, maps = stored
    if maps.ndim != 3 or not maps.size or fold.shape != maps.shape[:1]:
        raise InputError(
            f"{path}: maps: expected [n, rows, columns] and fold [n], found "
            f"{maps.shape} and {fold.shape}"
        )
    if stored.key.shape != maps.shape[:1]:
        raise InputError(
            f"{path}: key: expected {maps.shape[:1]}, one for each map, found "
            f"{stored.key.shape}"
        )
    right = (maps >= 0).all(axis=(1, 2))  # NaN is not
    right &= abs(maps.sum(axis=(1, 2)) - 1) <= ROUNDING
    if not right.all():
        row = int(np.argmin(right))
        raise InputError(
            f"{path}: maps: expected shares that sum to 1, found {maps[row].min():g} "
            f"to {maps[row].max():g}, sum {maps[row].sum():g}, in "
            f"{str(stored.key[row])!r}"
        )
    rows = rows_of(stored.key, key, where=f"{path}: key")
    return Stored(key, fold[rows], maps[rows].astype(np.float32))


def overlaps(places: int, cells: int) -> Float[np.ndarray, "cells places"]:
    """The matrix that averages so many equal places over so many equal cells.

    Both divide the same length: entry [i, j] is the share of cell i that place j
    covers, so that rows sum to 1. With more cells than places, a cell inside a place
    has its value.
    """
    cell, place = (np.arange(n + 1) / n for n in (cells, places))
    until = np.minimum(cell[1:, None], place[None, 1:])
    return cells * np.maximum(until - np.maximum(cell[:-1, None], place[None, :-1]), 0)
