"""The report's section on anomaly detection: tables by stage, class and group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kdjax.report.runs import (
    Experiment,
    Run,
    scores,
    stage_runs,
    stages_with,
)
from kdjax.report.tables import (
    COSTS,
    COSTS_SAID,
    NONE,
    cost_cells,
    number_range,
    spread,
)
from kdjax.tasks.anomaly.metrics import (
    NORMAL,
    auc,
    detection,
    flags,
    relative,
    threshold,
)
from kdjax.tasks.anomaly.patients import patients_table
from kdjax.tasks.anomaly.scoring import Scores, read_scores

FALSE_ALARMS = 0.05  # the fraction of the normal validation examples that is flagged


class Flagged(NamedTuple):
    """The threshold, and the fractions of the abnormal and the normal test examples
    whose score is above it."""

    threshold: float
    recall: float
    false_alarms: float


def detectors(experiment: Experiment) -> list[str]:
    """The stages that were tested on telling abnormal examples from normal ones."""
    return stages_with(experiment, "auc")


def anomaly_section(experiment: Experiment) -> str:
    """The detectors' tables, '' where there are none."""
    if not detectors(experiment):
        return ""
    parts = (
        _detection(experiment),
        _classes(experiment),
        _groups(experiment),
        patients_table(experiment),
        _labelled(experiment),
    )
    return "\n\n".join(part for part in parts if part)


def _labelled(experiment: Experiment) -> str:
    """A warning where labelled anomalies chose among the epochs, else ''."""
    stages = [
        f"`{stage}`"
        for stage in detectors(experiment)
        if any(_chosen_by_labels(run) for run in stage_runs(experiment, stage))
    ]
    if not stages:
        return ""
    return (
        f"> **Labelled anomalies chose `best`** of {', '.join(stages)}: its"
        " epoch is the one whose scores tell the validation split's abnormal examples"
        " best, and that takes their labels. What learns from normal examples alone has"
        " no such labels, so the metrics of `best` flatter."
    )


def _chosen_by_labels(run: Run) -> bool:
    epochs = run.checkpoints.get("last", {}).get("epoch", 0)
    return run.selection["metric"] != "loss" and epochs > 0


def flagged(stored: Scores, checkpoint: str) -> Flagged | None:
    """Recall and false alarms at the score that `FALSE_ALARMS` of the normal validation
    examples exceed; None without these, or without either kind of test example."""
    score, normal = getattr(stored, checkpoint), stored.label == NORMAL
    held, test = stored.split == "validation", stored.split == "test"
    if not all(rows.any() for rows in (held & normal, test & normal, test & ~normal)):
        return None
    limit = threshold(score[held & normal], FALSE_ALARMS)
    above = flags(score, limit)
    recall = float(above[test & ~normal].mean())
    return Flagged(limit, recall, float(above[test & normal].mean()))


def group_aucs(stored: Scores, checkpoint: str) -> dict[int, float]:
    """AUC of each group of the test split that has examples of both kinds."""
    score, test = getattr(stored, checkpoint), stored.split == "test"
    normal = stored.label == NORMAL
    both = np.intersect1d(stored.group[test & normal], stored.group[test & ~normal])
    aucs = {}
    for group in both.tolist():
        own = test & (stored.group == group)
        aucs[group] = auc(score[own & normal], score[own & ~normal])
    return aucs


def relative_to_groups(stored: Scores) -> Scores | None:
    """The same with scores relative to their group's.

    None where any is negative, and so neither an error nor a distance, or where fewer
    than a quarter of the examples are normal, for then the quartile is not theirs.
    """
    negative = (stored.last < 0).any() or (stored.best < 0).any()
    if negative or (stored.label == NORMAL).mean() < 0.25:
        return None
    last, best = (relative(score, stored.group) for score in (stored.last, stored.best))
    return stored._replace(last=last, best=best)


def metrics_of_test(stored: Scores, checkpoint: str) -> dict[str, float]:
    """`detection`'s metrics of the test split, {} unless it has both kinds."""
    test = stored.split == "test"
    abnormal = stored.label[test] != NORMAL
    if abnormal.all() or not abnormal.any():
        return {}
    return detection(abnormal, getattr(stored, checkpoint)[test])


def _detection(experiment: Experiment) -> str:
    checkpoint = experiment.settings.checkpoint
    columns = (
        *("AUC, `last`", "AUC, `best`", "average precision", "best F1"),
        *("recall", "false alarms", *COSTS),
    )
    lines = [
        "## Anomaly detection",
        "",
        "Test split, abnormal examples of all classes against normal ones: mean over"
        " seeds ± half the width of Student's 95 % interval (none from a single seed)."
        f" All but the AUCs are those of `{checkpoint}`. AUC: how often an abnormal"
        " example's score is above a normal one's; .5 is chance. Average precision and"
        " F1 grow with the fraction of abnormal examples. **Best F1 flatters**: its"
        " threshold is chosen on the test labels. Recall and false alarms: the"
        " fractions of the abnormal and of the normal test examples above a threshold"
        f" that needs no abnormal one, the score that {100 * FALSE_ALARMS:g} % of the"
        " normal *validation* examples exceed."
        f" {COSTS_SAID}",
        "",
        *_head(columns),
    ]
    for stage in detectors(experiment):
        at = [_flagged(run, checkpoint) for run in stage_runs(experiment, stage)]
        known = [one for one in at if one is not None]
        cells = [
            *(
                spread(scores(experiment, stage, metric="auc", checkpoint=c).values())
                for c in ("last", "best")
            ),
            *(
                spread(scores(experiment, stage, metric=metric).values())
                for metric in ("average_precision", "best_f1")
            ),
            spread(one.recall for one in known),
            spread(one.false_alarms for one in known),
            *cost_cells(stage_runs(experiment, stage)),
        ]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _flagged(run: Run, checkpoint: str) -> Flagged | None:
    stored = read_scores(run)
    return None if stored is None else flagged(stored, checkpoint)


def _classes(experiment: Experiment) -> str:
    checkpoint, stages = experiment.settings.checkpoint, detectors(experiment)
    by_stage = {
        stage: [
            run.checkpoints.get(checkpoint, {}).get("test", {}).get("auc_by_class", {})
            for run in stage_runs(experiment, stage)
        ]
        for stage in stages
    }
    runs = [run for stage in stages for run in stage_runs(experiment, stage)]
    names = dict.fromkeys(name for run in runs for name in run.classes[NORMAL + 1 :])
    known = [n for n in names if any(n in one for f in by_stage.values() for one in f)]
    counts = _counts(runs)
    heading = [f"{n} ({counts[n]})" if n in counts else n for n in known]
    lines = [
        f"AUC of each class against the normal one, at `{checkpoint}`"
        f"{'; in brackets, its test examples' if counts else ''}:",
        "",
        *_head(heading),
    ]
    for stage, aucs in by_stage.items():
        cells = [spread(one[name] for one in aucs if name in one) for name in known]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _counts(runs: Sequence[Run]) -> dict[str, str]:
    """Test examples of each abnormal class, by its name."""
    sizes: dict[str, set[int]] = {}
    for run in runs:
        stored = read_scores(run)
        if stored is not None:
            of_class = np.bincount(
                stored.label[stored.split == "test"], minlength=len(run.classes)
            )
            for name, size in zip(run.classes, of_class.tolist(), strict=True):
                sizes.setdefault(name, set()).add(size)
    return {name: number_range(counts) for name, counts in sizes.items()}


def _groups(experiment: Experiment) -> str:
    """'' where no group has both kinds: each example may be its own."""
    checkpoint, rows = experiment.settings.checkpoint, []
    for stage in detectors(experiment):
        read = [read_scores(run) for run in stage_runs(experiment, stage)]
        stored = [one for one in read if one is not None]
        aucs = [group_aucs(one, checkpoint) for one in stored]
        seeds = [list(one.values()) for one in aucs if one]
        every = [value for seed in seeds for value in seed]
        cells = [NONE] * 8
        if every:
            cells = [
                number_range(len(seed) for seed in seeds),
                spread(float(np.median(seed)) for seed in seeds),
                f"{min(every):.3f} to {max(every):.3f}",
                f"{sum(value < 0.5 for value in every)} of {len(every)}",
                *_relative_cells(stored, checkpoint),
            ]
        rows.append((stage, *cells))
    if all(row[1] == NONE for row in rows):
        return ""
    columns = (
        *("groups", "median AUC", "range", "below .5"),
        *("relative AUC", "average precision", "recall", "false alarms"),
    )
    lines = [
        "AUC within each test group (a patient, a subject, a recording) that has both"
        f" normal and abnormal examples, at `{checkpoint}`: the median over groups,"
        " mean over seeds ±; the range and the count below .5 are over groups and"
        " seeds. A group with few abnormal examples has a noisy AUC. **Relative** AUC"
        " and what follows: the metrics above again, each score divided by the first"
        " quartile of its group's, which takes the whole group but no label; none for"
        " scores that can be negative, nor where fewer than a quarter of the held-out"
        " examples are normal.",
        "",
        *_head(columns),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


def _relative_cells(stored: Sequence[Scores], checkpoint: str) -> list[str]:
    """AUC, average precision, recall and false alarms by relative scores."""
    known = [one for one in map(relative_to_groups, stored) if one is not None]
    at = [metrics_of_test(one, checkpoint) for one in known]
    above = [one for one in (flagged(k, checkpoint) for k in known) if one is not None]
    return [
        *(
            spread(values[metric] for values in at if values)
            for metric in ("auc", "average_precision")
        ),
        spread(one.recall for one in above),
        spread(one.false_alarms for one in above),
    ]


def _head(columns: Sequence[str]) -> list[str]:
    return [f"| stage | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]


SECTIONS = (anomaly_section,)
