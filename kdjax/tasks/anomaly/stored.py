"""What detectors stored of the examples they scored: scores.npz and examples.npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from kdjax.data.ecg.records import DAMAGED
from kdjax.errors import InputError
from kdjax.report.runs import Run


class Scores(NamedTuple):
    """scores.npz: the split, label, group and score, by `last` and `best`, of each of
    the n validation and test examples."""

    split: np.ndarray
    label: np.ndarray
    group: np.ndarray
    last: np.ndarray
    best: np.ndarray


class Shown(NamedTuple):
    """examples.npz: k test examples [k, time, leads], rebuilt, their labels, scores."""

    x: np.ndarray
    rebuilt: np.ndarray
    label: np.ndarray
    score: np.ndarray


def read_scores(run: Run) -> Scores | None:
    """The run's scores, None where it stored none; InputError if they are damaged."""
    found = scores_in(run.folder)
    if found is not None:
        _check_labels(run.folder / "scores.npz", found.label, run)
    return found


def scores_in(folder: Path) -> Scores | None:
    """`read_scores` of a stage's folder, whatever its classes."""
    path = folder / "scores.npz"
    found = _read(path, Scores)
    if found is not None:
        sizes = [field.size for field in found]
        if len(set(sizes)) > 1:
            raise InputError(f"{path}: expected arrays of one length, found {sizes}")
    return found


def read_shown(run: Run) -> Shown | None:
    """The run's rebuilt examples, None where it stored none, or others than series, of
    which there is no picture; InputError if they are damaged."""
    path = run.folder / "examples.npz"
    found = _read(path, Shown)
    if found is None:
        return None
    if found.rebuilt.shape != found.x.shape:
        raise InputError(
            f"{path}: expected x and rebuilt of one shape, found {found.x.shape} and"
            f" {found.rebuilt.shape}"
        )
    _check_labels(path, found.label, run)
    return found if found.x.ndim == 3 else None


Arrays = TypeVar("Arrays", Scores, Shown)


def _read(path: Path, kind: type[Arrays]) -> Arrays | None:
    if not path.exists():
        return None
    fields: Any = kind._fields
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                raise ValueError("one array, as of a .npy")
            return kind(*(stored[name] for name in fields))
    except DAMAGED as error:
        raise InputError(
            f"{path}: expected arrays {', '.join(fields)}, found {error}"
        ) from error


def _check_labels(path: Path, label: np.ndarray, run: Run) -> None:
    classes = len(run.classes)
    if label.size and not 0 <= label.min() <= label.max() < classes:
        raise InputError(
            f"{path}: label: expected 0 to {classes - 1}, found {label.min()} to"
            f" {label.max()}"
        )
