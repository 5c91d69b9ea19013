"""Reads the files of every source into one table of rows, joined by group and time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax.data.series.columns import Reading, Source, completed, find_sources
from kdjax.data.series.formats.lines import Column
from kdjax.data.series.labels import label_rows, read_intervals
from kdjax.data.series.long import widened
from kdjax.data.series.rows import Rows, by_time, differing, relative
from kdjax.data.series.times import NONE
from kdjax.data.series.typed import Shared, known, ranked, read_source
from kdjax.data.series.windows import inner_join
from kdjax.errors import InputError

LARGEST = float(np.finfo(np.float32).max)


class Recording(NamedTuple):
    """Rows that are complete, each (group, time) once, in every source.

    `owner`: the source of each channel, and its column there. `counts`: of each file.
    `nanoseconds`: of the unit of a step in time; without times a step is a row, and
    this 0.
    """

    rows: Rows
    channels: tuple[str, ...]
    owner: tuple[tuple[int, str], ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    counts: tuple[dict[str, Any], ...]
    nanoseconds: int

    def fault(self, row: int, channel: int, expected: str, found: str) -> InputError:
        """The error that names the file, column and row of a value."""
        source, column = self.owner[channel]
        path = self.files[self.rows.file[row, source]]
        at = Column(path, column, self.rows.line[:, source])
        return at.fault(row, expected, found)


class Cut(NamedTuple):
    """A recording's windows: their first rows, and what each one's label is in `names`.

    `counts`: the recording's, with how many rows of each file are in no window.
    `limit`: the longest step inside a window.
    """

    recording: Recording
    starts: NDArray[np.intp]
    code: NDArray[np.int32]
    names: tuple[str, ...]
    counts: tuple[dict[str, Any], ...]
    limit: float


def read(reading: Reading) -> Recording:
    """The rows of the files; InputError with file, column and row for what is wrong."""
    reading = completed(reading)
    shared = Shared(reading)
    sources = find_sources(reading)
    tables = [read_source(source, reading, shared) for source in sources]
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
        ranked(table, place, None if reading.numeric else label_place)
        for table in tables
    ]
    if reading.key is not None:
        sources, tables = widened(sources, tables, reading, shared)
    parts = [
        _prepared(source, table.rows, reading, shared)
        for source, table in zip(sources, tables, strict=True)
    ]
    rows = _joined(sources, parts, reading, shared)
    shared.count("joined", rows.file.ravel())
    if intervals is not None:
        intervals = intervals._replace(
            group=place[intervals.group], label=label_place[intervals.label]
        )
        rows = rows._replace(label=label_rows(intervals, rows.group, rows.time))
    recording = Recording(
        rows=rows,
        channels=tuple(name for source in sources for name in source.outputs),
        owner=tuple(
            (s, name) for s, source in enumerate(sources) for name in source.columns
        ),
        groups=groups,
        classes=classes,
        files=tuple(shared.files),
        counts=tuple(shared.counts),
        nanoseconds=0 if reading.time is None else shared.clock.nanoseconds,
    )
    return _finished(recording, reading)


def _prepared(source: Source, rows: Rows, reading: Reading, shared: Shared) -> Rows:
    """The complete rows, sorted, each (group, time) once."""
    whole = known(source, rows)
    shared.count("incomplete", rows.file[~whole, 0])
    if not whole.any():
        empty: dict[str | None, NDArray[np.bool_]] = {
            reading.time: rows.time == NONE,
            reading.group: rows.group < 0,
            source.label: np.isnan(rows.label) & (source.label is not None),
            **dict(zip(source.columns, np.isnan(rows.values).T, strict=False)),
        }
        column = max(empty, key=lambda name: empty[name].sum())
        raise InputError(
            f"{source.files[0]}: column {column!r}: expected rows without an empty "
            "cell, found none"
        )
    rows = by_time(rows.take(whole))
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
    shared.count("repeated", rows.file[again, 0])
    return rows.take(~again)


def _joined(
    sources: list[Source], parts: list[Rows], reading: Reading, shared: Shared
) -> Rows:
    """The rows whose (group, time) every source has."""
    if len(parts) == 1:
        return parts[0]
    index = inner_join([(part.group, part.time) for part in parts])
    if not len(index[0]):
        files = " and ".join(str(source.files[0]) for source in sources)
        raise InputError(
            f"{files}: column {reading.time!r}: expected groups and times in common, "
            "found none"
        )
    parts = [part.take(rows) for part, rows in zip(parts, index, strict=True)]
    labelled = [s for s, source in enumerate(sources) if source.label is not None]
    for s in labelled[1:]:
        differs = parts[s].label != parts[labelled[0]].label
        if differs.any():
            row = int(np.argmax(differs))
            path = shared.files[parts[s].file[row, 0]]
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
            i, channel = wrong[0].tolist()
            raise recording.fault(int(row[i]) - 1, channel, "no 0 before a change", "0")
        recording = recording._replace(rows=rows.take(row)._replace(values=change))
    wrong = np.argwhere(~(abs(recording.rows.values) <= LARGEST))
    if len(wrong):
        i, channel = wrong[0].tolist()
        found = f"{recording.rows.values[i, channel]:g}"
        raise recording.fault(i, channel, f"at most {LARGEST:.3g}", found)
    return recording
