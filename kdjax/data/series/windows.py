"""Windows of rows that follow one another, and rows that stand in several tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Rows = NDArray[np.intp]


def inner_join(keys: Sequence[tuple[NDArray, NDArray]]) -> list[Rows]:
    """The rows of each table whose key is in every table, in the order of the keys.

    `keys`: for each table its (group [n], time [n]), integers, no pair twice. Row i of
    all results has the same key; they are sorted by group, then time.
    """
    tables = len(keys)
    group, time = (np.concatenate(part) for part in zip(*keys, strict=True))
    sizes = [len(key[0]) for key in keys]
    table = np.repeat(np.arange(tables), sizes)
    row = np.concatenate([np.arange(size) for size in sizes])
    order = np.lexsort((table, time, group))
    first = np.flatnonzero(_differs(group[order]) | _differs(time[order]))
    everywhere = np.diff(np.append(first, len(order))) == tables
    return [row[order[first[everywhere] + i]] for i in range(tables)]


def repeated(group: NDArray, time: NDArray) -> NDArray[np.bool_]:
    """Which rows have a (group, time) that a row above has: all but its first."""
    order = np.lexsort((time, group))  # stable
    again = np.zeros(len(order), bool)
    again[order] = ~(_differs(group[order]) | _differs(time[order]))
    return again


def run_starts(group: NDArray, follows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows begin a run: those of a new group, or that do not follow the last."""
    return _differs(group) | ~follows


def steps(group: NDArray, time: NDArray[np.int64]) -> NDArray[np.float64]:
    """How long after the row above each row is; NaN for the first of a group.

    Sorted by group, then time.
    """
    found = np.full(len(time), np.nan)
    # the difference of two int64 fits into a uint64
    found[1:] = np.diff(time.astype(np.uint64))
    found[_differs(group)] = np.nan
    return found


def in_windows(starts: Rows, *, window: int, rows: int) -> NDArray[np.bool_]:
    """Which of `rows` rows are in a window or several."""
    change = np.bincount(starts, minlength=rows + 1)
    change -= np.bincount(starts + window, minlength=rows + 1)
    return np.cumsum(change[:rows]) > 0


def window_starts(begins: NDArray[np.bool_], *, window: int, step: int) -> Rows:
    """The first rows of windows of `window` rows of one run.

    `begins` [n]: which rows begin a run. A run's first window is at its first row, each
    next one `step` rows on; what is left at the end of a run is in none.
    """
    first = np.flatnonzero(begins)
    length = np.diff(np.append(first, len(begins)))
    count = np.maximum(0, (length - window) // step + 1)
    before = np.cumsum(count) - count
    nth = np.arange(count.sum()) - np.repeat(before, count)
    starts: Rows = np.repeat(first, count) + step * nth
    return starts


def cut(values: NDArray, starts: Rows, *, window: int) -> NDArray:
    """The windows of `values` [n, channels] that begin at `starts`: [k, window, c]."""
    if not len(starts):
        return np.empty((0, window, *values.shape[1:]), values.dtype)
    windows = sliding_window_view(values, window, axis=0)[starts]
    return np.ascontiguousarray(windows.transpose(0, 2, 1))


def _differs(values: NDArray) -> NDArray[np.bool_]:
    """Which are not the same as the one before; the first is not."""
    first = np.ones(len(values), bool)
    first[1:] = values[1:] != values[:-1]
    return first
