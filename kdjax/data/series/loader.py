"""One's own recordings: files of rows as windows with labels, split and scaled."""

from __future__ import annotations

import functools
import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax import archives, files
from kdjax.checks import number, one_of
from kdjax.data.dataset import Dataset, Examples, check, standardise, take
from kdjax.data.series.columns import Reading
from kdjax.data.series.fields import (
    FIELD,
    LEAKING,
    Cutting,
    Paths,
    check_other_files,
    check_reading,
    check_split,
    cutting_of,
    find_files,
    form_of,
)
from kdjax.data.series.formats.lines import SHOWN, in_order
from kdjax.data.series.labels import CHANGES, window_changes, window_labels
from kdjax.data.series.recordings import Cut, Recording, read
from kdjax.data.series.rows import marks
from kdjax.data.series.splits import check_apart, regrouped, split_windows
from kdjax.data.series.windows import cut, in_windows, run_starts, steps, window_starts
from kdjax.errors import InputError

GAP = 1.5  # median steps
BY_FILE = {"name": "by_file", "what": "each row's change from the one before"}


def series(
    *,
    path: Paths,
    seed: int,
    window: int,
    step: int | None = None,
    time: str | None = "time",
    time_unit: str | None = None,
    time_format: str | None = None,
    group: str | None = None,
    group_pattern: str | None = None,
    channels: Sequence[str] | None = None,
    key: str | None = None,
    value: str | None = None,
    label: str | None = None,
    labels: str | None = None,
    rule: str = "last",
    horizon: int | None = None,
    relative: bool = False,
    repeated: str = "error",
    gap: float | int | None = None,
    split: str | None = None,
    validation: float = 0.2,
    test: float = 0.2,
    test_path: Paths | None = None,
    scale: bool = True,
    delimiter: str = ",",
    decimal: str = ".",
    format: str | None = None,
) -> Dataset:
    """One's own recordings: files with a row a time, cut into windows with labels.

    Files. `path`: a file, a pattern such as "data/*.csv", or {source: file or pattern},
    whose rows are joined where group and time are the same in all; columns with one
    name get the source's before, `accel_x`. Names end in .csv, .csv.gz, .parquet, or
    .ts (aeon, sktime: each line a group with a label). `delimiter`, `decimal`: of CSV;
    `format="geneactiv"`: the watch's export, channels x, y, z. `test_path`: an official
    test set in the same form.

    Rows. `time`: a column of ISO 8601 times, or of numbers of `time_unit` ("s", "ms",
    "us", "ns"), or as `time_format` says for strptime; a zone becomes UTC. None: the
    rows are in order. `group`: a column (who, or which recording), or `group_pattern`:
    a regular expression with one (group) for the files' names. `channels`: by default
    all other columns; a column without a name is none. `key`, `value`: the columns of
    the long format, in which a row is one channel's value. A row with an empty cell or
    NaN is left out, as is one that repeats another; of a time twice with other values,
    `repeated="first"` keeps the first. `relative`: `(x_t - x_{t-1}) / x_{t-1}` in place
    of each value, against the row before it in its group.

    Windows: `window` rows of one group, the next one `step` rows on (by default as many
    as it has), with no step in time above `gap`: in `time_unit`, in seconds for dates,
    in rows without times; None: 1.5 median steps; 1e18 for no limit. Labels:
    column `label`, or the file `labels` with columns start, end, label and the group's
    (`group` where that is a pattern), for rows in [start, end). `rule`: "last" (row),
    "majority" (of the rows with a label, if they are half or more) or "all" (rows have
    it); windows without a label are left out. In a column, a row without a label is
    left out itself, as with any empty cell. Or `horizon`: the classes are whether the
    column `label`, numbers, is down, same or up so many rows after the last row.

    `split`: "group" (where there are groups): whole ones; test is drawn once for all
    seeds, validation by `seed`. "time": train, then validation, then test, cut at the
    same times in every group, `window + horizon` rows left out after each cut.
    "random", if windows share no rows (nor, if `relative`, does one change reach into
    the next window's) and there are no groups; "random_leaking" where they do. `test`:
    a fraction of all, `validation`: of the rest. `scale` standardises.

    Raises an InputError that names the file, and column and row where there are any.
    """
    reading = Reading(
        sources=find_files(path, "config.data.path"),
        form=form_of(delimiter, decimal, format),
        time=time,
        time_unit=time_unit,
        time_format=time_format,
        group=group,
        group_pattern=group_pattern,
        channels=None if channels is None else tuple(channels),
        key=key,
        value=value,
        label=label,
        numeric=horizon is not None,
        labels=None if labels is None else files.local(labels, where=f"{FIELD}labels"),
        relative=relative,
        repeated=one_of(repeated, ("error", "first"), where=f"{FIELD}repeated"),
    )
    check_reading(reading)
    cutting = cutting_of(reading, window, step, gap, rule, horizon)
    split = check_split(split, reading, cutting)
    number(validation, above=0, below=1, where=f"{FIELD}validation")
    number(test, above=0, below=1, where=f"{FIELD}test")
    parts = [_windows(_read(reading), cutting)]
    if test_path is not None:
        given = find_files(test_path, f"{FIELD}test_path")
        check_other_files(reading.sources, given)
        tested = reading._replace(
            sources=given,
            channels=parts[0].recording.channels,  # in this order
        )
        parts.append(_windows(_read(tested), cutting, like=parts[0]))
    examples, classes = _examples(parts, cutting)
    if test_path is not None:
        check_apart(parts, split)
    index = split_windows(parts, examples, split, cutting, (validation, test), seed)
    splits = [take(examples[0], rows) for rows in index] + examples[1:]
    marks = [_marks(part, cutting) for part in parts]
    content = tuple([marks[0][rows] for rows in index] + marks[1:])
    if split != "group":
        splits = [regrouped(part, i, split) for i, part in enumerate(splits)]
    name = "+".join(path)
    if isinstance(path, str):  # of a pattern all of it
        name = path if glob.has_magic(path) else Path(path).name.split(".")[0]
    dataset = Dataset(
        name=name + " (random split, windows leak)" * (split == LEAKING),
        classes=classes,
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        synthetic=False,
        preprocessing=(BY_FILE,) * relative,
        channels=parts[0].recording.channels,
        content=content,
        counts=tuple(count for part in parts for count in part.counts),
    )
    check(dataset, where=str(path))
    return standardise(dataset) if scale else dataset


def _read(reading: Reading) -> Recording:
    """The rows of the files, read once as long as these are the same."""
    paths = [path for _, files in reading.sources for path in files]
    paths += [reading.labels] if reading.labels is not None else []
    return _read_once(reading, tuple(map(_stamp, paths)))


@functools.lru_cache(maxsize=2)
def _read_once(reading: Reading, stamps: tuple[Any, ...]) -> Recording:
    del stamps  # of the files, so that changed ones are read anew
    return read(reading)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _marks(part: Cut, cutting: Cutting) -> NDArray[np.uint64]:
    """What each row of each window is, and the row of its label."""
    rows = np.arange(cutting.window + cutting.horizon)
    recording = part.recording
    return marks(recording.rows, recording.groups)[part.starts[:, None] + rows]


def _windows(recording: Recording, cutting: Cutting, like: Cut | None = None) -> Cut:
    """The windows of a recording that have a label; `like`: whose gap is the limit."""
    rows, window, ahead = recording.rows, cutting.window, cutting.horizon
    after = steps(rows.group, rows.time)
    limit = _limit(after, cutting, recording) if like is None else like.limit
    follows = after <= limit
    if not recording.nanoseconds:  # without times, files do not go on in one another
        follows[1:] &= (rows.file[1:] == rows.file[:-1]).all(axis=1)
    begins = run_starts(rows.group, follows)
    starts = window_starts(begins, window=window + ahead, step=cutting.step)
    if not len(starts):
        runs = np.diff(np.append(np.flatnonzero(begins), len(begins)))
        raise InputError(
            f"{recording.files[0]}: expected runs of {window + ahead} rows or more, "
            f"found {len(runs)} of {runs.max(initial=0)} or fewer (a step "
            f"above {limit / (recording.nanoseconds or 1):g} ends a run: "
            "config.data.gap)"
        )
    size = len(starts) * window * len(recording.channels) * 4
    archives.check_size(size, where=f"{FIELD}step: {len(starts):,} windows")
    inside = in_windows(starts, window=window, rows=len(rows.time))
    if ahead:
        code = window_changes(rows.label, starts, window=window, horizon=ahead)
        names: tuple[str, ...] = CHANGES
    else:
        names = recording.classes
        code = window_labels(
            rows.label, starts, window=window, rule=cutting.rule, classes=len(names)
        )
        if not (code >= 0).any():
            raise InputError(
                f"{cutting.where}: expected windows with a label "
                f"(config.data.rule={cutting.rule!r}), found none of {len(starts)}"
            )
    kept = code >= 0
    left = _outside(recording, inside)
    return Cut(recording, starts[kept], code[kept], names, left, limit)


def _limit(after: NDArray[np.float64], cutting: Cutting, recording: Recording) -> float:
    """The longest step inside a window, in the times' own unit."""
    if cutting.gap is not None:
        return float(cutting.gap) * (recording.nanoseconds or 1)
    known = after[~np.isnan(after)]
    return GAP * float(np.median(known)) if len(known) else 0.0


def _outside(
    recording: Recording, inside: NDArray[np.bool_]
) -> tuple[dict[str, Any], ...]:
    """The counts by file, and of each its joined rows that are in no window."""
    file = recording.rows.file[inside].ravel()
    used = np.bincount(file, minlength=len(recording.files)).tolist()
    return tuple(
        count | {"in no window": count["joined"] - n}
        for count, n in zip(recording.counts, used, strict=True)
    )


def _examples(
    parts: Sequence[Cut], cutting: Cutting
) -> tuple[list[Examples], tuple[str, ...]]:
    """The examples of each recording, and the classes that any of them has."""
    found = {part.names[code] for part in parts for code in np.unique(part.code)}
    classes = tuple(name for name in CHANGES if name in found)
    if not cutting.horizon:
        classes = in_order(sorted(found))
    if len(classes) < 2:
        raise InputError(
            f"{cutting.where}: expected two classes or more, found "
            f"{classes[0][:SHOWN]!r} alone"
        )
    every = {name for part in parts for name in part.recording.groups}
    place = {name: i for i, name in enumerate(in_order(sorted(every)))}
    label = {name: i for i, name in enumerate(classes)}
    examples = []
    for i, (recording, starts, code, names, _, _) in enumerate(parts):
        rows, groups = recording.rows, recording.groups
        own = np.array([place[name] for name in groups], np.int32)
        y = np.array([label.get(name, -1) for name in names], np.int32)
        begin = "test/" * i
        key = [f"{begin}{groups[rows.group[k]]}/{rows.time[k]}" for k in starts]
        examples.append(
            Examples(
                x=cut(rows.values.astype(np.float32), starts, window=cutting.window),
                y=y[code],
                group=own[rows.group[starts]],
                key=np.array(key, np.str_),
            )
        )
    return examples, classes
