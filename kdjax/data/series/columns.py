"""Which columns of which files are read: found from all headers, before any row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kdjax.data.series.formats import ts
from kdjax.data.series.formats.reading import Form, open_rows
from kdjax.errors import InputError, nearest


class Reading(NamedTuple):
    """All that decides which rows are read; the fields of `series`, checked.

    `numeric`: whether the label is a column of numbers.
    """

    sources: tuple[tuple[str, tuple[Path, ...]], ...]
    form: Form = Form()
    time: str | None = "time"
    time_unit: str | None = None
    time_format: str | None = None
    group: str | None = None
    group_pattern: str | None = None
    channels: tuple[str, ...] | None = None
    key: str | None = None
    value: str | None = None
    label: str | None = None
    numeric: bool = False
    labels: Path | None = None
    relative: bool = False
    repeated: str = "error"


class Source(NamedTuple):
    """A source's files, `label` (or None), and the columns that become channels.

    `outputs`: the channels' names, with the source's before where two sources have one.
    In the long format both are known when the keys are read.
    """

    name: str
    files: tuple[Path, ...]
    label: str | None
    columns: tuple[str, ...]
    outputs: tuple[str, ...]


def is_ts(reading: Reading) -> bool:
    """Whether the files are .ts; InputError if some are and others not."""
    files = [path for _, paths in reading.sources for path in paths]
    series = [path for path in files if path.name.lower().endswith(".ts")]
    if series and (len(reading.sources) > 1 or len(series) < len(files)):
        raise InputError(f"{series[0]}: a .ts file cannot be joined with others")
    return bool(series)


def completed(reading: Reading) -> Reading:
    """The same with what a format says: .ts of groups and labels, GENEActiv of axes."""
    if reading.form.format == "geneactiv" and reading.channels is None:
        return reading._replace(channels=("x", "y", "z"))
    if not is_ts(reading):
        return reading
    for name in ("group", "group_pattern", "labels", "key", "value"):
        if getattr(reading, name) is not None:
            raise InputError(
                f"config.data.{name}: expected None for a .ts file, whose lines are "
                f"groups with a label, found {str(getattr(reading, name))!r}"
            )
    return reading._replace(time=None, group=ts.CASE, label=reading.label or ts.LABEL)


def find_sources(reading: Reading) -> list[Source]:
    """The columns of every source; InputError, with the nearest name, if one lacks."""
    headers = [
        [open_rows(path, reading.form).names for path in files]
        for _, files in reading.sources
    ]
    roles = (reading.time, reading.group, reading.key, reading.value)
    needed = [role for role in roles if role is not None]
    labelled = False
    left = []
    for (name, files), (header, *_) in zip(reading.sources, headers, strict=True):
        label = _label(header, name, reading.label)
        labelled |= label is not None
        own = (ts.CASE, ts.LABEL) if is_ts(reading) else ()
        others = {*needed, label, "", *own}
        columns = tuple(column for column in header if column not in others)
        left.append(Source(name, files, label, columns, ()))
    if reading.label is not None and not labelled:
        path = reading.sources[0][1][0]
        position(headers[0][0], reading.label, path)
    if reading.key is None:
        left = name_channels(left, reading.channels)
    for source, names in zip(left, headers, strict=True):
        columns = () if reading.key is not None else source.columns
        for path, header in zip(source.files, names, strict=True):
            for name in (*needed, *columns, *filter(None, [source.label])):
                position(header, name, path)
    return left


def name_channels(
    sources: Sequence[Source], channels: tuple[str, ...] | None
) -> list[Source]:
    """The sources with their outputs; of these only `channels`, where there are some.

    InputError: a channel that no source has.
    """
    uses = Counter(name for source in sources for name in source.columns)
    found = []
    for source in sources:
        columns = source.columns
        if channels is not None:  # the label's column may be one too
            columns = (*columns, *filter(None, [source.label]))
        outputs = {
            name: f"{source.name}_{name}" if uses[name] > 1 else name
            for name in columns
        }
        if channels is not None:
            outputs = {k: name for k, name in outputs.items() if name in channels}
        chosen = source._replace(columns=tuple(outputs))
        found.append(chosen._replace(outputs=tuple(outputs.values())))
    known = [name for source in found for name in source.outputs]
    path = sources[0].files[0]
    for name in channels or ():
        if name not in known:
            every = [
                f"{s.name}_{c}" if uses[c] > 1 else c
                for s in sources
                for c in s.columns
            ]
            raise InputError(
                f"{path}: expected a column {name!r} (config.data.channels), found none"
                f"{nearest(name, every)}"
            )
    if not known:
        raise InputError(f"{path}: expected columns that become channels, found none")
    twice = [name for name, count in Counter(known).items() if count > 1]
    if twice:
        raise InputError(
            f"{path}: expected each channel once, found {twice[0]!r} twice"
        )
    return found


def position(names: tuple[str, ...], name: str, path: Path) -> int:
    """Where a column stands; InputError with the nearest name if it does not."""
    if name not in names:
        known = [each for each in names if each]
        raise InputError(
            f"{path}: row 1: expected a column {name!r}, found none"
            f"{nearest(name, known)}"
        )
    return names.index(name)


def _label(header: tuple[str, ...], source: str, label: str | None) -> str | None:
    """The column `label`, or SOURCE_COLUMN, of a source; None where it has neither."""
    before = f"{source}_" if source else ""
    return next((c for c in header if c and label in (c, f"{before}{c}")), None)
