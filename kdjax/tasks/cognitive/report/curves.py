"""The report's figures of behaviour: psychometric and chronometric curves, rules.

Each function writes one PNG, as `kdjax.report.figures` does. Coherences are drawn in
per cent on a logarithmic axis, which leaves out a coherence of 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdjax.report import drawing
from kdjax.report.runs import Experiment, Place
from kdjax.tasks.cognitive import psychometrics
from kdjax.tasks.cognitive.report.behaviour import ideals
from kdjax.tasks.cognitive.report.dynamics import by_rule
from kdjax.tasks.cognitive.report.stored import Content, Left, left

MOST = 8  # stages in a figure
NETWORK = drawing.PALETTE[0]
ANIMALS = (
    (drawing.PALETTE[1], "s"),
    (drawing.PALETTE[2], "^"),
    (drawing.PALETTE[3], "D"),
)
_IDEAL: dict[str, Any] = {"color": "0.25", "linestyle": "--", "linewidth": 1.4}
_SPAN = (0.03, 30.0)  # of coherence over threshold

Curves = Mapping[str, Sequence[Left]]


def draw(experiment: Experiment, place: Place) -> None:
    """Draws the behaviour that stages left, each figure at `place(name, caption)`."""
    curves = _some(left(experiment, "psychometrics.json"))
    if curves:
        caption = (
            "Correct trials by |coherence|: every seed's share (dots) and Weibull curve"
            " with its 95 % bootstrap band, the ideal observer (dashed), and each"
            " animal's behaviour and own curve at its coherences times the factor that"
            " fits the network best. Last panel: coherences over the threshold of each,"
            " so that slopes are seen."
        )
        psychometric(experiment, curves, place("psychometric", caption))
    timed = {
        stage: own
        for stage, known in curves.items()
        if (own := [one for one in known if "chronometric" in one.content])
    }
    if timed:
        caption = (
            "Reaction times of correct trials by |coherence|, mean ± its standard error"
            " over trials, every seed; open where less than half of the trials reached"
            " the decision threshold, a mean over the fast ones. Animals at their"
            " coherences times their factor. Below: the share of trials that reached"
            " the threshold."
        )
        chronometric(experiment, timed, place("chronometric", caption))
    ruled = {
        stage: shares
        for stage, known in _some(left(experiment, "behaviour.npz")).items()
        if (shares := [by_rule(one) for one in known if "rule" in one.content])
    }
    if ruled:
        caption = "Correct trials of each rule on the grid of conditions: mean, seeds."
        rules(experiment, ruled, place("rules", caption))


def psychometric(experiment: Experiment, curves: Curves, path: Path) -> None:
    """A panel a stage, and one of all over coherences in units of the threshold."""
    stages = len(curves)
    figure, axes = drawing.grid(
        stages + 1, columns=2 if stages < 4 else 3, width=4.6, height=3.7
    )
    for place, (stage, known) in enumerate(curves.items()):
        axis = axes[place]
        _stage(axis, known, _colour(place, curves))
        axis.set_title(drawing.wrapped(stage, 40) if stages > 1 else "as measured")
    _normalised(axes[-1], curves)
    axes[-1].set_title("each over its own threshold")
    for axis in axes:
        axis.set_ylim(min(44, axis.dataLim.ymin - 2), 102)
        axis.set_ylabel("correct trials (%)")
        axis.axhline(50, color="0.7", linewidth=0.8, linestyle=":")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
    figure.legend(
        handles=_handles(curves), loc="outside lower center", ncols=3, frameon=False
    )
    what = "Psychometric curves"
    drawing.experiment_title(figure, what, experiment, list(curves))
    drawing.write(figure, path)


def _stage(axis: Axes, known: Sequence[Left], colour: str) -> None:
    """One stage's seeds, the ideal observer and the animals on the network's axis."""
    for one in known:
        content = one.content
        points = 100 * np.asarray(content["points"])
        if "curve_interval" in content:
            low, high = 100 * np.asarray(content["curve_interval"]).T
            axis.fill_between(points, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.plot(
            points, 100 * np.asarray(content["curve"]), color=colour, linewidth=1.1
        )
        shown, correct = _percent(content["coherence"], content["correct"])
        axis.plot(shown, correct, "o", color=colour, markersize=4)
    content = known[0].content
    if "ideal_curve" in content:
        ideal = 100 * np.asarray(content["ideal_curve"])
        axis.plot(100 * np.asarray(content["points"]), ideal, **_IDEAL)
    for name, (shade, marker) in _animals(known).items():
        animal, factor = _animal(known, name)
        shown, correct = _percent(factor * animal["coherence"], animal["correct"])
        axis.plot(shown, correct, marker, color=shade, markersize=5, mfc="white")
        points = np.geomspace(shown.min() / 2, shown.max(), 60)
        fit = 100 * _curve(animal["fit"], points / 100 / factor)
        axis.plot(points, fit, color=shade, linewidth=1.1)
    drawing.log_axis(axis)
    axis.set_xlabel("|coherence| (%)")


def _normalised(axis: Axes, curves: Curves) -> None:
    """Everyone's correct trials by coherence over their own threshold."""
    points = np.geomspace(*_SPAN, 120)
    for place, known in enumerate(curves.values()):
        colour = _colour(place, curves)
        for one in known:
            _over_threshold(axis, points, one.content, one.content, _line(colour, "o"))
    for content in ideals(curves).values():
        fit = psychometrics.fit_weibull(content["coherence"], content["ideal"], 1)
        shown = content["points"] / np.float64(fit.threshold)
        axis.plot(shown, 100 * np.asarray(content["ideal_curve"]), **_IDEAL)
    every = [one for known in curves.values() for one in known]
    for name, (colour, marker) in _animals(every).items():
        animal, _ = _animal(every, name)
        style = _line(colour, marker, mfc="white")
        _over_threshold(axis, points, animal, animal["fit"], style)
    axis.set_xlim(*_SPAN)
    drawing.log_axis(axis)
    axis.set_xlabel("|coherence| / threshold")


def _over_threshold(
    axis: Axes,
    points: np.ndarray,
    behaviour: Content,
    fit: Content,
    style: dict[str, Any],
) -> None:
    """`behaviour` and its fit, as `style` has it."""
    threshold = fit["threshold"]
    curve = 100 * _curve(fit, points * threshold)
    axis.plot(points, curve, color=style["color"], linewidth=style["linewidth"])
    shown, correct = _percent(behaviour["coherence"], behaviour["correct"])
    at = shown / 100 / threshold
    axis.plot(at, correct, **(style | {"linestyle": "none"}))


def chronometric(experiment: Experiment, timed: Curves, path: Path) -> None:
    """Times above and the share that decided below, a column a stage."""
    columns = len(timed)
    figure = Figure(figsize=(max(3.6 * columns, 6.0) + 0.6, 5.6), layout="constrained")
    axes = figure.subplots(
        2, columns, squeeze=False, sharex="col", sharey="row", height_ratios=[2.2, 1]
    )
    for place, (stage, known) in enumerate(timed.items()):
        (times, share), colour = axes[:, place], _colour(place, timed)
        for one in known:
            _times(times, share, one.content["chronometric"], colour)
        for name, (colour, marker) in _animals(known).items():
            animal, factor = _animal(known, name)
            shown, ms = _percent(factor * animal["coherence"], animal["rt"])
            times.plot(shown, ms / 100, **_line(colour, marker, mfc="white"))
        if columns > 1:
            times.set_title(drawing.wrapped(stage, 36))
        share.set_ylim(-4, 104)
        drawing.log_axis(share)
        share.set_xlabel("|coherence| (%)")
        for axis in (times, share):
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(alpha=0.2)
    axes[0, 0].set_ylabel("reaction time (ms)")
    axes[0, 0].set_ylim(bottom=0)
    axes[1, 0].set_ylabel("decided (%)")
    every = [one for own in timed.values() for one in own]
    handles = [Line2D([], [], **_line(NETWORK, "o"), label="network, each seed")]
    handles = (handles if columns == 1 else []) + _animal_handles(every)
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=2, frameon=False
        )
    drawing.experiment_title(figure, "Reaction times", experiment, list(timed))
    drawing.write(figure, path)


def _times(times: Axes, share: Axes, found: Content, colour: str) -> None:
    """One seed's; None where no trial was correct or only one."""
    columns = {name: np.array(values, float) for name, values in found.items()}
    there = np.isfinite(columns["rt"]) & (columns["coherence"] > 0)
    shown, ms = 100 * columns["coherence"][there], columns["rt"][there]
    error = np.nan_to_num(columns["standard_error"][there])
    times.errorbar(shown, ms, error, color=colour, linewidth=1.1, capsize=2)
    few = columns["crossed"][there] < 0.5
    dot = _line(colour, "o", linestyle="none", zorder=3)
    times.plot(shown[few], ms[few], **(dot | {"mfc": "white"}))
    times.plot(shown[~few], ms[~few], **dot)
    all_shown, crossed = _percent(found["coherence"], found["crossed"])
    share.plot(all_shown, crossed, **_line(colour, "o"))


def rules(
    experiment: Experiment,
    ruled: Mapping[str, Sequence[Mapping[str, float]]],
    path: Path,
) -> None:
    """A bar a rule, a panel a stage; dots are seeds."""
    names = list(dict.fromkeys(n for own in ruled.values() for one in own for n in one))
    figure, axes = drawing.grid(
        len(ruled), columns=4, width=4.4, height=0.9 + 0.21 * len(names), sharey=True
    )
    for axis, (stage, own) in zip(axes, ruled.items(), strict=True):
        for row, name in enumerate(names):
            seeds = 100 * np.array([one[name] for one in own if name in one])
            if seeds.size:
                axis.barh(row, seeds.mean(), color=drawing.PALETTE[5], height=0.7)
                axis.plot(
                    seeds, np.full(seeds.size, row), ".", color="0.15", markersize=5
                )
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_xlim(0, 101)
        axis.set_xlabel("correct trials (%)")
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if len(ruled) > 1:
            axis.set_title(drawing.wrapped(stage, 36))
    drawing.experiment_title(figure, "Correct by rule", experiment, list(ruled))
    drawing.write(figure, path)


def _some(by_stage: Mapping[str, Sequence[Left]]) -> Curves:
    return dict(list(by_stage.items())[:MOST])


def _percent(coherence: Any, share: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both in per cent, where a logarithmic axis has the coherence."""
    c, y = np.asarray(coherence, float), np.asarray(share, float)
    return 100 * c[c > 0], 100 * y[c > 0]


def _curve(fit: Content, coherence: np.ndarray) -> np.ndarray:
    parameters = {name: fit[name] for name in ("threshold", "slope", "lapse")}
    return psychometrics.weibull(coherence, **parameters)


def _animals(known: Sequence[Left]) -> dict[str, tuple[str, str]]:
    """{animal: its colour and marker}."""
    names = dict.fromkeys(n for one in known for n in one.content.get("animals", ()))
    return {name: ANIMALS[i % len(ANIMALS)] for i, name in enumerate(names)}


def _animal(known: Sequence[Left], name: str) -> tuple[Content, float]:
    """An animal with arrays of numbers, and its factor: its seeds' geometric mean."""
    own = [one.content["animals"][name] for one in known if "animals" in one.content]
    arrays = {k: np.asarray(own[0][k], float) for k in ("coherence", "correct", "rt")}
    factor = float(np.exp(np.mean([np.log(animal["factor"]) for animal in own])))
    return own[0] | arrays, factor


def _colour(place: int, curves: Curves) -> str:
    """The network's; of several stages one each, from dark to light."""
    if len(curves) == 1:
        return NETWORK
    return to_hex(colormaps["viridis"](0.9 * place / (len(curves) - 1)))


def _line(colour: str, marker: str, **others: Any) -> dict[str, Any]:
    style = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.1}
    return style | others


def _handles(curves: Curves) -> list[Line2D]:
    """Who is who, with the slope of each."""
    handles = []
    for place, (stage, known) in enumerate(curves.items()):
        slopes = np.array([one.content["slope"] for one in known])
        style = _line(_colour(place, curves), "o")
        name = "network" if len(curves) == 1 else stage
        handles.append(
            Line2D([], [], **style, label=f"{name}, slope {slopes.mean():.2f}")
        )
    for content in ideals(curves).values():
        fit = psychometrics.fit_weibull(content["coherence"], content["ideal"], 1)
        label = f"ideal observer, slope {fit.slope:.2f}"
        handles.append(Line2D([], [], **_IDEAL, label=label))
    every = [one for known in curves.values() for one in known]
    return handles + _animal_handles(every, slopes=True)


def _animal_handles(known: Sequence[Left], *, slopes: bool = False) -> list[Line2D]:
    handles = []
    for name, (colour, marker) in _animals(known).items():
        animal, factor = _animal(known, name)
        said = f", slope {animal['fit']['slope']:.2f}" if slopes else ""
        label = f"animal {name}{said}, coherence x {factor:.2f}"
        style = _line(colour, marker, mfc="white")
        handles.append(Line2D([], [], **style, label=label))
    return handles
