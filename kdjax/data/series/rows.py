"""Rows of recordings: typed, complete, each time once, joined, as relative changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.data.series.windows import repeated

Index = NDArray[np.intp]


class Rows(NamedTuple):
    """Rows [n], sorted by group, then time.

    `values` [n, channels]; `label`: the code of the class, or the column that `horizon`
    looks at, NaN where there is none; `file`, `line` [n, sources]: where a row stands
    in each source.
    """

    group: NDArray[np.int32]
    time: NDArray[np.int64]
    values: NDArray[np.float64]
    label: NDArray[np.float64]
    file: NDArray[np.int32]
    line: NDArray[np.int64]

    def take(self, index: Any) -> Rows:
        """The rows at `index`, in its order."""
        return Rows(*(field[index] for field in self))


def marks(rows: Rows, groups: Sequence[str]) -> NDArray[np.uint64]:
    """What each row is: 64 bits of its group's name, its time and its values.

    So that a row is known again in windows cut otherwise, by this or another stage.
    """
    names = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in groups]
    found = np.frombuffer(b"".join(names), np.uint64)[rows.group]
    for column in (rows.time, *np.ascontiguousarray(rows.values.T)):
        found = (found ^ column.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        found ^= found >> np.uint64(29)
    return found


def stack(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, one after another."""
    return Rows(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def by_time(rows: Rows) -> Rows:
    """Sorted by group, then time; what is equal stays in its order."""
    return rows.take(np.lexsort((rows.time, rows.group)))


def differing(rows: Rows) -> tuple[NDArray[np.bool_], int | None]:
    """Which of the sorted rows repeat the (group, time) of the one above.

    And the first of these that is not the same in values and label, None if all are.
    """
    again = repeated(rows.group, rows.time)
    row = np.flatnonzero(again)
    same = (rows.values[row] == rows.values[row - 1]).all(axis=1)
    one, other = rows.label[row], rows.label[row - 1]
    same &= (one == other) | (np.isnan(one) & np.isnan(other))
    return again, None if same.all() else int(row[np.argmin(same)])


def relative(
    group: NDArray[np.int32], values: NDArray[np.float64]
) -> tuple[Index, NDArray[np.float64]]:
    """`(x_t - x_{t-1}) / x_{t-1}` against the row above in its group.

    The rows that have one above, and their changes; not finite where a 0 is above.
    """
    row = np.flatnonzero(group[1:] == group[:-1]) + 1
    before = values[row - 1]
    with np.errstate(all="ignore"):
        return row, (values[row] - before) / before


def pivot(
    group: NDArray[np.int32],
    time: NDArray[np.int64],
    key: NDArray[np.int32],
    value: NDArray[np.float64],
    *,
    keys: int,
) -> tuple[Index, NDArray[np.float64], Index, int | None]:
    """From a row a value to a row a time, `[n, keys]`, NaN where a key has none.

    The first row of each (group, time), sorted; its values; which of these each row
    went to; and a row whose (group, time, key) stands above already, or None.
    """
    order = np.lexsort((key, time, group))
    above = np.ones(len(order), bool)
    above[:1] = False
    for field in (group, time):
        ordered = field[order]
        above[1:] &= ordered[1:] == ordered[:-1]
    twice = above.copy()
    twice[1:] &= key[order][1:] == key[order][:-1]
    place = np.cumsum(~above) - 1
    wide = np.full((int((~above).sum()), keys), np.nan)
    wide[place, key[order]] = value[order]
    went = np.empty(len(order), np.intp)
    went[order] = place
    first = np.full(len(wide), len(order))
    np.minimum.at(first, went, np.arange(len(order)))
    bad = int(order[np.argmax(twice)]) if twice.any() else None
    return first, wide, went, bad
