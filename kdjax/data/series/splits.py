"""Splits of windows: by whole groups, by time, or at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import number
from kdjax.data.dataset import hold_out_groups, hold_out_stratified

Index = NDArray[np.intp]


def by_group(
    group: NDArray[np.int32],
    y: NDArray[np.int32],
    *,
    fraction: float,
    seed: int,
    where: str,
) -> tuple[Index, Index]:
    """Draws `fraction` of the groups: the windows of the others, and theirs.

    Where each group has windows of one class alone, of each class so many; at least one
    group is drawn and one stays.
    """
    number(fraction, low=0, high=1, where=where)
    names, first, member = np.unique(group, return_index=True, return_inverse=True)
    if len(names) > 2 and (y == y[first][member]).all():
        own = y[first]
        _, held = hold_out_stratified(own, fraction=fraction, seed=seed, where=where)
        if len(held):
            chosen = np.isin(member, held)
            return np.flatnonzero(~chosen), np.flatnonzero(chosen)
    count = max(1, min(round(fraction * len(names)), len(names) - 1))
    return hold_out_groups(group, count=count, seed=seed, where=where)


def cut_times(time: NDArray[np.int64], parts: tuple[float, ...]) -> list[int]:
    """The times before which so much of the rows lies: `parts` rise, in (0, 1)."""
    every = np.sort(time)
    return [int(every[min(round(p * len(every)), len(every) - 1)]) for p in parts]


def by_time(
    group: NDArray[np.int32],
    time: NDArray[np.int64],
    starts: Index,
    *,
    cuts: list[int],
    window: int,
    horizon: int,
) -> list[Index]:
    """The windows before the first cut, between cuts, and after the last.

    `group`, `time`: of the rows, sorted. A window and the row of its label lie before a
    cut, or the window begins `window + horizon` rows or more after the cut, counted in
    its group; the others are left out. So no two parts share a row, or a label's.
    """
    end = starts + window + horizon - 1
    parts, left = [], np.zeros(len(time), np.intp)
    first = np.searchsorted(group, group)  # of the row's group
    for cut in [*cuts, None]:
        if cut is None:
            parts.append(np.flatnonzero(starts >= left[starts]))
            break
        before = np.concatenate([[0], np.cumsum(time < cut)])
        after = np.searchsorted(group, group, side="right")
        # the group's first row at the cut or after it
        at_cut = first + before[after] - before[first]
        chosen = (starts >= left[starts]) & (end < at_cut[starts])
        parts.append(np.flatnonzero(chosen))
        left = at_cut + window + horizon
    return parts
