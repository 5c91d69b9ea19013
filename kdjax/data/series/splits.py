"""Splits of windows: by whole groups, by time, or at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import number
from kdjax.data.dataset import (
    TEST_SEED,
    Examples,
    hold_out_groups,
    hold_out_stratified,
)
from kdjax.data.series.fields import FIELD, Cutting
from kdjax.data.series.recordings import Cut
from kdjax.errors import InputError

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


def check_apart(parts: Sequence[Cut], split: str) -> None:
    """InputError if a test file has a group, or in it a time, of the others."""
    one, other = (part.recording for part in parts)
    for name in sorted({*one.groups} & {*other.groups}):
        where = f"{other.files[0]}: {FIELD}test_path"
        if split == "group":
            raise InputError(
                f"{where}: expected other groups than in {one.files[0]}, "
                f"found {name!r} in both"
            )
        times = [
            each.rows.time[each.rows.group == each.groups.index(name)]
            for each in (one, other)
        ]
        if one.nanoseconds and np.intersect1d(*times).size:
            raise InputError(
                f"{where}: expected other times than in {one.files[0]}, found some in "
                "both"
            )


def split_windows(
    parts: Sequence[Cut],
    examples: Sequence[Examples],
    split: str,
    cutting: Cutting,
    fractions: tuple[float, float],
    seed: int,
) -> list[Index]:
    """The windows of train, validation and, where it has no files of its own, test."""
    (validation, test), (first, *given) = fractions, examples
    if split == "time":
        rows, starts = parts[0].recording.rows, parts[0].starts
        until = 1.0 if given else 1 - test
        cuts = cut_times(rows.time, ((1 - validation) * until, until)[: 2 - len(given)])
        return by_time(
            rows.group,
            rows.time,
            starts,
            cuts=cuts,
            window=cutting.window,
            horizon=cutting.horizon,
        )

    def draw(
        index: Index, fraction: float, seed: int, where: str
    ) -> tuple[Index, Index]:
        y, group = first.y[index], first.group[index]
        if split == "group":
            return by_group(group, y, fraction=fraction, seed=seed, where=where)
        return hold_out_stratified(y, fraction=fraction, seed=seed, where=where)

    pool, held = np.arange(len(first.y)), []
    if not given:
        rest, tested = draw(pool, test, TEST_SEED, f"{FIELD}test")
        pool, held = pool[rest], [pool[tested]]
    rest, validated = draw(pool, validation, seed, f"{FIELD}validation")
    return [pool[rest], pool[validated], *held]


def regrouped(part: Examples, i: int, split: str) -> Examples:
    """The same, with groups of this split's own: a period of a group, or a window."""
    own = part.group if split == "time" else np.arange(len(part.y), dtype=np.int32)
    return part._replace(group=own * 3 + np.int32(i))
