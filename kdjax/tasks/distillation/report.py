"""What the report says of teachers beside their accuracy: pictures of soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D
from scipy.special import softmax

from kdjax.data.soft_labels import FILE, SoftLabels, read_soft_labels
from kdjax.report import drawing
from kdjax.report.runs import (
    Experiment,
    Place,
    headline,
    scores,
    stage_runs,
    teachers,
)
from kdjax.report.statistics import mean_interval
from kdjax.tasks.distillation.judged import by_example_section, judged_section

COSTS = {"parameters": "parameters", "ms": "ms at batch 1"}
ASIDE = 1.12  # lest a student with a teacher hides the same without
SIZES = 4  # as many networks of different size are worth a picture


def soft_label_maps(experiment: Experiment, place: Place) -> None:
    """A picture of each teacher's soft labels, where it stored them."""
    for stage in teachers(experiment):
        stored = [
            labels
            for run in stage_runs(experiment, stage)
            if (labels := read_soft_labels(run.file(FILE), classes=len(run.classes)))
        ]
        if stored:
            caption = (
                f"What `{stage}` says beside the label: its mean probabilities by true"
                " class, colours scaled to the off-diagonal."
            )
            draw(experiment, stage, stored, place(f"soft_labels_{stage}", caption))


def headline_by_cost(experiment: Experiment, place: Place) -> None:
    """A picture of accuracy against parameters and ms, where networks differ in size.

    Each stage is a number, which the legend names; a ring where it has a teacher.
    """
    what = headline(experiment)
    runs = {stage: stage_runs(experiment, stage) for stage in experiment.stages}
    shown = [
        stage
        for stage, own in runs.items()
        if own
        and scores(experiment, stage)
        and all(cost in own[0].cost for cost in COSTS)
    ]
    if len({runs[stage][0].cost["parameters"] for stage in shown}) < SIZES:
        return
    figure, axes = drawing.grid(2, columns=2, width=6.0, height=5.0, sharey=True)
    for axis, (cost, label) in zip(axes, COSTS.items(), strict=True):
        for number, stage in enumerate(shown, start=1):
            values = what.scale * np.array([*scores(experiment, stage).values()])
            mean, low, high, _ = mean_interval(values)
            taught = "teacher" in runs[stage][0].reads
            x = float(np.median([run.cost[cost] for run in runs[stage]]))
            x *= ASIDE if taught else 1.0
            colour = drawing.PALETTE[0] if taught else drawing.PALETTE[1]
            axis.plot([x, x], [low, high], color=colour, alpha=0.35, linewidth=1.2)
            box = {
                "boxstyle": "circle,pad=0.15",
                "facecolor": "white",
                "edgecolor": colour,
                "linewidth": 1.4 if taught else 0,
            }
            axis.text(
                *(x, mean, str(number)),
                bbox=box,
                ha="center",
                va="center",
                fontsize=8,
                color=colour,
            )
            axis.plot(x, mean, alpha=0)  # for the limits
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel(f"test {what.label}{what.unit}")
    names = [f"{number} {stage}" for number, stage in enumerate(shown, start=1)]
    figure.legend(
        handles=[Line2D([], [], linestyle="none", label=name) for name in names],
        loc="outside lower center",
        ncols=5,
        handlelength=0,
        frameon=False,
        fontsize=8,
    )
    caption = (
        f"Test {what.label} against what a network costs: mean and 95 % interval over"
        " seeds; with a ring, and a little to the right, what has a teacher. ms: a"
        " forward pass of one example."
    )
    name = what.label[0].upper() + what.label[1:]
    drawing.experiment_title(figure, f"{name} by cost", experiment, shown)
    drawing.write(figure, place("cost", caption))


ARTEFACTS = {FILE: "a teacher's logits of every example, by the example's key"}
FIGURES = (soft_label_maps, headline_by_cost)
SECTIONS = (judged_section, by_example_section)


def draw(
    experiment: Experiment,
    stage: str,
    labels: Sequence[SoftLabels],
    path: Path,
) -> None:
    """Mean of softmax(logits / T) by true class, at T = 1 and the report's temperature.

    `labels` are the seeds', pooled; the split is the test split, or validation where
    there is none. The colour scale is the off-diagonal's own: what a student learns
    from a teacher beside the label lies there. The grey diagonal keeps its number.
    """
    classes = stage_runs(experiment, stage)[0].classes
    split = shown_split(labels)
    size = drawing.heat_size(len(classes))
    temperatures = tuple(dict.fromkeys((1.0, experiment.settings.temperature)))
    figure, axes = drawing.grid(
        len(temperatures), columns=2, width=size + 0.5, height=size - 0.4
    )
    for axis, temperature in zip(axes, temperatures, strict=True):
        means = 100 * class_means(labels, split, temperature)
        off_diagonal = means[~np.eye(len(classes), dtype=bool)]
        top = float(np.nanmax(off_diagonal, initial=1e-3))
        drawing.heat(axis, means, classes, top=top, grey_diagonal=True)
        axis.set_title(f"T = {temperature:g}", fontsize=11)
        axis.set_xlabel("mean probability (%) of")
        axis.set_ylabel("true class")
    what = f"Soft labels of {stage}, {split} split, best checkpoint"
    drawing.experiment_title(figure, what, experiment, [stage])
    drawing.write(figure, path)


def shown_split(labels: Sequence[SoftLabels]) -> str:
    """`test` where every file has such examples, else `validation`, else `train`."""
    for split in ("test", "validation"):
        if all((one.split == split).any() for one in labels):
            return split
    return "train"


def class_means(
    labels: Sequence[SoftLabels], split: str, temperature: float
) -> np.ndarray:
    """`[classes, classes]`: row k is the mean of softmax(logits / T) over the examples
    of class k in `split`, all of `labels` pooled; nan for a class without examples."""
    label = np.concatenate([one.label[one.split == split] for one in labels])
    logits = np.concatenate([one.logits[one.split == split] for one in labels])
    probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
    member = np.arange(logits.shape[1])[:, None] == label[None, :]
    sizes = member.sum(axis=1)[:, None].astype(np.float64)
    return (member @ probabilities) / np.where(sizes == 0, np.nan, sizes)
