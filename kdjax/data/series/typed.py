"""A source's cells as typed rows: times, codes of names, numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.data.series.columns import Reading, Source, position
from kdjax.data.series.formats.lines import Column, Names, numbers
from kdjax.data.series.formats.opened import Chunk
from kdjax.data.series.formats.reading import open_rows
from kdjax.data.series.rows import Rows, stack
from kdjax.data.series.times import NONE, Clock
from kdjax.errors import InputError


class Table(NamedTuple):
    """A source's rows as read, and in the long format the code of each one's key."""

    rows: Rows
    key: NDArray[np.int32]


class Shared:
    """What is one for all sources: the clock, codes of names, the files and counts."""

    def __init__(self, reading: Reading) -> None:
        self.clock = Clock(reading.time_unit, reading.time_format, reading.form.decimal)
        self.groups, self.labels, self.keys = Names(), Names(), Names()
        self.files: list[Path] = []
        self.counts: list[dict[str, Any]] = []

    def begin(self, path: Path) -> int:
        """The place of a file that is begun."""
        self.files.append(path)
        counts = dict.fromkeys(("read", "incomplete", "repeated", "joined"), 0)
        self.counts.append({"file": str(path), **counts})
        return len(self.files) - 1

    def count(self, what: str, file: NDArray[np.int32]) -> None:
        """Adds a row to its file's count, for each row's `file`."""
        for i, rows in enumerate(np.bincount(file).tolist()):
            self.counts[i][what] += rows


def read_source(source: Source, reading: Reading, shared: Shared) -> Table:
    """All rows of a source's files, in their order; incomplete ones as NaN and -1."""
    parts: list[Table] = []
    for path in source.files:
        names, chunks = open_rows(path, reading.form)
        file, before = shared.begin(path), len(parts)
        group = _group_of(path, reading, shared)
        for chunk in chunks:
            part = _typed(source, path, names, chunk, reading, shared)
            part.rows.file[:] = file
            if group is not None:
                part.rows.group[:] = group
            parts.append(part)
        if len(parts) == before:
            raise InputError(f"{path}: expected rows, found none")
    rows = stack([part.rows for part in parts])
    key = np.concatenate([part.key for part in parts])
    shared.count("read", rows.file[:, 0])
    if reading.time is None:
        rows = rows._replace(time=_count_up(rows.group))
    return Table(rows, key)


def _typed(
    source: Source,
    path: Path,
    names: tuple[str, ...],
    chunk: Chunk,
    reading: Reading,
    shared: Shared,
) -> Table:
    """A chunk's cells as numbers, times and codes."""
    size = len(chunk.line)

    def cells(name: str) -> tuple[Any, Column]:
        i = position(names, name, path)
        return chunk.columns[i], Column(path, name, chunk.line)

    def column(name: str) -> NDArray[np.float64]:
        return numbers(*cells(name), decimal=reading.form.decimal)

    if reading.time is not None:
        time = shared.clock.read(*cells(reading.time))
    else:
        time = np.zeros(size, np.int64)
    group, key = np.zeros((2, size), np.int32)
    if reading.group is not None:
        group = shared.groups.codes(cells(reading.group)[0])
    if reading.key is not None:
        key = shared.keys.codes(cells(reading.key)[0])
    label = np.full(size, np.nan)
    if source.label is not None and reading.numeric:
        label = column(source.label)
    elif source.label is not None:
        code = shared.labels.codes(cells(source.label)[0])
        label = np.where(code < 0, np.nan, code)
    columns = source.columns if reading.value is None else (reading.value,)
    values = np.empty((size, len(columns)))
    for k, name in enumerate(columns):
        values[:, k] = column(name)
    file = np.zeros((size, 1), np.int32)
    return Table(Rows(group, time, values, label, file, chunk.line[:, None]), key)


def _group_of(path: Path, reading: Reading, shared: Shared) -> int | None:
    """The code of all of a file's rows; None where a column says it."""
    if reading.group is not None:
        return None
    if reading.group_pattern is None:
        return shared.groups.code("")
    found = re.search(reading.group_pattern, path.name)
    if found is None or found[1] is None:
        raise InputError(
            f"config.data.group_pattern: expected {reading.group_pattern!r} to match "
            f"each file's name, found {path.name!r}"
        )
    return shared.groups.code(found[1])


def _count_up(group: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many rows of its group are above each row."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    time = np.empty(len(group), np.int64)
    time[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return time


def ranked(
    table: Table, place: NDArray[np.int32], label_place: NDArray[np.int32] | None
) -> Table:
    """Codes of groups and labels in the order of their names."""
    rows = table.rows._replace(group=place[table.rows.group])
    if label_place is not None:
        code = label_place[np.nan_to_num(rows.label, nan=-1).astype(np.intp)]
        rows = rows._replace(label=np.where(code < 0, np.nan, code))
    return Table(rows, table.key)


def known(source: Source, rows: Rows) -> NDArray[np.bool_]:
    """Which rows are complete."""
    whole = (rows.time != NONE) & (rows.group >= 0) & ~np.isnan(rows.values).any(axis=1)
    return whole if source.label is None else whole & ~np.isnan(rows.label)
