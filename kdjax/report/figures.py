"""The report's pictures, drawn with matplotlib's objects (no pyplot, no display).

Each function writes one PNG, aside and then renamed, and returns nothing; the bytes
depend on the results only. Colours are those of groups of stages (`groups.py`); a stage
is named where it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kdjax.report import drawing, groups
from kdjax.report.runs import (
    Experiment,
    Place,
    Run,
    confusion,
    headline,
    headlines,
    scores,
    stage_runs,
)
from kdjax.report.statistics import mean_interval
from kdjax.training.metrics import Metric

_MOST_CONFUSIONS = 4  # by default; the config may name more


def draw_figures(
    experiment: Experiment,
    folder: Path,
    figures: Sequence[Callable[[Experiment, Place], None]] = (),
) -> list[tuple[str, str]]:
    """Draws what the results allow; (path from the report, caption) of each figure."""
    checkpoint, drawn = experiment.settings.checkpoint, []

    def place(name: str, caption: str) -> Path:
        drawn.append((f"{folder.name}/{name}.png", caption))
        return folder / f"{name}.png"

    if scored := [stage for stage in experiment.stages if scores(experiment, stage)]:
        compared = headline(experiment)
        caption = (
            f"Test {compared.label} by stage at `{checkpoint}`: mean, 95 % interval,"
            f" seeds.{groups.caption(experiment, scored)}"
        )
        headline_by_stage(experiment, place(compared.name, caption))
    compared_by = [headline(experiment), *headlines(experiment)]
    for quantity in dict.fromkeys([*(m.name for m in compared_by), "loss"]):
        if stages_logged(experiment, quantity):
            caption = learning_caption(experiment, quantity)
            at = place(f"learning_{quantity}", caption)
            learning_curves(experiment, quantity, at)
    if stages := _confusion_stages(experiment):
        caption = f"Confusion on the test split at `{checkpoint}`, seeds summed."
        confusion_matrices(experiment, stages, place("confusion", caption))
    for figure in figures:
        figure(experiment, place)
    return drawn


def _confusion_stages(experiment: Experiment) -> list[str]:
    named = experiment.settings.confusion
    checkpoint = experiment.settings.checkpoint
    kept = [
        stage
        for stage in (experiment.stages if named is None else named)
        if any(
            confusion(run, checkpoint) is not None
            for run in stage_runs(experiment, stage)
        )
    ]
    return kept[:_MOST_CONFUSIONS] if named is None else kept


def learning_curves(experiment: Experiment, quantity: str, path: Path) -> None:
    """One panel a stage: `loss` or a headline against epoch, one line a seed.

    Validation is in the colour of the stage's group, training thin and grey; the
    checkpoints `last` and `best` are marked where they lie on the validation curve.
    """
    stages = stages_logged(experiment, quantity)
    shown = _written(experiment, quantity)
    figure, axes = drawing.grid(
        len(stages), columns=4, width=3.0, height=2.4, sharey=shown is not None
    )
    for axis, stage in zip(axes, stages, strict=True):
        for run in stage_runs(experiment, stage):
            scale = shown.scale if shown else 1.0
            _curve(axis, run, quantity, scale, groups.colour(experiment, stage))
        axis.set_title(drawing.wrapped(stage), fontsize=10)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.grid(alpha=0.25)
    for axis in axes[-4:]:  # the lowest of each column
        axis.set_xlabel("epoch")
    figure.supylabel(f"{shown.label}{shown.unit}" if shown else quantity, fontsize=11)
    dark = "0.25"
    validation = groups.handles(experiment, stages, prefix="validation: ")
    one = groups.colour(experiment, stages[0])
    handles = [
        *(validation or [Line2D([], [], color=one, label="validation")]),
        Line2D([], [], color="0.7", linewidth=0.8, label="train"),
        Line2D([], [], **_marker("last", dark), label="last checkpoint"),
        Line2D([], [], **_marker("best", dark), label="best checkpoint"),
    ]
    if not _trained(experiment, quantity):
        del handles[-3]
    columns = 4 if figure.get_size_inches()[0] > 8 else 2
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False
    )
    name = shown.label if shown else quantity
    drawing.experiment_title(figure, f"Learning curves: {name}", experiment, stages)
    drawing.write(figure, path)


def learning_caption(experiment: Experiment, quantity: str) -> str:
    """What `learning_curves` shows."""
    kinds = (
        "Training and validation" if _trained(experiment, quantity) else "Validation"
    )
    shown = _written(experiment, quantity)
    stages = stages_logged(experiment, quantity)
    colours = groups.caption(experiment, stages)
    if shown is not None:
        text = f"{kinds} {shown.label} against epoch, one line a seed."
        return text + colours
    labels = {
        run.labels.get(quantity, quantity)
        for stage in stages
        for run in stage_runs(experiment, stage)
    }
    return (
        f"{kinds} {quantity} against epoch, one line a seed. Training: the sum of all"
        f" terms; validation: {' or '.join(sorted(labels))}.{colours}"
    )


def _written(experiment: Experiment, quantity: str) -> Metric | None:
    """How a headline is written; None for the loss, which is each task's own."""
    return None if quantity == "loss" else experiment.metrics[quantity]


def stages_logged(experiment: Experiment, quantity: str) -> list[str]:
    """The stages whose validation `quantity` was logged."""
    return [
        stage
        for stage in experiment.stages
        if any(
            quantity in row
            for run in stage_runs(experiment, stage)
            for row in run.history
        )
    ]


def _trained(experiment: Experiment, quantity: str) -> bool:
    """Whether `quantity` was logged of training too."""
    return any(
        row["kind"] == "train" and quantity in row
        for run in experiment.runs.values()
        for row in run.history
    )


def headline_by_stage(experiment: Experiment, path: Path) -> None:
    """The headline on the test split: mean, 95 % interval, seeds as dots."""
    what = headline(experiment)
    values = {stage: scores(experiment, stage) for stage in experiment.stages}
    shown = [stage for stage in experiment.stages if values[stage]]
    each = 0.42 if len(shown) <= 15 else 0.32
    figure = Figure(figsize=(8.5, 2.0 + each * len(shown)), layout="constrained")
    axis = figure.add_subplot()
    for row, stage in enumerate(shown):
        seeds = what.scale * np.asarray(list(values[stage].values()))
        mean, low, high, _ = mean_interval(seeds)
        colour = groups.colour(experiment, stage)
        axis.plot([low, high], [row, row], color=colour, linewidth=2.2)
        axis.plot(mean, row, "|", color=colour, markersize=14, markeredgewidth=2.6)
        below = np.full(seeds.size, row + 0.28)
        axis.plot(seeds, below, ".", color=colour, markersize=7, alpha=0.7)
    axis.set_yticks(range(len(shown)), [drawing.wrapped(s, 44) for s in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)
    left, right = axis.get_xlim()
    every = [v for seeds in values.values() for v in seeds.values()]
    if min(every) >= 0 and max(every) <= 1:  # an interval may pass what can be
        axis.set_xlim(max(left, 0.0), min(right, what.scale))
    axis.set_xlabel(
        f"test {what.label}{what.unit}, {experiment.settings.checkpoint} checkpoint\n"
        "bar: mean and 95 % interval; dots: single seeds"
    )
    axis.grid(axis="x", alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    if named := groups.handles(experiment, shown, linewidth=2.2):
        figure.legend(
            handles=named,
            loc="outside lower center",
            ncols=min(len(named), 3),
            frameon=False,
        )
    name = what.label[0].upper() + what.label[1:]
    drawing.experiment_title(figure, f"{name} by stage", experiment, shown)
    drawing.write(figure, path)


def confusion_matrices(
    experiment: Experiment, stages: Sequence[str], path: Path
) -> None:
    """Confusion on the test split in per cent of the true class, seeds summed.

    Each of `stages` needs one run with a confusion matrix at the headline checkpoint.
    """
    checkpoint = experiment.settings.checkpoint
    runs = {stage: stage_runs(experiment, stage) for stage in stages}
    size = drawing.heat_size(max(len(own[0].classes) for own in runs.values()))
    figure, axes = drawing.grid(
        len(runs), columns=2, width=size + 0.5, height=size - 0.4
    )
    for axis, (stage, own) in zip(axes, runs.items(), strict=True):
        matrices = [confusion(run, checkpoint) for run in own]
        counts = np.sum([m for m in matrices if m is not None], axis=0)
        per_cent = 100 * row_shares(counts)
        # a root scale: errors of a few per cent are what there is to see
        drawing.heat(axis, per_cent, own[0].classes, top=100.0, gamma=0.5)
        axis.set_title(drawing.wrapped(stage, 44), fontsize=11)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
    what = f"Confusion (% of the true class), {checkpoint} checkpoint"
    drawing.experiment_title(figure, what, experiment, stages)
    drawing.write(figure, path)


def row_shares(counts: np.ndarray) -> np.ndarray:
    """`[classes, classes]` counts over their row's sum; a row of zeros gives nan."""
    totals = counts.sum(axis=1, keepdims=True).astype(np.float64)
    return counts / np.where(totals == 0, np.nan, totals)


def _curve(axis: Axes, run: Run, quantity: str, scale: float, colour: str) -> None:
    for kind, shade, width in (("train", "0.7", 0.8), ("validation", colour, 1.1)):
        lines = [r for r in run.history if r["kind"] == kind and quantity in r]
        epochs = [line["epoch"] for line in lines]
        values = [scale * line[quantity] for line in lines]
        axis.plot(epochs, values, color=shade, linewidth=width)
    for name, checkpoint in run.checkpoints.items():
        value = checkpoint.get("validation", {}).get(quantity)
        if value is not None:
            axis.plot(checkpoint["epoch"], scale * value, **_marker(name, colour))


def _marker(checkpoint: str, colour: str) -> dict[str, Any]:
    last = checkpoint == "last"  # a dot, seen inside the open diamond where both lie
    return {
        "marker": "o" if last else "D",
        "color": colour,
        "markerfacecolor": colour if last else "none",
        "markersize": 3.5 if last else 6.5,
        "linestyle": "none",
        "zorder": 3,
    }
