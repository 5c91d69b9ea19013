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
        f"Test {metric.label} less that of `{reference}` against the accuracy of the"
        " teacher: mean over seeds, 95 % bootstrap interval."
    )
    figure = Figure(figsize=(7.5, 5.0), layout="constrained")
    axis = figure.add_subplot()
    axis.axhline(0, color="0.6", linewidth=0.8)
    for at, (accuracy, found) in enumerate(points):
        mean, low, high = (metric.scale * np.array(found.difference[:3])).tolist()
        colour = drawing.PALETTE[at % len(drawing.PALETTE)]
        axis.plot([100 * accuracy] * 2, [low, high], color=colour, linewidth=1.6)
        (mark,) = axis.plot(100 * accuracy, mean, "o", color=colour, label=found.stage)
        mark.set_fillstyle("none")  # two may lie in one place
        mark.set_markeredgewidth(1.8)
    axis.set_xlabel("accuracy of the teacher (%)")
    axis.set_ylabel(f"{metric.label} less that of {reference}{metric.unit}")
    axis.grid(alpha=0.25)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
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
