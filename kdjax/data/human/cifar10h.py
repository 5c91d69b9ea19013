"""CIFAR-10H: what some 51 people each said of every CIFAR-10 test image."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32, Int64

from kdjax import archives
from kdjax.data.dataset import check_once
from kdjax.data.images import CIFAR10_CLASSES, CIFAR10_OFFICIAL, read_cifar10
from kdjax.errors import InputError

VOTES_FILE = "cifar10h-counts.npy"
LABELS_FILE = "cifar10_test_set_original_labels.npy"
ROWS_FILE = "test_batch_rows.csv"
COLUMNS = ["row", "cifar10_test_index"]

IMAGES = CIFAR10_OFFICIAL[1]
SHAPE = IMAGES, len(CIFAR10_CLASSES)


class Votes(NamedTuple):
    """Votes for each class, and CIFAR-10's own label, in the order of its test set."""

    votes: Int64[np.ndarray, "10000 10"]
    label: Int32[np.ndarray, " 10000"]


class HumanLabels(NamedTuple):
    """Of each image its key, votes, their part of all, and CIFAR-10's own label.

    `key` is that of kdjax's `cifar10`, "test_batch/00012"; classes are in its order.
    """

    key: np.ndarray
    votes: Int64[np.ndarray, "n 10"]
    probability: Float[np.ndarray, "n 10"]
    label: Int32[np.ndarray, " n"]


def read_votes(folder: Path) -> Votes:
    """Reads `cifar10h-counts.npy` and the labels; nothing is unpickled.

    Peterson et al. 2019, "Human uncertainty makes classification more robust".
    InputError: a file that is absent, damaged or of another shape, a negative count, a
    label that is none, an image without a vote.
    """
    votes = _read(folder / VOTES_FILE, SHAPE)
    if votes.min() < 0:
        row, column = np.argwhere(votes < 0)[0]
        raise InputError(
            f"{folder / VOTES_FILE}: row {row}: expected counts of votes, found "
            f"{votes[row, column]} for {CIFAR10_CLASSES[column]!r}"
        )
    empty = np.flatnonzero(votes.sum(axis=1) == 0)
    if len(empty):
        raise InputError(
            f"{folder / VOTES_FILE}: row {empty[0]}: expected votes, found a sum of 0"
        )
    label = _read(folder / LABELS_FILE, SHAPE[:1])
    bad = np.flatnonzero((label < 0) | (label >= SHAPE[1]))
    if len(bad):
        raise InputError(
            f"{folder / LABELS_FILE}: row {bad[0]}: expected a label 0 to 9, found "
            f"{label[bad[0]]}"
        )
    return Votes(votes, label.astype(np.int32))


def read_human_labels(folder: Path, *, cifar10: Path) -> HumanLabels:
    """The votes on the images of test_batch.bin, in its order.

    `folder` is CIFAR-10H's, `cifar10` the folder that the loader of that name takes.
    See `join_votes`.
    """
    _, test = read_cifar10(cifar10)
    return join_votes(folder, test.key, test.y)


def join_votes(
    folder: Path, key: np.ndarray, label: Int32[np.ndarray, " n"]
) -> HumanLabels:
    """The votes on the images of some keys, in their order: joined by key alone.

    `key` are the loader's, of test_batch.bin; `label` is each image's there.
    `test_batch_rows.csv` in `folder` says which image of CIFAR-10's test set each row
    of test_batch.bin is; without it, test_batch.bin is taken for the official file, all
    10,000 in order. InputError: what `read_votes` refuses, a table that gives a row or
    an image twice, a key that is asked for twice or is not there, a label that differs
    from the image's own.
    """
    every = read_votes(folder)
    index = _image_of_key(folder / ROWS_FILE)
    check_once(key, "each image once", where="key")
    for name in key.tolist():
        if name not in index:
            raise InputError(
                f"{folder / ROWS_FILE}: expected the image of key {name!r}, found none"
            )
    rows = np.array([index[name] for name in key.tolist()], np.int64)
    differ = np.flatnonzero(every.label[rows] != label)
    if len(differ):
        first = differ[0]
        raise InputError(
            f"{folder / LABELS_FILE}: row {rows[first]}: expected the label of "
            f"{str(key[first])!r}, {label[first]}, found {every.label[rows[first]]}: "
            f"not the same image ({len(differ)} of {len(key)} labels differ)"
        )
    votes = every.votes[rows]
    probability = votes / votes.sum(axis=1, keepdims=True)
    return HumanLabels(key, votes, probability, every.label[rows])


def _image_of_key(path: Path) -> dict[str, int]:
    """{key: index in CIFAR-10's test set} of every row of test_batch.bin."""
    if not path.exists():
        return {_key(row): row for row in range(IMAGES)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = [line for line in csv.reader(file) if line] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if header != COLUMNS:
        raise InputError(
            f"{path}: expected the columns {', '.join(COLUMNS)}, found "
            f"{', '.join(header) or 'none'}"
        )
    index: dict[str, int] = {}
    key_of: dict[int, str] = {}
    for number, line in enumerate(lines, start=2):
        if len(line) != 2 or not all(x.isascii() and x.isdigit() for x in line):
            raise InputError(
                f"{path}: line {number}: expected two whole numbers, found {line}"
            )
        key, image = _key(int(line[0])), int(line[1])
        if image >= IMAGES:
            raise InputError(
                f"{path}: line {number}: expected an image 0 to {IMAGES - 1} for "
                f"{key!r}, found {image}"
            )
        if key in index:
            raise InputError(
                f"{path}: line {number}: expected each row once, found {key!r} as "
                f"image {index[key]} and as {image}"
            )
        if image in key_of:
            raise InputError(
                f"{path}: line {number}: expected each image once, found image {image} "
                f"as {key_of[image]!r} and as {key!r}"
            )
        index[key], key_of[image] = image, key
    return index


def _key(row: int) -> str:
    """The loader's key of a row of test_batch.bin."""
    return f"test_batch/{row:05d}"


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An .npy file's integers as int64."""
    found = archives.read_npy(path)
    if found.shape != shape or found.dtype.kind not in "iu":
        raise InputError(
            f"{path}: expected integers {shape}, found {found.dtype} {found.shape}"
        )
    return found.astype(np.int64)
