"""WISDM 2019: 18 activities on the wrist, by a smartwatch."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax import files
from kdjax.checks import integer
from kdjax.data.dataset import (
    TEST_SEED,
    Dataset,
    Examples,
    check,
    hold_out_groups,
    standardise,
    take,
)
from kdjax.data.series.windows import (
    cut,
    inner_join,
    repeated,
    run_starts,
    window_starts,
)
from kdjax.data.text import folder_or_zip, read_bytes
from kdjax.errors import InputError

ACTIVITIES = {
    "A": "walking",
    "B": "jogging",
    "C": "stairs",
    "D": "sitting",
    "E": "standing",
    "F": "typing",
    "G": "teeth",
    "H": "soup",
    "I": "chips",
    "J": "pasta",
    "K": "drinking",
    "L": "sandwich",
    "M": "kicking",
    "O": "catch",
    "P": "dribbling",
    "Q": "writing",
    "R": "clapping",
    "S": "folding",
}
CHANNELS = tuple(f"{sensor}_{axis}" for sensor in ("accel", "gyro") for axis in "xyz")
SHORTEST, LONGEST = 25, 75  # ms, where the watch was to take a sample every 50
ARRAYS_FILE = "wisdm_watch.npz"
FOLDER = "wisdm-dataset"
LINE = [
    ("subject", np.int32),
    ("code", "U1"),
    ("time", np.int64),
    *((axis, np.float64) for axis in "xyz"),
]


class Recordings(NamedTuple):
    """All samples, one recording (a subject's activity) after another.

    `signal` [n, 6] in m/s^2 and rad/s; `follows` [n], whether a sample is 25 to 75 ms
    after the one above; `recording` [n]; by recording its `subject` and `activity`.
    """

    signal: NDArray[np.float32]
    follows: NDArray[np.bool_]
    recording: NDArray[np.intp]
    subject: NDArray[np.int32]
    activity: NDArray[np.int32]


def wisdm(
    *,
    root: str,
    seed: int,
    window: int = 100,
    step: int = 50,
    test_groups: int = 10,
    validation_groups: int = 6,
) -> Dataset:
    """WISDM 2019's watch: 18 activities, windows [100, 6] at 20 Hz, unseen subjects.

    `root`: the official folder `wisdm-dataset`, its parent, or a zip file of it, whose
    text `raw/watch/{accel,gyro}/data_*_watch.txt` is joined on subject, activity and
    time stamp, exactly (of a time stamp that comes twice, the first stays); or
    `wisdm_watch.npz`, or its folder, where this was done before.

    A window has `window` samples, the next one of its run begins `step` later; no
    window has a step in it outside 25 to 75 ms. Test: `test_groups` subjects, the same
    for every seed. Validation: `validation_groups` of the others, drawn by `seed`.
    Standardised. The files are read once in a process. Weiss, Yoneda & Hayajneh, IEEE
    Access 2019.
    """
    integer(window, low=2, where="config.data.window")
    integer(step, low=1, where="config.data.step")
    recordings = _read(files.local(root, where="config.data.root").resolve())
    examples = _windows(recordings, window, step)
    where = "config.data.test_groups"
    rest, tested = hold_out_groups(
        examples.group, count=test_groups, seed=TEST_SEED, where=where, y=examples.y
    )
    others = take(examples, rest)
    train, held = hold_out_groups(
        others.group,
        count=validation_groups,
        seed=seed,
        where="config.data.validation_groups",
        y=others.y,
    )
    subjects = len(np.unique(recordings.subject))
    dataset = Dataset(
        name=f"WISDM watch ({subjects} subjects)",
        classes=tuple(ACTIVITIES.values()),
        train=take(others, train),
        validation=take(others, held),
        test=take(examples, tested),
        synthetic=False,
        channels=CHANNELS,
    )
    return standardise(check(dataset, where=root))


def _windows(recordings: Recordings, window: int, step: int) -> Examples:
    recording = recordings.recording
    begins = run_starts(recording, recordings.follows)
    starts = window_starts(begins, window=window, step=step)
    if not len(starts):
        longest = np.diff(np.append(np.flatnonzero(begins), len(begins))).max()
        raise InputError(
            f"config.data.window: expected at most {longest} samples, as many as come "
            f"without a gap, found {window}"
        )
    first = np.searchsorted(recording, recording[starts])
    subject, activity = (
        field[recording[starts]] for field in (recordings.subject, recordings.activity)
    )
    codes = np.array(list(ACTIVITIES))[activity]
    places = zip(subject, codes, starts - first, strict=True)
    return Examples(
        x=cut(recordings.signal, starts, window=window),
        y=activity,
        group=subject,
        key=np.array([f"{s}/{code}/{row:05d}" for s, code, row in places], np.str_),
    )


@functools.lru_cache(maxsize=1)
def _read(root: Path) -> Recordings:
    for place in (root, root / ARRAYS_FILE):
        if place.is_file() and place.suffix == ".npz":
            return _read_arrays(place)
    return _read_text(_text_folder(root))


def _read_arrays(path: Path) -> Recordings:
    arrays = files.read_arrays(path, _Stored)
    try:
        return _stored(arrays)
    except (ValueError, IndexError, TypeError) as error:
        raise InputError(f"{path}: expected WISDM's recordings, {error}") from error


class _Stored(NamedTuple):
    """Samples [6, n], ms since the one before [n], and by recording the rest."""

    signal: NDArray
    step_ms: NDArray
    start: NDArray
    subject: NDArray
    activity: NDArray
    scale: NDArray


def _stored(arrays: _Stored) -> Recordings:
    samples = len(arrays.step_ms)
    recordings = len(arrays.start)
    expected = {
        "signal": (len(CHANNELS), samples),
        "subject": (recordings,),
        "activity": (recordings,),
    }
    for name, shape in expected.items():
        found = getattr(arrays, name).shape
        if found != shape:
            raise ValueError(f"{name}: expected {shape}, found {found}")
    if arrays.activity.min() < 0 or arrays.activity.max() >= len(ACTIVITIES):
        raise ValueError("activity: expected 0 to 17")
    length = np.diff(np.append(arrays.start, samples))
    if not recordings or arrays.start[0] != 0 or length.min() < 1:
        raise ValueError("start: expected 0 and rising numbers of samples")
    step = arrays.step_ms.astype(np.int64)
    return Recordings(
        signal=(arrays.signal.T * np.float32(arrays.scale)).astype(np.float32),
        follows=(step >= SHORTEST) & (step <= LONGEST),
        recording=np.repeat(np.arange(recordings), length),
        subject=arrays.subject.astype(np.int32),
        activity=arrays.activity.astype(np.int32),
    )


def _text_folder(root: Path) -> Path | zipfile.Path:
    """The folder `raw/watch` of the official data set."""
    folder = folder_or_zip(root, FOLDER, holds="raw/watch/accel")
    if folder is not None:
        return folder / "raw" / "watch"
    raise InputError(
        f"config.data.root: expected the folder {FOLDER!r}, its zip or {ARRAYS_FILE!r},"
        f" found none at {str(root)!r}"
    )


def _read_text(folder: Path | zipfile.Path) -> Recordings:
    names = sorted(
        path.name.removeprefix("data_").removesuffix("_accel_watch.txt")
        for path in (folder / "accel").iterdir()
        if path.name.endswith("_accel_watch.txt")
    )
    if not names:
        raise InputError(f"{folder / 'accel'}: expected data_*_watch.txt, found none")
    signal, time, subject, activity = [], [], [], []
    for name in names:
        tables = [
            _read_lines(folder / sensor / f"data_{name}_{sensor}_watch.txt")
            for sensor in ("accel", "gyro")
        ]
        rows = inner_join([_keys(table) for table in tables])
        if not len(rows[0]):
            raise InputError(
                f"{folder}: subject {name}: expected time stamps that accelerometer and"
                " gyroscope share, found none"
            )
        joined = [table[index] for table, index in zip(tables, rows, strict=True)]
        signal.append(np.stack([t[axis] for t in joined for axis in "xyz"], axis=1))
        time.append(joined[0]["time"])
        subject.append(joined[0]["subject"])
        activity.append(_codes(joined[0]["code"]))
    subjects, activities = np.concatenate(subject), np.concatenate(activity)
    begins = run_starts(subjects * 100 + activities, np.ones(len(subjects), bool))
    step = np.diff(np.concatenate(time), prepend=0) / 1e6
    step = np.rint(step)  # whole ms
    return Recordings(
        signal=np.concatenate(signal).astype(np.float32),
        follows=(step >= SHORTEST) & (step <= LONGEST),
        recording=np.cumsum(begins) - 1,
        subject=subjects[begins],
        activity=activities[begins],
    )


def _read_lines(path: Path | zipfile.Path) -> NDArray:
    """A table of `LINE`s, of a time stamp that comes twice the first."""
    lines = io.BytesIO(read_bytes(path).replace(b";", b""))
    try:
        table = np.loadtxt(lines, LINE, delimiter=",", comments=None, ndmin=1)
    except ValueError as error:
        found = str(error).split(";")[0]
        expected = "lines subject,code,time in ns,x,y,z;"
        raise InputError(f"{path}: expected {expected}, {found}") from error
    unknown = ~np.isin(table["code"], list(ACTIVITIES))
    if unknown.any() or not len(table):
        raise InputError(
            f"{path}: expected the codes A to S without N, "
            f"found {table['code'][unknown][:1].tolist()} of {len(table)} lines"
        )
    return table[~repeated(*_keys(table))]


def _keys(table: NDArray) -> tuple[NDArray, NDArray]:
    return _codes(table["code"]), table["time"]


def _codes(code: NDArray) -> NDArray[np.int32]:
    return np.searchsorted(list(ACTIVITIES), code).astype(np.int32)
