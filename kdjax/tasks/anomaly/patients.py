"""The report's table of heart beats: what a detector is worth on patients.

Each score as it is, relative to its patient's, and with the rhythm of the beats; at a
rate of false alarms that validation patients' normal beats set; the intervals are over
patients, for the beats of one are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kdjax.report.runs import Experiment, Run, stage_runs, stages_with
from kdjax.report.tables import NONE, spread, table
from kdjax.tasks.anomaly import rhythm
from kdjax.tasks.anomaly.metrics import NORMAL, detection, flags, relative, threshold
from kdjax.tasks.anomaly.rhythm import Rhythm
from kdjax.tasks.anomaly.scoring import Scores, read_scores

ALARMS = 30.0  # false alarms an hour that a threshold lets pass
RESAMPLES, CONFIDENCE = 2_000, 0.95


class Beats(NamedTuple):
    """Of a run's validation and test beats [n]: split, class, patient, the interval
    before each in seconds, and a score."""

    split: np.ndarray
    label: np.ndarray
    group: np.ndarray
    seconds: np.ndarray
    score: np.ndarray


class Counts(NamedTuple):
    """Of each of p test patients: hours, normal beats flagged [p], and of each abnormal
    class beats and those flagged [p]."""

    hours: np.ndarray
    false: np.ndarray
    beats: dict[str, np.ndarray]
    found: dict[str, np.ndarray]


def _own(stored: Scores, beats: Rhythm, score: np.ndarray) -> np.ndarray | None:
    del stored, beats
    return score


def _relative(stored: Scores, beats: Rhythm, score: np.ndarray) -> np.ndarray | None:
    del beats
    return None if (score < 0).any() else relative(score, stored.group)


def with_rhythm(
    kind: str, stored: Scores, beats: Rhythm, score: np.ndarray
) -> np.ndarray | None:
    """A score with the rhythm of the beats, by `rhythm.KINDS`; None if any is negative.

    Its weight comes from the normal validation beats.
    """
    if (score < 0).any():
        return None
    normal = (stored.split == "validation") & (stored.label == NORMAL)
    weight = rhythm.weight(score[normal])
    return rhythm.combined(score, getattr(beats, kind), weight)


Way = Callable[[Scores, Rhythm, np.ndarray], np.ndarray | None]
WAYS: dict[str, Way] = {
    "its own": _own,
    "relative": _relative,
    "with rhythm": lambda *given: with_rhythm("whole", *given),
    "with the past's": lambda *given: with_rhythm("past", *given),
}


def patients_table(experiment: Experiment) -> str:
    """The table of all detectors whose beats' rhythm is known, '' without any."""
    rows = []
    names: dict[str, None] = {}
    for stage in stages_with(experiment, "auc"):
        runs = stage_runs(experiment, stage)
        read = [known for run in runs if (known := _read(run))]
        for way in WAYS:
            found = [
                _beats(*known, experiment.settings.checkpoint, WAYS[way])
                for known in read
            ]
            each = [one for one in found if one is not None]
            if each:
                classes = runs[0].classes
                counts = [count(one, classes) for one in each]
                names |= dict.fromkeys(counts[0].beats)
                rows.append((stage, way, each, counts))
    if not rows:
        return ""
    head = ["stage", "score", "AUC", "average precision"]
    for name in names:
        head += [f"{name} found, %", f"{name} predictive value, %"]
    head.append("false alarms an hour")
    cells = [
        (stage, way, *_detection(each), *_at_limit(counts, list(names)))
        for stage, way, each, counts in rows
    ]
    said = (
        "**On patients.** Each score as it is; *relative*, divided by the first"
        " quartile of its patient's; *with rhythm*, its logarithm and how early the"
        " beat comes and how long a pause follows; *with the past's*, how early alone,"
        f" by the beats before. What {100 * rhythm.FALSE_ALARMS:g} % of normal beats"
        " exceed counts the same in both, and no abnormal beat is looked at. AUC and"
        " average precision: mean over seeds ±. Found: sensitivity. Predictive value:"
        " of beats of the class and normal ones that are flagged, the share of the"
        f" former. Both above the score that lets {ALARMS:g} of the validation"
        " patients' normal beats an hour pass; in brackets the 95 % interval over test"
        f" patients (percentiles of {RESAMPLES:,} resamples of patients, each of them"
        " in all seeds)."
    )
    return f"{said}\n\n{table(head, cells, words=2)}"


def _read(run: Run) -> tuple[Scores, Rhythm] | None:
    """What a run stored, None unless it has a rhythm, and groups of several beats."""
    stored, beats = read_scores(run), rhythm.read(run.folder)
    if stored is None or beats is None:
        return None
    alone = len(np.unique(stored.group)) == len(stored.group)
    return None if alone else (stored, beats)


def _beats(stored: Scores, beats: Rhythm, checkpoint: str, way: Way) -> Beats | None:
    score = way(stored, beats, getattr(stored, checkpoint))
    if score is None:
        return None
    return Beats(stored.split, stored.label, stored.group, beats.seconds, score)


def limit(beats: Beats) -> float:
    """The lowest score that at most `ALARMS` normal validation beats an hour exceed."""
    held = beats.split == "validation"
    normal = beats.score[held & (beats.label == NORMAL)]
    hours = float(beats.seconds[held].sum(dtype=np.float64)) / 3600
    fraction = ALARMS * hours / len(normal)
    least = 0.5 / len(normal)  # none may pass
    return threshold(normal, min(max(fraction, least), 1 - least))


def count(beats: Beats, classes: Sequence[str]) -> Counts:
    """What the limit flags of each test patient."""
    test = beats.split == "test"
    group, label = beats.group[test], beats.label[test]
    names, patient = np.unique(group, return_inverse=True)
    flagged = flags(beats.score[test], limit(beats))

    def per_patient(rows: np.ndarray) -> np.ndarray:
        return np.bincount(patient[rows], minlength=len(names))

    seconds = np.bincount(patient, weights=beats.seconds[test], minlength=len(names))
    known = {
        name: label == y
        for y, name in enumerate(classes)
        if y != NORMAL and (label == y).any()
    }
    return Counts(
        hours=seconds / 3600,
        false=per_patient(flagged & (label == NORMAL)),
        beats={name: per_patient(rows) for name, rows in known.items()},
        found={name: per_patient(rows & flagged) for name, rows in known.items()},
    )


def shares(counts: Counts, drawn: np.ndarray) -> dict[str, np.ndarray]:
    """Sensitivity and predictive value of each class, and false alarms an hour, of
    patients drawn, [resamples, p] of their places: [resamples] each; NaN of nothing."""
    false = counts.false[drawn].sum(1)
    found: dict[str, np.ndarray] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name in counts.beats:
            hits = counts.found[name][drawn].sum(1)
            found[f"{name} found"] = hits / counts.beats[name][drawn].sum(1)
            found[f"{name} value"] = hits / (hits + false)
        found["alarms"] = false / counts.hours[drawn].sum(1)
    return found


def _detection(each: Sequence[Beats]) -> list[str]:
    at = []
    for beats in each:
        test = beats.split == "test"
        at.append(detection(beats.label[test] != NORMAL, beats.score[test]))
    return [spread(one[m] for one in at) for m in ("auc", "average_precision")]


def _at_limit(counts: Sequence[Counts], names: Sequence[str]) -> list[str]:
    """The cells of shares: the mean over seeds, and its interval over patients."""
    patients = len(counts[0].hours)
    drawn = np.random.default_rng(0).integers(patients, size=(RESAMPLES, patients))
    all_of_them = np.arange(patients)[None]
    if any(len(one.hours) != patients for one in counts):  # seeds of other patients
        drawn = all_of_them
    point = _mean([shares(one, all_of_them) for one in counts])
    resampled = _mean([shares(one, drawn) for one in counts])
    keys = [(f"{name} {what}", 100.0) for name in names for what in ("found", "value")]
    cells = []
    for key, scale in [*keys, ("alarms", 1.0)]:
        if key not in point or np.isnan(point[key][0]):
            cells.append(NONE)
            continue
        known = resampled[key][~np.isnan(resampled[key])]
        tails = (1 - CONFIDENCE) / 2
        low, high = np.quantile(scale * known, (tails, 1 - tails))
        cells.append(f"{scale * point[key][0]:.1f} ({low:.1f} to {high:.1f})")
    return cells


def _mean(each: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.mean([one[key] for one in each], axis=0) for key in each[0]}
