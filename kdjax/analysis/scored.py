"""What detectors stored of the examples they scored: scores.npz and examples.npz."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from kdjax.analysis.results import Run
from kdjax.errors import InputError


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
    found = _read(run.folder / "scores.npz", Scores)
    if found is not None:
        path, sizes = run.folder / "scores.npz", [len(field) for field in found]
        if len(set(sizes)) > 1:
            raise InputError(f"{path}: expected arrays of one length, found {sizes}")
        _check_labels(path, found.label, run)
    return found


def read_shown(run: Run) -> Shown | None:
    """The run's rebuilt examples, None where it stored none; InputError if damaged."""
    found = _read(run.folder / "examples.npz", Shown)
    if found is not None:
        path, shape = run.folder / "examples.npz", found.x.shape
        if len(shape) != 3 or found.rebuilt.shape != shape:
            raise InputError(
                f"{path}: expected x and rebuilt [k, time, leads], found {shape} and"
                f" {found.rebuilt.shape}"
            )
        _check_labels(path, found.label, run)
    return found


Arrays = TypeVar("Arrays", Scores, Shown)


def _read(path: Path, kind: type[Arrays]) -> Arrays | None:
    if not path.exists():
        return None
    fields: Any = kind._fields
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            return kind(*(stored[name] for name in fields))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
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
