"""Wearable-sensor datasets read from their official files: UCI HAR and PAMAP2."""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from kdjax import files
from kdjax.checks import one_of
from kdjax.data.dataset import (
    Dataset,
    Examples,
    check,
    concatenate,
    hold_out_groups,
    learn_normal,
    standardise,
    take,
)
from kdjax.data.text import folder_or_zip, read_table
from kdjax.errors import InputError

UCI_HAR_FOLDER = "UCI HAR Dataset"
UCI_HAR_CHANNELS = tuple(
    f"{sensor}_{axis}"
    for sensor in ("body_acc", "body_gyro", "total_acc")
    for axis in "xyz"
)
UCI_HAR_CLASSES = (
    "walking",
    "walking_upstairs",
    "walking_downstairs",
    "sitting",
    "standing",
    "laying",
)
UCI_HAR_SAMPLES = 128
UCI_HAR_OFFICIAL = (7352, 2947)

PAMAP2_ACTIVITIES = {
    1: "lying",
    2: "sitting",
    3: "standing",
    4: "walking",
    5: "running",
    6: "cycling",
    7: "nordic_walking",
    12: "ascending_stairs",
    13: "descending_stairs",
    16: "vacuum_cleaning",
    17: "ironing",
    24: "rope_jumping",
}
PAMAP2_COLUMNS = 54
# Timestamp, activity, heart rate, then 17 columns for each of hand, chest and ankle:
# temperature, two accelerometers, gyroscope and magnetometer, and 4 of orientation,
# which the authors declare invalid.
PAMAP2_CHANNELS = [2, *(3 + 17 * unit + k for unit in range(3) for k in range(13))]
PAMAP2_NAMES = (
    "heart_rate",
    *(
        f"{unit}_{name}"
        for unit in ("hand", "chest", "ankle")
        for name in (
            "temperature",
            *(f"acc16_{axis}" for axis in "xyz"),
            *(f"acc6_{axis}" for axis in "xyz"),
            *(f"gyro_{axis}" for axis in "xyz"),
            *(f"mag_{axis}" for axis in "xyz"),
        )
    ),
)
PAMAP2_EVERY, PAMAP2_WINDOW, PAMAP2_STEP = 3, 100, 22


def uci_har(
    *, root: str, seed: int, validation_groups: int = 4, normal: str | None = None
) -> Dataset:
    """UCI HAR: 6 activities, windows [128, 9] at 50 Hz in `UCI_HAR_CHANNELS`' order.

    `root` is the official folder, its parent, the zip, or the folder that holds the zip
    (read in memory, not unpacked). Test: the official 9 subjects. Validation:
    `validation_groups` of the 21 training subjects, drawn by `seed`. Standardised.

    `normal`: the activity that a detector of anomalies learns. It becomes class 0, and
    its windows are all of the training split, by which the others are standardised.

    The files are read once in a process. Anguita et al., ESANN 2013.
    """
    recorded, test = _read_uci_har(
        files.local(root, where="config.data.root").resolve()
    )
    official = (len(recorded.y), len(test.y)) == UCI_HAR_OFFICIAL
    rest, held = hold_out_groups(
        recorded.group,
        count=validation_groups,
        seed=seed,
        where="config.data.validation_groups",
    )
    dataset = Dataset(
        name="UCI HAR" if official else "UCI HAR (rebuilt)",
        classes=UCI_HAR_CLASSES,
        train=take(recorded, rest),
        validation=take(recorded, held),
        test=test,
        synthetic=False,
        channels=UCI_HAR_CHANNELS,
    )
    if normal is not None:
        dataset = learn_normal(dataset, normal, where="config.data.normal")
    one_class = () if normal is None else ("train",)
    return standardise(check(dataset, where=root, one_class=one_class))


def pamap2(
    *,
    root: str,
    seed: int,
    test_subject: int = 101,
    validation_groups: int = 1,
) -> Dataset:
    """PAMAP2: 12 activities, windows [100, 40] at 33 Hz, one subject left out as test.

    `root` is the folder `Protocol`, its parent `PAMAP2_Dataset`, or the parent of that;
    `test_subject` is a file's number, 101 to 109. Validation: `validation_groups` of
    the other subjects, drawn by `seed` among those with two activities or more (109 has
    one). Channels: heart rate, then temperature, acceleration (16 g and 6 g range),
    gyroscope and magnetometer of hand, chest and ankle. Standardised.

    Protocol: heart rate filled forward, other NaN to 0 (and heart rate before its first
    reading); every 3rd sample; windows of 100, step 22, inside one file, kept if first
    and last label are the same activity of the 12. Files are read once in a process.
    Reiss & Stricker, ISWC 2012.
    """
    subjects = _read_pamap2(files.local(root, where="config.data.root").resolve())
    one_of(test_subject, sorted(subjects), where="config.data.test_subject")
    others = concatenate([e for name, e in subjects.items() if name != test_subject])
    rest, held = hold_out_groups(
        others.group,
        count=validation_groups,
        seed=seed,
        where="config.data.validation_groups",
        y=others.y,
    )
    dataset = Dataset(
        name="PAMAP2" if len(subjects) == 9 else f"PAMAP2 ({len(subjects)} subjects)",
        classes=tuple(PAMAP2_ACTIVITIES.values()),
        train=take(others, rest),
        validation=take(others, held),
        test=subjects[test_subject],
        synthetic=False,
        channels=PAMAP2_NAMES,
    )
    return standardise(check(dataset, where=root))


def _uci_har_folder(root: Path) -> Path | zipfile.Path:
    folder = folder_or_zip(root, UCI_HAR_FOLDER, holds="train")
    if folder is not None:
        return folder
    raise InputError(
        f"config.data.root: expected the folder {UCI_HAR_FOLDER!r} or its zip, "
        f"found neither at {str(root)!r}"
    )


@functools.lru_cache(maxsize=2)
def _read_uci_har(root: Path) -> tuple[Examples, Examples]:
    folder = _uci_har_folder(root)
    return _read_uci_har_part(folder, "train"), _read_uci_har_part(folder, "test")


def _read_uci_har_part(folder: Path | zipfile.Path, part: str) -> Examples:
    labels = folder / part / f"y_{part}.txt"
    y = read_table(labels, columns=1)[:, 0]
    n = len(y)
    activities = np.arange(1, len(UCI_HAR_CLASSES) + 1)
    if not np.isin(y, activities).all():
        wrong = y[~np.isin(y, activities)][0]
        raise InputError(f"{labels}: expected activities 1 to 6, found {wrong:g}")

    def read(path: Path | zipfile.Path, columns: int) -> NDArray[np.float32]:
        table = read_table(path, columns=columns)
        if len(table) != n:
            raise InputError(
                f"{path}: expected {n} rows, as in {labels.name}, found {len(table)}"
            )
        return table

    subject = read(folder / part / f"subject_{part}.txt", 1)[:, 0]
    x = np.empty((n, UCI_HAR_SAMPLES, len(UCI_HAR_CHANNELS)), np.float32)
    for channel, name in enumerate(UCI_HAR_CHANNELS):
        path = folder / part / "Inertial Signals" / f"{name}_{part}.txt"
        x[:, :, channel] = read(path, UCI_HAR_SAMPLES)
    return Examples(
        x=x,
        y=y.astype(np.int32) - 1,
        group=subject.astype(np.int32),
        key=np.array([f"{part}/{row:05d}" for row in range(n)]),
    )


@functools.lru_cache(maxsize=1)
def _read_pamap2(root: Path) -> dict[int, Examples]:
    for folder in (root, root / "Protocol", root / "PAMAP2_Dataset" / "Protocol"):
        files = sorted(folder.glob("subject10[1-9].dat"))
        if files:
            numbers = [int(file.stem.removeprefix("subject")) for file in files]
            return {
                number: _read_pamap2_file(file, number)
                for number, file in zip(numbers, files, strict=True)
            }
    raise InputError(
        "config.data.root: expected Protocol/subject101.dat to subject109.dat, "
        f"found none at {str(root)!r}"
    )


def _read_pamap2_file(path: Path, subject: int) -> Examples:
    table = read_table(path, columns=PAMAP2_COLUMNS)
    signal = table[:, PAMAP2_CHANNELS]
    signal[:, 0] = _fill_forward(signal[:, 0])
    signal = signal[::PAMAP2_EVERY]
    signal[np.isnan(signal)] = 0
    activity = table[::PAMAP2_EVERY, 1]

    start = np.arange(0, len(signal) - PAMAP2_WINDOW + 1, PAMAP2_STEP)
    first, last = activity[start], activity[start + PAMAP2_WINDOW - 1]
    known = list(PAMAP2_ACTIVITIES)
    keep = (first == last) & np.isin(first, known)
    start, first = start[keep], first[keep]
    windows = sliding_window_view(signal, PAMAP2_WINDOW, axis=0)[start]
    return Examples(
        x=np.ascontiguousarray(windows.transpose(0, 2, 1)),
        y=np.searchsorted(known, first).astype(np.int32),
        group=np.full(len(start), subject, np.int32),
        key=np.array([f"{subject}/{s:06d}" for s in start], dtype=np.str_),
    )


def _fill_forward(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each NaN becomes the last number before it; those before the first stay."""
    last = np.where(np.isnan(values), 0, np.arange(len(values)))
    return values[np.maximum.accumulate(last)]
