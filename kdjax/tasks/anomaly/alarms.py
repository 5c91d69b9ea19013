"""A threshold in use: what it flags of each class, and its false alarms an hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.errors import InputError
from kdjax.report.statistics import share_interval
from kdjax.tasks.anomaly import metrics, rhythm
from kdjax.tasks.anomaly.metrics import NORMAL
from kdjax.tasks.anomaly.scoring import SCORES, scores_in

# Fractions of the normal validation beats above the thresholds of the table.
FRACTIONS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1)
DEFAULT = 0.05
NONE = "-"


class Marked(NamedTuple):
    """A recording's annotated beats: `symbol` str [m]; `row` int64 [m], the place of
    each among the scored beats, -1 where it was not scored; `groups`, {class: symbols},
    the normal class first; `found` bool [m], which ones were found, scored or not, and
    `more`, how many beats were found that none of them marks."""

    symbol: np.ndarray
    row: np.ndarray
    groups: Mapping[str, str]
    found: np.ndarray
    more: int


class Threshold(NamedTuple):
    """The score above which a beat is flagged, and the fraction of the stage's normal
    validation beats that was asked to be above it, None where the value was given."""

    value: float
    false_alarms: float | None


class Normal(NamedTuple):
    """A stage's normal validation beats: their `scores` [n], with their rhythm if that
    counts, and what it takes to score others alike: the rhythm's `unit` and `weight`,
    of the `past` alone or not; the unit is None where it does not count."""

    scores: np.ndarray
    unit: float | None = None
    weight: float = 0.0
    past: bool = False

    def with_rhythm(self, scores: np.ndarray, intervals: np.ndarray) -> np.ndarray:
        """Other beats' scores, and the intervals around them, as these count them."""
        if self.unit is None:
            return scores
        units = rhythm.irregularity(intervals, past=self.past) / self.unit
        return rhythm.combined(scores, units, self.weight)


def normal_scores(
    folder: Path, which: str, *, relative: bool, by_rhythm: str | None = None
) -> Normal:
    """Those of a stage's normal validation beats, by the checkpoint `which`.

    With `relative` each is divided by its patient's first quartile; `by_rhythm`, one of
    `rhythm.KINDS`, adds their rhythm. InputError where the stage is not done, or has no
    patients, or knows no rhythm.
    """
    stored = scores_in(folder)
    if stored is None:
        path = folder / SCORES
        raise InputError(f"{path}: expected this file, found none; is the stage done?")
    held = stored.split == "validation"
    scores: np.ndarray = getattr(stored, which)[held]
    if (relative or by_rhythm is not None) and (scores < 0).any():
        raise InputError(
            f"--{'relative' if relative else 'rhythm'}: {folder}: expected scores that "
            "are never negative, as errors and distances are, found others: an "
            "ensemble's have the rhythm already"
        )
    if relative:
        group = stored.group[held]
        if len(np.unique(group)) == len(group):
            raise InputError(
                f"--relative: {folder}: expected several validation beats a patient, "
                "found each alone, as by the paper's protocol"
            )
        scores = metrics.relative(scores, group)
    normal = stored.label[held] == NORMAL
    scores = scores[normal]
    if by_rhythm is None:
        return Normal(scores)
    found = rhythm.needed(folder)
    weight = rhythm.weight(scores)
    units = getattr(found, by_rhythm)[held][normal]
    return Normal(
        rhythm.combined(scores, units, weight),
        unit=float(getattr(found, f"{by_rhythm}_unit")),
        weight=weight,
        past=by_rhythm == "past",
    )


def check(value: float | int | None, false_alarms: float | int | None) -> None:
    """InputError unless one of the two at most is given, and can be used."""
    if value is not None and false_alarms is not None:
        raise InputError("--threshold: expected this or --false_alarms, found both")
    if value is not None and not np.isfinite(value):
        raise InputError(f"--threshold: expected a finite number, found {value}")
    if false_alarms is not None and not 0 < false_alarms < 1:
        raise InputError(
            f"--false_alarms: expected a fraction between 0 and 1, found {false_alarms}"
        )


def choose(
    normal: np.ndarray, value: float | int | None, false_alarms: float | int | None
) -> Threshold:
    """The `value`, if one is given, else the score that the fraction `false_alarms`
    (.05 if none is given) of these normal validation scores exceeds."""
    if value is not None:
        return Threshold(float(value), None)
    fraction = DEFAULT if false_alarms is None else float(false_alarms)
    return Threshold(metrics.threshold(normal, fraction), fraction)


def summary(
    scores: np.ndarray,
    threshold: Threshold,
    normal: np.ndarray,
    *,
    hours: float,
    marked: Marked | None,
) -> dict[str, Any]:
    """What the threshold flags of a recording of so many `hours`, as JSON holds it.

    scores: [n], of the beats that could be scored. normal: those of the stage's normal
    validation beats. With annotations there are counts by class and by symbol: beats
    that are annotated, those of them that were scored, those flagged, their share of
    the annotated (what is not scored is not flagged) with Wilson's 95 % interval, and
    how many are flagged an hour. Of an abnormal class the share is the sensitivity, of
    the normal one false alarms. `unmatched` are scored beats without annotation.
    `detection`: of the annotated beats, those that were found, and by class.
    `false_alarms_an_hour`: flagged beats of the normal class, and unmatched ones.
    `thresholds`: the same in short at other thresholds.
    """
    used = _at(scores, threshold, normal, hours=hours, marked=marked)
    others = [choose(normal, None, fraction) for fraction in FRACTIONS]
    if threshold.false_alarms not in FRACTIONS:
        others.append(threshold)
    others.sort(key=lambda one: -one.value)
    found: dict[str, Any] = {
        "threshold": threshold.value,
        "false_alarms": threshold.false_alarms,
        "validation_false_alarms": float(metrics.flags(normal, threshold.value).mean()),
        "validation_normal_beats": len(normal),
        "hours": hours,
        "beats": len(scores),
        "flagged": used["flagged"],
    }
    if marked is not None:
        flags = metrics.flags(scores, threshold.value)
        found |= {
            "groups": dict(marked.groups),
            "classes": _by_class(flags, marked, hours),
            "symbols": _by_symbol(flags, marked, hours),
            "unmatched": _unmatched(flags, marked, hours),
            "detection": _found(marked),
            "false_alarms_an_hour": used["false_alarms_an_hour"],
        }
    found["thresholds"] = [
        _at(scores, one, normal, hours=hours, marked=marked) for one in others
    ]
    return found


def _at(
    scores: np.ndarray,
    threshold: Threshold,
    normal: np.ndarray,
    *,
    hours: float,
    marked: Marked | None,
) -> dict[str, Any]:
    """A line of the table of thresholds."""
    flags = metrics.flags(scores, threshold.value)
    line: dict[str, Any] = {
        "false_alarms": threshold.false_alarms,
        "threshold": threshold.value,
        "flagged": int(flags.sum()),
        "flagged_an_hour": float(flags.sum() / hours),
    }
    if marked is not None:
        classes = _by_class(flags, marked, hours)
        (first, *_), more = classes.values(), _unmatched(flags, marked, hours)
        line |= {
            "share": {name: one["share"] for name, one in classes.items()},
            "false_alarms_an_hour": first["an_hour"] + more["an_hour"],
        }
    return line


def _by_class(flags: np.ndarray, marked: Marked, hours: float) -> dict[str, Any]:
    return {
        name: _count(flags, marked, np.isin(marked.symbol, list(symbols)), hours)
        for name, symbols in marked.groups.items()
    }


def _by_symbol(flags: np.ndarray, marked: Marked, hours: float) -> dict[str, Any]:
    """In the order of the groups."""
    known = [s for symbols in marked.groups.values() for s in symbols]
    return {
        symbol: _count(flags, marked, marked.symbol == symbol, hours)
        for symbol in known
        if (marked.symbol == symbol).any()
    }


def _count(
    flags: np.ndarray, marked: Marked, which: np.ndarray, hours: float
) -> dict[str, Any]:
    row = marked.row[which]
    row = row[row >= 0]
    beats, flagged = int(which.sum()), int(flags[row].sum())
    share = share_interval(flagged, beats) if beats else None
    return {
        "beats": beats,
        "scored": len(row),
        "flagged": flagged,
        "share": share and share.mean,
        "interval": share and [share.low, share.high],
        "an_hour": flagged / hours,
    }


def _found(marked: Marked) -> dict[str, Any]:
    classes = {
        name: marked.found[np.isin(marked.symbol, list(symbols))]
        for name, symbols in marked.groups.items()
    }
    return {
        "beats": len(marked.symbol),
        "found": int(marked.found.sum()),
        "more": marked.more,
        "classes": {
            name: {"beats": len(found), "found": int(found.sum())}
            for name, found in classes.items()
            if len(found)
        },
    }


def _unmatched(flags: np.ndarray, marked: Marked, hours: float) -> dict[str, Any]:
    alone = np.ones(len(flags), bool)
    alone[marked.row[marked.row >= 0]] = False
    flagged = int(flags[alone].sum())
    counts = {"beats": int(alone.sum()), "flagged": flagged}
    return counts | {"an_hour": flagged / hours}


def said(found: Mapping[str, Any]) -> str:
    """The summary's tables for a terminal."""
    parts = [_thresholds(found)]
    if "classes" in found:
        parts.insert(0, _classes(found))
        parts.insert(0, _detection(found["detection"]))
    return "\n\n".join(part for part in parts if part)


def _detection(found: Mapping[str, Any]) -> str:
    """'' where every annotated beat was found, and no other, as where they are used."""
    if found["found"] == found["beats"] and not found["more"]:
        return ""
    classes = ", ".join(
        f"{name} {one['found']} of {one['beats']}"
        for name, one in found["classes"].items()
    )
    return (
        f"{found['found']} of {found['beats']} annotated beats were found ({classes}), "
        f"and {found['more']} that are not annotated"
    )


def _classes(found: Mapping[str, Any]) -> str:
    head = ("annotated", "beats", "scored", "flagged", "%", "95 %", "flagged an hour")
    rows = []
    for name, symbols in found["groups"].items():
        counts = found["classes"][name]
        if not counts["beats"]:
            continue
        rows.append(_cells(f"class {name}", counts))
        own = {s: c for s, c in found["symbols"].items() if s in symbols}
        rows += [_cells(f"  {symbol}", one) for symbol, one in own.items()]
    alone = found["unmatched"]
    if alone["beats"]:
        rows.append(_cells("unmatched", {"scored": alone["beats"]} | alone))
    (normal, *_) = found["groups"]
    return "\n".join(
        [
            *_aligned([head, *rows]),
            f"{found['false_alarms_an_hour']:.4g} false alarms an hour; %: of class "
            f"{normal} false alarms, of others sensitivity (Wilson's interval)",
        ]
    )


def _cells(name: str, counts: Mapping[str, Any]) -> tuple[str, ...]:
    low_high, beats = counts.get("interval"), counts["beats"]
    bounds = [f"{100 * value:.1f}" for value in low_high or ()]
    return (
        name,
        str(beats) if "interval" in counts else NONE,
        str(counts["scored"]),
        str(counts["flagged"]),
        _per_cent(counts.get("share")),
        " to ".join(bounds) or NONE,
        f"{counts['an_hour']:.1f}",
    )


def _thresholds(found: Mapping[str, Any]) -> str:
    """A line a threshold; that in use has a star."""
    classes = [n for n, one in found.get("classes", {}).items() if one["beats"]]
    alarms = ("false alarms an hour",) if classes else ()
    used = ("threshold", "false_alarms")
    head = (
        *("", "of validation %", "threshold", "flagged", "flagged an hour"),
        *(f"{name} %" for name in classes),
        *alarms,
    )
    rows = [
        (
            "*" if all(one[key] == found[key] for key in used) else "",
            _per_cent(one["false_alarms"]),
            f"{one['threshold']:.4g}",
            str(one["flagged"]),
            f"{one['flagged_an_hour']:.1f}",
            *(_per_cent(one["share"][name]) for name in classes),
            *(f"{one['false_alarms_an_hour']:.1f}" for _ in alarms),
        )
        for one in found["thresholds"]
    ]
    return "\n".join(_aligned([head, *rows]))


def _per_cent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns: the first to the left, numbers to the right."""
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [
        "  ".join(
            [row[0].ljust(first)]
            + [cell.rjust(width) for cell, width in zip(row[1:], others, strict=True)]
        ).rstrip()
        for row in rows
    ]
