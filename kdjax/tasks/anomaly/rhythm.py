"""The rhythm of heart beats as a second score, added to that of any detector.

An ectopic beat comes early, and a pause follows: its intervals say what its shape may
not. What is added is chosen on normal beats alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kdjax import files
from kdjax.data.dataset import Dataset, normals
from kdjax.data.ecg.intervals import AFTER, BEFORE
from kdjax.errors import InputError
from kdjax.tasks.anomaly.metrics import ordered

FALSE_ALARMS = 0.01  # the fraction of normal beats that has more than a unit
LEAST = float(np.log(1.05))  # of a unit: an interval 5 % off says nothing
FILE = "rhythm.npz"
KINDS = ("whole", "past")
_AROUND, _PAST = 10, 21  # intervals on either side, and before
TINY = float(np.finfo(np.float32).tiny)


class Rhythm(NamedTuple):
    """rhythm.npz: the irregularity of each of the n validation and test beats by what
    is `whole`ly recorded and by the `past` alone, in units; `seconds`, the interval
    before each, 0 where there is none; and both units."""

    whole: Float[np.ndarray, " n"]
    past: Float[np.ndarray, " n"]
    seconds: Float[np.ndarray, " n"]
    whole_unit: Float[np.ndarray, ""]
    past_unit: Float[np.ndarray, ""]


def irregularity(
    intervals: Float[np.ndarray, "n 44"], *, past: bool
) -> Float[np.ndarray, " n"]:
    """How early each beat comes, and how long a pause follows it: 0 or more.

    `max(0, ln(usual / before)) + max(0, ln(after / usual))`: before and after are the
    intervals that end and begin at the beat, usual is the median of 21, the former and
    10 on either side. With `past`, what is known at the beat: usual is the median of
    the 21 before the former, and there is no pause. A term without its intervals is 0.

    Args:
        intervals: in seconds, those of `data.ecg.intervals.around`.
        past: whether to use the past alone, as a monitor does.
    """
    return np.maximum(logarithms(intervals, past=past), 0.0).sum(axis=1)


def logarithms(
    intervals: Float[np.ndarray, "n 44"], *, past: bool
) -> Float[np.ndarray, "n 2"]:
    """`ln(usual / before)` and `ln(after / usual)` of each beat, of `irregularity`.

    0 where an interval is not known; the second is 0 with `past`.
    """
    known = np.asarray(intervals, np.float64)
    columns = np.s_[BEFORE - _AROUND : BEFORE + _AROUND + 1]
    usual = _median(known[:, np.s_[BEFORE - _PAST : BEFORE] if past else columns])
    found = np.zeros((len(known), 2))
    found[:, 0] = np.log(usual / known[:, BEFORE])
    if not past:
        found[:, 1] = np.log(known[:, AFTER] / usual)
    return np.nan_to_num(found, nan=0.0)


def _median(x: np.ndarray) -> np.ndarray:
    """Of what is known of each row; NaN where nothing is."""
    return np.ma.median(np.ma.masked_invalid(x), axis=1).filled(np.nan)


def of_dataset(dataset: Dataset) -> Rhythm | None:
    """The rhythm of the validation and test beats, None where intervals are not known.

    A unit is the irregularity that 1 % of the normal training and validation beats
    exceed, or 5 % if that is more.
    """
    if dataset.intervals is None:
        return None
    train, *held = dataset.intervals
    parts = (dataset.train, train), (dataset.validation, held[0])
    normal = np.concatenate([known[normals(part)] for part, known in parts])
    both = np.concatenate(held)
    found = {}
    for kind in KINDS:
        past = kind == "past"
        tail = np.quantile(irregularity(normal, past=past), 1 - FALSE_ALARMS)
        found[f"{kind}_unit"] = np.maximum(tail, LEAST)
        found[kind] = irregularity(both, past=past) / found[f"{kind}_unit"]
    return Rhythm(**found, seconds=np.nan_to_num(both[:, BEFORE]))


def write(folder: Path, dataset: Dataset) -> None:
    """Writes `rhythm.npz`, where the dataset's intervals are known."""
    rhythm = of_dataset(dataset)
    if rhythm is not None:
        files.write(folder / FILE, lambda file: np.savez(file, **rhythm._asdict()))


def read(folder: Path) -> Rhythm | None:
    """A stage's `rhythm.npz`, None where it has none; InputError if it is damaged."""
    path = folder / FILE
    return files.read_arrays(path, Rhythm) if path.exists() else None


def needed(folder: Path) -> Rhythm:
    """`read`, and an InputError where there is none."""
    rhythm = read(folder)
    if rhythm is None:
        raise InputError(
            f"--rhythm: {folder}: expected a stage whose data know the intervals "
            f"between beats, found no {FILE}"
        )
    return rhythm


def weight(normal: Float[np.ndarray, " n"]) -> float:
    """What a unit of rhythm counts beside the logarithm of a score.

    `ln(q) - ln(m)`: q is the score that 1 % of these normal scores exceed, m their
    median. So a beat that is as irregular as 1 % of the normal ones, and in shape as
    the median, scores as one in rhythm whose shape is as odd as 1 % of them.
    """
    known = logs(normal)
    return float(np.quantile(known, 1 - FALSE_ALARMS) - np.median(known))


def logs(score: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """`ln(score)`, finite whatever the score."""
    return np.log(np.maximum(ordered(score), TINY))


def combined(
    score: Float[np.ndarray, " n"], units: Float[np.ndarray, " n"], weight: float
) -> Float[np.ndarray, " n"]:
    """`ln(score) + weight * units`: scores are errors or distances, never negative."""
    return np.log(np.maximum(np.asarray(score, np.float64), TINY)) + weight * units
