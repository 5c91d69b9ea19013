"""Reads the files of every source into one table of rows, joined by group and time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.data.series.columns import (
    Reading,
    Source,
    find_sources,
    for_ts,
    name_channels,
    position,
)
from kdjax.data.series.labels import label_rows, read_intervals
from kdjax.data.series.lines import Column, Names, numbers
from kdjax.data.series.reading import Chunk, open_rows
from kdjax.data.series.rows import Rows, by_time, differing, pivot, relative, stack
from kdjax.data.series.times import NONE, Clock
from kdjax.data.series.windows import inner_join
from kdjax.errors import InputError

LARGEST = float(np.finfo(np.float32).max)


class Recording(NamedTuple):
    """Rows that are complete, each (group, time) once, in every source.

    `owner`: the source of each channel. `counts`: of each file. `nanoseconds`: of the
    unit of a step in time; without times a step is a row, and this 0.
    """

    rows: Rows
    channels: tuple[str, ...]
    owner: tuple[int, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    counts: tuple[dict[str, Any], ...]
    nanoseconds: int

    def fault(self, row: int, channel: int, expected: str, found: str) -> InputError:
        """The error that names the file, column and row of a value."""
        source = self.owner[channel]
        path = self.files[self.rows.file[row, source]]
        at = Column(path, self.channels[channel], self.rows.line[:, source])
        return at.fault(row, expected, found)


class _Table(NamedTuple):
    """A source's rows as read, and in the long format the code of each one's key."""

    rows: Rows
    key: NDArray[np.int32]


class _Shared:
    """What is one for all sources: the clock, codes of names, the files and counts."""

    def __init__(self, reading: Reading) -> None:
        self.clock = Clock(reading.time_unit, reading.time_format)
        self.groups, self.labels, self.keys = Names(), Names(), Names()
        self.files = [path for _, files in reading.sources for path in files]
        self.counts: list[dict[str, Any]] = [
            {"file": str(path), "read": 0, "incomplete": 0, "repeated": 0}
            for path in self.files
        ]

    def count(self, what: str, file: NDArray[np.int32], of: Sequence[Path]) -> None:
        """Adds the rows of each file; 0 for those of `of` that have none."""
        found = np.bincount(file, minlength=len(self.files))
        for path in of:
            i = self.files.index(path)
            self.counts[i][what] = self.counts[i].get(what, 0) + int(found[i])


def read(reading: Reading) -> Recording:
    """The rows of the files; InputError with file, column and row for what is wrong."""
    reading = for_ts(reading)
    shared = _Shared(reading)
    sources = find_sources(reading)
    tables = [_read_source(source, reading, shared) for source in sources]
    intervals = None
    if reading.labels is not None:
        group = reading.group or ("group" if reading.group_pattern else None)
        names = (shared.groups, shared.labels)
        intervals = read_intervals(
            reading.labels, reading.form, shared.clock, group=group, names=names
        )
    groups, place = shared.groups.ranked()
    classes, label_place = shared.labels.ranked()
    tables = [
        _ranked(table, place, None if reading.numeric else label_place)
        for table in tables
    ]
    if reading.key is not None:
        sources, tables = _widened(sources, tables, reading, shared)
    parts = [
        _prepared(source, table.rows, reading, shared)
        for source, table in zip(sources, tables, strict=True)
    ]
    rows = _joined(sources, parts)
    for s, source in enumerate(sources):
        shared.count("joined", rows.file[:, s], source.files)
    if intervals is not None:
        intervals = intervals._replace(
            group=place[intervals.group], label=label_place[intervals.label]
        )
        rows = rows._replace(label=label_rows(intervals, rows.group, rows.time))
    recording = Recording(
        rows=rows,
        channels=tuple(name for source in sources for name in source.outputs),
        owner=tuple(s for s, source in enumerate(sources) for _ in source.outputs),
        groups=groups,
        classes=classes,
        files=tuple(shared.files),
        counts=tuple(shared.counts),
        nanoseconds=0 if reading.time is None else shared.clock.nanoseconds,
    )
    return _finished(recording, reading)


def _read_source(source: Source, reading: Reading, shared: _Shared) -> _Table:
    """All rows of a source's files, in their order; incomplete ones as NaN and -1."""
    parts: list[_Table] = []
    for path in source.files:
        names, chunks = open_rows(path, reading.form)
        file, before = shared.files.index(path), len(parts)
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
    shared.count("read", rows.file[:, 0], source.files)
    if reading.time is None:
        rows = rows._replace(time=_count_up(rows.group))
    return _Table(rows, key)


def _typed(
    source: Source,
    path: Path,
    names: tuple[str, ...],
    chunk: Chunk,
    reading: Reading,
    shared: _Shared,
) -> _Table:
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
    return _Table(Rows(group, time, values, label, file, chunk.line[:, None]), key)


def _group_of(path: Path, reading: Reading, shared: _Shared) -> int | None:
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


def _ranked(
    table: _Table, place: NDArray[np.int32], label_place: NDArray[np.int32] | None
) -> _Table:
    """Codes of groups and labels in the order of their names."""
    rows = table.rows._replace(group=place[table.rows.group])
    if label_place is not None:
        code = label_place[np.nan_to_num(rows.label, nan=-1).astype(np.intp)]
        rows = rows._replace(label=np.where(code < 0, np.nan, code))
    return _Table(rows, table.key)


def _widened(
    sources: list[Source], tables: list[_Table], reading: Reading, shared: _Shared
) -> tuple[list[Source], list[_Table]]:
    """The long format's rows, a value each, as rows of a time with all values."""
    names, place = shared.keys.ranked()
    keys = [place[table.key] for table in tables]
    kept = [
        _known(source, table.rows) & (key >= 0)
        for source, table, key in zip(sources, tables, keys, strict=True)
    ]
    sources = [
        source._replace(columns=tuple(names[k] for k in np.unique(key[known])))
        for source, key, known in zip(sources, keys, kept, strict=True)
    ]
    for source in sources:
        if not source.columns:
            raise InputError(
                f"{source.files[0]}: column {reading.key!r}: expected complete rows, "
                "found none"
            )
    unlabelled = [source._replace(label=None) for source in sources]
    named = name_channels(unlabelled, reading.channels)
    widened = []
    for i, source in enumerate(named):
        rows, key = tables[i].rows, keys[i]
        shared.count("incomplete", rows.file[~kept[i], 0], source.files)
        column = np.full(len(names), -1, np.int32)
        column[[names.index(name) for name in source.columns]] = np.arange(
            len(source.columns)
        )
        chosen = kept[i] & (column[key] >= 0)
        rows, key = rows.take(chosen), column[key[chosen]]
        first, wide, went, bad = pivot(
            rows.group, rows.time, key, rows.values[:, 0], keys=len(source.columns)
        )
        at = Column(
            shared.files[rows.file[bad or 0, 0]], reading.key or "", rows.line[:, 0]
        )
        if bad is not None:
            raise at.fault(bad, "each key once at a time", source.columns[key[bad]])
        label = rows.label[first]
        differs = np.asarray(rows.label != label[went]) & ~np.isnan(rows.label)
        if differs.any():
            row = int(np.argmax(differs))
            raise InputError(
                f"{shared.files[rows.file[row, 0]]}: column {sources[i].label!r}, row "
                f"{rows.line[row, 0]}: expected the label of row "
                f"{rows.line[first[went[row]], 0]}, of the same time, found another"
            )
        lost = np.isnan(wide).any(axis=1)[went]
        shared.count("incomplete", rows.file[lost, 0], source.files)
        widened.append(_Table(rows.take(first)._replace(values=wide), key[first]))
    return [
        source._replace(label=old.label)
        for source, old in zip(named, sources, strict=True)
    ], [
        table._replace(rows=table.rows.take(~np.isnan(table.rows.values).any(axis=1)))
        for table in widened
    ]


def _known(source: Source, rows: Rows) -> NDArray[np.bool_]:
    """Which rows are complete."""
    known = (rows.time != NONE) & (rows.group >= 0) & ~np.isnan(rows.values).any(axis=1)
    return known if source.label is None else known & ~np.isnan(rows.label)


def _prepared(source: Source, rows: Rows, reading: Reading, shared: _Shared) -> Rows:
    """The complete rows, sorted, each (group, time) once."""
    known = _known(source, rows)
    shared.count("incomplete", rows.file[~known, 0], source.files)
    if not known.any():
        empty = np.isnan(rows.values).sum(axis=0)
        column = source.columns[int(np.argmax(empty))] if len(empty) else reading.time
        raise InputError(
            f"{source.files[0]}: column {column!r}: expected rows without an empty "
            "cell, found none"
        )
    rows = by_time(rows.take(known))
    again, differs = differing(rows)
    if differs is not None and reading.repeated != "first":
        path = shared.files[rows.file[differs, 0]]
        above = f"row {rows.line[differs - 1, 0]}"
        if rows.file[differs, 0] != rows.file[differs - 1, 0]:
            above += f" of {shared.files[rows.file[differs - 1, 0]].name}"
        raise InputError(
            f"{path}: column {reading.time!r}, row {rows.line[differs, 0]}: expected "
            f"each time once in a group, found that of {above} with other values "
            "(config.data.repeated='first' keeps the first)"
        )
    shared.count("repeated", rows.file[again, 0], source.files)
    return rows.take(~again)


def _joined(sources: list[Source], parts: list[Rows]) -> Rows:
    """The rows whose (group, time) every source has."""
    if len(parts) == 1:
        return parts[0]
    index = inner_join([(part.group, part.time) for part in parts])
    if not len(index[0]):
        files = " and ".join(str(source.files[0]) for source in sources)
        raise InputError(
            f"{files}: column of times: expected groups and times in common, found none"
        )
    parts = [part.take(rows) for part, rows in zip(parts, index, strict=True)]
    labelled = [s for s, source in enumerate(sources) if source.label is not None]
    for s in labelled[1:]:
        differs = parts[s].label != parts[labelled[0]].label
        if differs.any():
            row = int(np.argmax(differs))
            path = sources[s].files[0]
            raise InputError(
                f"{path}: column {sources[s].label!r}, row {parts[s].line[row, 0]}: "
                f"expected the label of {sources[labelled[0]].name!r}, found another"
            )
    first = parts[labelled[0] if labelled else 0]
    return first._replace(
        values=np.concatenate([part.values for part in parts], axis=1),
        file=np.concatenate([part.file for part in parts], axis=1),
        line=np.concatenate([part.line for part in parts], axis=1),
    )


def _finished(recording: Recording, reading: Reading) -> Recording:
    """The channels in the order asked for, as relative changes, within float32."""
    if reading.channels is not None:
        order = [recording.channels.index(name) for name in reading.channels]
        rows = recording.rows
        recording = recording._replace(
            channels=reading.channels,
            owner=tuple(recording.owner[i] for i in order),
            rows=rows._replace(values=rows.values[:, order]),
        )
    if reading.relative:
        rows = recording.rows
        row, change = relative(rows.group, rows.values)
        wrong = np.argwhere(rows.values[row - 1] == 0)
        if len(wrong):
            i, channel = wrong[0]
            raise recording.fault(row[i] - 1, channel, "no 0 before a change", "0")
        recording = recording._replace(rows=rows.take(row)._replace(values=change))
    wrong = np.argwhere(~(abs(recording.rows.values) <= LARGEST))
    if len(wrong):
        i, channel = wrong[0]
        found = f"{recording.rows.values[i, channel]:g}"
        raise recording.fault(i, channel, f"at most {LARGEST:.3g}", found)
    return recording
