"""The report's figures of a detector: ROC curves, score histograms, heat maps.

They are of the first finished seed of each stage that stored what they need, at the
headline checkpoint; reconstructions are `last`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes

from kdjax.report import drawing
from kdjax.report.runs import Experiment, Place, Run, data_names, stage_runs
from kdjax.tasks.anomaly.figures import heat_map
from kdjax.tasks.anomaly.metrics import NORMAL, ordered
from kdjax.tasks.anomaly.report import FALSE_ALARMS, detectors, flagged
from kdjax.tasks.anomaly.scoring import Scores, Shown, read_scores, read_shown

HISTOGRAMS, LINES, HEAT_MAPS = 6, len(drawing.PALETTE), 3  # stages at most
_BINS = 40
_WIDE = 30.0  # scores whose ends are so many times apart have a log axis
_DECADES = 100.0  # and so many, one with decades alone

Stored = TypeVar("Stored", Scores, Shown)


def draw(experiment: Experiment, path: Place) -> None:
    """Draws what the detectors stored, each figure at `path(name, caption)`."""
    scored = _first(experiment, read_scores)
    if scored:
        caption = (
            "Recall against false alarms (ROC), and precision against recall, on the"
            f" test split, one seed a stage{_cut(scored, LINES)}."
        )
        at = path("detection_curves", caption)
        detection_curves(experiment, scored[:LINES], at)
        caption = (
            "Test scores by class, the normal one in blue, one seed a stage, each class"
            " to one height; what lies beyond the axis is in its end bins; dashed: the"
            " score that"
            f" {100 * FALSE_ALARMS:g} % of the normal validation examples"
            f" exceed{_cut(scored, HISTOGRAMS)}."
        )
        score_histograms(experiment, scored[:HISTOGRAMS], path("scores", caption))
    for run, shown in _first(experiment, read_shown)[:HEAT_MAPS]:
        caption = (
            f"What `{run.stage}` misses: test examples of each class, from the highest"
            " score (left) to the class's median, with `last`'s reconstructions. Below"
            " each its squared error per tick."
        )
        at = path(f"heat_map_{run.stage}", caption)
        shown_examples(experiment, run, shown, at)


def detection_curves(
    experiment: Experiment, scored: Sequence[tuple[Run, Scores]], path: Path
) -> None:
    """ROC and precision-recall curves of abnormal against normal, a line a run."""
    from sklearn import metrics  # imported here: it takes a second

    checkpoint, fractions = experiment.settings.checkpoint, []
    figure, (roc, recall) = drawing.grid(2, columns=2, width=4.6, height=4.4)
    for place, (run, stored) in enumerate(scored):
        test = stored.split == "test"
        score = ordered(getattr(stored, checkpoint)[test])
        abnormal = stored.label[test] != NORMAL
        style: dict[str, Any] = {"color": drawing.PALETTE[place], "linewidth": 1.6}
        false, true, _ = metrics.roc_curve(abnormal, score)
        name = f"{run.stage} ({metrics.auc(false, true):.3f})"
        roc.plot(100 * false, 100 * true, label=name, **style)
        precision, at, _ = metrics.precision_recall_curve(abnormal, score)
        recall.step(100 * at, 100 * precision, where="post", **style)
        fractions.append(100 * float(abnormal.mean()))
    chance: dict[str, Any] = {"color": "0.4", "linewidth": 1.0, "linestyle": ":"}
    roc.plot([0, 100], [0, 100], **chance)
    for fraction in set(fractions):
        recall.axhline(fraction, **chance)
    roc.set_xlabel("false alarms (% of normal)")
    roc.set_ylabel("recall (% of abnormal)")
    recall.set_xlabel("recall (% of abnormal)")
    recall.set_ylabel("abnormal among flagged (%)")
    for axis in (roc, recall):
        axis.set_xlim(-1, 101)
        axis.set_ylim(-1, 101)
        axis.grid(alpha=0.25)
    figure.legend(
        loc="outside lower center",
        ncols=min(len(scored), 3),
        frameon=False,
        title="stage (area under its left curve); dotted: chance",
    )
    runs = [run for run, _ in scored]
    what = "Abnormal against normal, test split"
    drawing.single_runs_title(figure, what, experiment, runs)
    drawing.write(figure, path)


def score_histograms(
    experiment: Experiment, scored: Sequence[tuple[Run, Scores]], path: Path
) -> None:
    """One panel a run: the test examples' scores, a row a class, each to one height."""
    checkpoint = experiment.settings.checkpoint
    columns = 2 if len(scored) in (2, 4) else 3
    figure, axes = drawing.grid(len(scored), columns=columns, width=4.2, height=2.8)
    for axis, (run, stored) in zip(axes, scored, strict=True):
        test = stored.split == "test"
        score = ordered(getattr(stored, checkpoint)[test])
        _histogram(axis, score, stored.label[test], run.classes)
        at = flagged(stored, checkpoint)
        if at is not None:
            axis.axvline(at.threshold, color="0.1", linewidth=1.2, linestyle="--")
        axis.set_title(drawing.wrapped(run.stage, 40), fontsize=10)
        axis.set_xlabel("score")
    runs = [run for run, _ in scored]
    what = "Scores by class, test split"
    drawing.single_runs_title(figure, what, experiment, runs)
    drawing.write(figure, path)


def shown_examples(experiment: Experiment, run: Run, shown: Shown, path: Path) -> None:
    """The stored examples of a run, a row a class where each has as many."""
    columns = int(np.unique(shown.label, return_counts=True)[1].max())
    heat_map(
        path,
        beats=shown.x,
        reconstruction=shown.reconstruction,
        titles=[
            f"{run.classes[label]}, score {score:.3g}"
            for label, score in zip(shown.label, shown.score, strict=True)
        ],
        rate=None,
        title=f"What {run.stage} misses — {data_names(experiment, [run.stage])}, test"
        f" split, seed {run.seed}",
        columns=columns,
    )


def _histogram(
    axis: Axes, score: np.ndarray, label: np.ndarray, classes: Sequence[str]
) -> None:
    """Scores beyond the axis are in its end bins."""
    low, high = np.quantile(score, [0.001, 0.995])
    if high <= low:
        low, high = low - 0.5, low + 0.5
    log = low > 0 and high / low > _WIDE
    edges = (np.geomspace if log else np.linspace)(low, high, _BINS + 1)
    present = np.unique(label).tolist()
    for row, y in enumerate(present):
        counts, _ = np.histogram(np.clip(score[label == y], low, high), edges)
        colour = drawing.PALETTE[0 if y == NORMAL else 1]
        axis.stairs(
            0.85 * counts / counts.max() - row,
            edges,
            baseline=-row,
            color=colour,
            fill=True,
            alpha=0.75,
        )
        axis.axhline(-row, color="0.6", linewidth=0.8)
    names = [f"{classes[y]} ({np.sum(label == y):,})" for y in present]
    axis.set_yticks(0.3 - np.arange(len(present)), names)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(-len(present) + 0.95, 0.95)
    if log and high / low < _DECADES:
        drawing.log_axis(axis)
    elif log:
        axis.set_xscale("log")
    axis.grid(axis="x", alpha=0.25)


def _first(
    experiment: Experiment, read: Callable[[Run], Stored | None]
) -> list[tuple[Run, Stored]]:
    """The first run of each detector that stored what `read` reads, with it."""
    first = []
    for stage in detectors(experiment):
        for run in stage_runs(experiment, stage):
            stored = read(run)
            if stored is not None:
                first.append((run, stored))
                break
    return first


def _cut(scored: Sequence[Any], limit: int) -> str:
    stages = len(scored)
    return f"; the first {limit} of {stages} stages" if stages > limit else ""


FIGURES = (draw,)
