"""Labels of rows and of windows: by intervals of time, a rule, or what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.data.series.columns import position
from kdjax.data.series.formats.lines import Column, Names
from kdjax.data.series.formats.reading import Form, open_rows
from kdjax.data.series.times import NONE, Clock
from kdjax.errors import InputError

RULES = ("last", "majority", "all")
CHANGES = ("down", "same", "up")
START, END, LABEL = "start", "end", "label"


class Intervals(NamedTuple):
    """Times [start, end) and their labels; in a group sorted by start."""

    group: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    label: NDArray[np.int32]


def read_intervals(
    path: Path,
    form: Form,
    clock: Clock,
    *,
    group: str | None,
    names: tuple[Names, Names],
) -> Intervals:
    """A CSV file of columns start, end, label and, where there are groups, `group`.

    `names`: of the groups and of the labels. InputError: what cannot be read, an empty
    cell, an end that is not after its start, two intervals of a group that overlap.
    """
    groups, labels = names
    header, chunks = open_rows(path, Form(form.delimiter, form.decimal))
    at = {name: position(header, name, path) for name in (START, END, LABEL)}
    if group is not None:
        at[group] = position(header, group, path)
    parts, lines = [], []
    for line, columns in chunks:
        cells = {name: columns[i] for name, i in at.items()}
        start = clock.read(cells[START], Column(path, START, line))
        end = clock.read(cells[END], Column(path, END, line))
        label = labels.codes(cells[LABEL])
        code = np.zeros(len(line), np.int32)
        if group is not None:
            code = groups.codes(cells[group])
        empty = {START: start == NONE, END: end == NONE, LABEL: label < 0}
        empty |= {group or "": code < 0}
        for name, where in empty.items():
            if where.any():
                fault = Column(path, name, line).fault
                raise fault(int(np.argmax(where)), "a value", "")
        if (end <= start).any():
            i = int(np.argmax(end <= start))
            fault = Column(path, END, line).fault
            raise fault(i, f"a time after {cells[START][i]!r}", cells[END][i])
        parts.append(Intervals(code, start, end, label))
        lines.append(line)
    if not parts:
        raise InputError(f"{path}: expected rows, found none")
    fields: Any = zip(*parts, strict=True)
    found = Intervals(*(np.concatenate(field) for field in fields))
    order = np.lexsort((found.start, found.group))
    found = Intervals(
        found.group[order], found.start[order], found.end[order], found.label[order]
    )
    same = found.group[1:] == found.group[:-1]
    overlaps = same & (found.start[1:] < found.end[:-1])
    if overlaps.any():
        line = np.concatenate(lines)[order]
        i = int(np.argmax(overlaps))
        raise InputError(
            f"{path}: column {START!r}, row {line[i + 1]}: expected intervals that do "
            f"not overlap, found a start before the end in row {line[i]}"
        )
    return found


def label_rows(
    intervals: Intervals, group: NDArray[np.int32], time: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The label of each row, NaN where it is in no interval. Rows sorted by group."""
    label = np.full(len(time), np.nan)
    for code in np.unique(intervals.group):
        _, start, end, name = (f[intervals.group == code] for f in intervals)
        rows = slice(*np.searchsorted(group, [code, code + 1]))
        last = np.searchsorted(start, time[rows], side="right") - 1
        inside = (last >= 0) & (time[rows] < end[last])
        label[rows] = np.where(inside, name[last], np.nan)
    return label


def window_labels(
    label: NDArray[np.float64],
    starts: NDArray[np.intp],
    *,
    window: int,
    rule: str,
    classes: int,
) -> NDArray[np.int32]:
    """The label of each window of rows, -1 for one that has none.

    "last": its last row's. "majority": the one of most rows, of several the first by
    code; none where more than half of the rows have none. "all": that of every row,
    none where they differ or one has none.
    """
    if rule == "last":
        last = label[starts + window - 1]
        return np.where(np.isnan(last), -1, last).astype(np.int32)
    count = np.zeros((len(starts), classes), np.int64)
    for code in range(classes):
        until = np.concatenate([[0], np.cumsum(label == code)])
        count[:, code] = until[starts + window] - until[starts]
    if rule == "all":
        kept = count.max(axis=1, initial=0) == window
    else:
        kept = 2 * count.sum(axis=1) >= window
    if not classes:
        return np.full(len(starts), -1, np.int32)
    return np.where(kept, count.argmax(axis=1), -1).astype(np.int32)


def window_changes(
    column: NDArray[np.float64], starts: NDArray[np.intp], *, window: int, horizon: int
) -> NDArray[np.int32]:
    """0 down, 1 same, 2 up: from a window's last row to the one `horizon` rows on."""
    last = starts + window - 1
    return (1 + np.sign(column[last + horizon] - column[last])).astype(np.int32)
