"""The picture of what students gain beside how well their teachers decode."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from kdjax.report import drawing
from kdjax.report.comparisons import Comparison, paired, planned_pairs
from kdjax.report.runs import (
    Experiment,
    Place,
    headline,
    scores,
    stage_runs,
    stages_with,
)

_FEWEST = 2  # of one point nothing is seen


def gain_figure(experiment: Experiment, place: Place) -> None:
    """Each student's gain over the first stage it is compared with, by its teacher's
    accuracy; only of teachers whose logits are computed once: decoders and people."""
    metric = headline(experiment)
    points = _points(experiment)
    if len({accuracy for accuracy, _ in points}) < _FEWEST:
        return
    reference = points[0][1].reference
    caption = (
        f"Test {metric.label} less that of `{reference}`, beside the accuracy of the"
        " teacher, by which the rows are ordered: mean over seeds, 95 % bootstrap"
        " interval."
    )
    points.sort(key=lambda point: (-point[0], -point[1].difference.mean))
    height = 2.0 + 0.34 * len(points)
    figure = Figure(figsize=(8.5, height), layout="constrained")
    taught, gained = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))
    gained.axvline(0, color="0.6", linewidth=0.8)
    colour, dark = drawing.PALETTE[0], "0.25"
    for row, (accuracy, found) in enumerate(points):
        mean, low, high = (metric.scale * np.array(found.difference[:3])).tolist()
        taught.plot(100 * accuracy, row, "o", color=dark, markersize=5)
        gained.plot([low, high], [row, row], color=colour, linewidth=2.0)
        gained.plot(mean, row, "|", color=colour, markersize=12, markeredgewidth=2.4)
    names = [drawing.wrapped(found.stage, 36) for _, found in points]
    taught.set_yticks(range(len(points)), names)
    taught.set_ylim(len(points) - 0.5, -0.5)
    taught.set_xlim(left=0)
    taught.set_xlabel("accuracy of the teacher (%)")
    gained.set_xlabel(f"{metric.label} less that of {reference}{metric.unit}")
    for axis in (taught, gained):
        axis.grid(axis="x", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    stages = [found.stage for _, found in points]
    what = f"Difference from {reference} by the teacher's accuracy"
    drawing.experiment_title(figure, what, experiment, stages)
    drawing.write(figure, place("gain", caption))


def _points(experiment: Experiment) -> list[tuple[float, Comparison]]:
    """(accuracy of the teacher, student against the common reference)."""
    pairs = planned_pairs(experiment)
    computed = stages_with(experiment, "entropy")
    if not pairs:
        return []
    first = pairs[0][1]
    values = {stage: scores(experiment, stage) for stage in experiment.stages}
    points = []
    for found in paired(values, [pair for pair in pairs if pair[1] == first]):
        reads = stage_runs(experiment, found.stage)[0].reads.get("teacher", {})
        teacher = reads.get("stage")
        if teacher in computed:
            accuracy = scores(experiment, teacher, metric="accuracy").values()
            points.append((float(np.mean([*accuracy])), found))
    return points
