"""The picture of accuracy against what a network costs, and its Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from kdjax.report import drawing, groups
from kdjax.report.runs import Experiment, Place, headline, scores, stage_runs
from kdjax.report.statistics import Interval, mean_interval

COSTS = {"parameters": "parameters", "ms": "ms at batch 1"}
SIZES = 4  # as many networks of different size are worth a picture
_LINE = 0.03  # of the axis: how far apart two labels are


class _Point(NamedTuple):
    """A stage at its cost. value: its headline, with the interval over seeds."""

    stage: str
    colour: str
    cost: float
    value: Interval


def on_front(costs: npt.ArrayLike, values: npt.ArrayLike) -> np.ndarray:
    """Which points are on the Pareto front: low costs, high values; bool `[n]`.

    A point is off it where another has no higher cost and no lower value, and is better
    in one of the two; equal points are on it together.
    """
    cost, value = np.asarray(costs)[:, None], np.asarray(values)[:, None]
    as_good = (cost >= cost.T) & (value <= value.T)  # [point, the other]
    better = (cost > cost.T) | (value < value.T)
    return np.logical_not((as_good & better).any(axis=1))


def headline_by_cost(experiment: Experiment, place: Place) -> None:
    """A picture of accuracy against parameters and ms, where networks differ in size.

    What is on the Pareto front is named and has its interval, the rest is small.
    """
    what = headline(experiment)
    shown = [
        stage
        for stage in experiment.stages
        if scores(experiment, stage)
        and all(cost in stage_runs(experiment, stage)[0].cost for cost in COSTS)
    ]
    sizes = {stage_runs(experiment, stage)[0].cost["parameters"] for stage in shown}
    if len(sizes) < SIZES:
        return
    figure, axes = drawing.grid(2, columns=2, width=5.6, height=5.2, sharey=True)
    for axis, (cost, label) in zip(axes, COSTS.items(), strict=True):
        points = _points(experiment, shown, cost)
        means = np.array([point.value.mean for point in points])
        signed = means if what.higher_is_better else -means
        front = on_front([point.cost for point in points], signed)
        _panel(axis, points, front, upwards=what.higher_is_better)
        axis.set_xlabel(label)
    axes[0].set_ylabel(f"test {what.label}{what.unit}")
    if named := groups.handles(experiment, shown, marker="o", linestyle="none"):
        figure.legend(handles=named, loc="outside lower center", ncols=4, frameon=False)
    better = "higher" if what.higher_is_better else "lower"
    caption = (
        f"Test {what.label} against what a network costs, means over seeds. The line is"
        " the Pareto front: a stage on it, named and with its 95 % interval, has no"
        f" other that is as cheap and has {better} {what.label}, or is cheaper and as"
        " good. ms: a forward pass of one example."
        f"{groups.caption(experiment, shown)}"
    )
    name = what.label[0].upper() + what.label[1:]
    drawing.experiment_title(figure, f"{name} by cost", experiment, shown)
    drawing.write(figure, place("cost", caption))


def _points(experiment: Experiment, stages: Sequence[str], cost: str) -> list[_Point]:
    """The stages from the cheapest on, medians of their costs over seeds."""
    scale = headline(experiment).scale
    points = []
    for stage in stages:
        known = [run.cost.get(cost) for run in stage_runs(experiment, stage)]
        median = float(np.median([one for one in known if one is not None]))
        values = scale * np.array([*scores(experiment, stage).values()])
        colour = groups.colour(experiment, stage)
        points.append(_Point(stage, colour, median, mean_interval(values)))
    return sorted(points, key=lambda point: (point.cost, point.stage))


def _panel(
    axis: Axes, points: Sequence[_Point], front: np.ndarray, *, upwards: bool
) -> None:
    """The points, and the front with its names, which stand where no point can be."""
    for point, named in zip(points, front, strict=True):
        size, alpha = (7.0, 1.0) if named else (4.0, 0.45)
        at = (point.cost, point.value.mean)
        axis.plot(*at, "o", color=point.colour, markersize=size, alpha=alpha, mew=0)
    on = [point for point, named in zip(points, front, strict=True) if named]
    costs = [point.cost for point in on]
    means = [point.value.mean for point in on]
    axis.step(costs, means, where="post", color="0.6", linewidth=1.0, zorder=1)
    for point in on:
        bounds = [point.value.low, point.value.high]
        axis.plot([point.cost] * 2, bounds, color=point.colour, alpha=0.5)
    axis.set_xscale("log")
    left, right = axis.get_xlim()
    axis.set_xlim(left * (left / right) ** 0.3, right)  # room for the first name
    aside = (left / right) ** 0.012
    low, high = axis.get_ylim()
    line = _LINE * (high - low) * (1 if upwards else -1)
    height = -np.inf
    for point in on:
        mean = point.value.mean * (1 if upwards else -1)
        height = max(mean + abs(line) / 3, height + abs(line))
        axis.annotate(
            point.stage,
            (point.cost, point.value.mean),
            (point.cost * aside, height if upwards else -height),
            ha="right",
            va="center",
            fontsize=8,
        )
    axis.margins(y=0.1)
    axis.grid(alpha=0.25)
