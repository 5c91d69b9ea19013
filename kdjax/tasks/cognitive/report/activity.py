"""The report's figures of a network's activity: trajectories, rates, decoding.

They are of the first finished seed of each stage that left what they need; each
function writes one PNG, as `kdjax.report.figures` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kdjax.report import drawing
from kdjax.report.runs import Experiment, Place
from kdjax.tasks.cognitive.dynamics.trajectories import principal_components
from kdjax.tasks.cognitive.report.paths import PANELS, Paths, paths
from kdjax.tasks.cognitive.report.stored import (
    Content,
    Left,
    first,
    left,
    of_run,
    step_ms,
)

MOST = 8  # stages in a figure
BEFORE = 300.0  # ms before the event that trajectories show
SILENT = 1e-3  # of the largest rate; as `dynamics.units.census`
NEUTRAL = "0.35"
_MOST_TICKS = 6  # values that a bar of colours names each
_LINE = 28  # characters above a heat map
# blue, grey, red: dark enough in the middle to be seen on white
_SIGNED = LinearSegmentedColormap.from_list(
    "signed", ["#053061", "#4393c3", "#b8b8b8", "#d6604d", "#67001f"]
)
_GRADED = LinearSegmentedColormap.from_list(  # without the yellow end, pale on white
    "graded", colormaps["viridis"](np.linspace(0, 0.88, 64)).tolist()
)
_DASHES = ("-", "--")  # of the first and the second choice
_MARKERS = {"mean": "o", "averaged": "D"}


def draw(experiment: Experiment, place: Place) -> None:
    """Draws the activity that stages left, each figure at `place(name, caption)`."""
    known = [paths(one) for one in first(experiment, "trajectories.npz")[:MOST]]
    if known:
        caption = (
            "Mean trajectories of each condition on their first two principal"
            " components, which are those of all panels of a row, one seed a stage; a"
            " black dot where the evidence comes on, an arrow head at the end. Fixed"
            " points under held inputs, projected onto the same plane, in the colour of"
            " their evidence, white without any: circles under the inputs' mean,"
            " diamonds with the drift averaged over their noise."
        )
        trajectories(experiment, known, place("trajectories", caption))
        caption = (
            "Mean rates of the units, each over its own largest, one seed a stage, in a"
            " few conditions. Above the white line units that fire more for the first"
            " choice, below those for the second, each in the order of the time at"
            " which they fire most; silent units are left out."
        )
        unit_rates(experiment, known, place("rates", caption))
    decoded = dict(list(left(experiment, "decoding.npz").items())[:MOST])
    if decoded:
        caption = (
            "What a linear classifier tells from the rates of trials that it was not"
            " fitted to, by time from the start of the trial: balanced accuracy, mean"
            " over seeds (thick) and every seed. Shaded: when the evidence comes on."
        )
        decoding(experiment, decoded, place("decoding", caption))


def trajectories(experiment: Experiment, known: Sequence[Paths], path: Path) -> None:
    """A block a stage, a panel a context, all of a block on the same components."""
    columns = max(len(one.panels[1]) if one.panels else 1 for one in known)
    figure, blocks = drawing.blocks(len(known), width=4.0 * columns + 1.4, height=3.7)
    for block, one in zip(blocks, known, strict=True):
        _stage_paths(block, one, named=len(known) > 1)
    figure.legend(
        handles=_handles(known),
        loc="outside lower center",
        ncols=3 if columns > 1 else 2,  # of a single panel's width three are cut off
        frameon=False,
    )
    runs = [one.run for one in known]
    drawing.single_runs_title(figure, "Trajectories", experiment, runs)
    drawing.write(figure, path)


def _stage_paths(block: Any, one: Paths, *, named: bool) -> None:
    """One stage's panels, with a bar for their colours."""
    shown = one.ms >= -BEFORE if one.aligned else np.ones(len(one.ms), bool)
    parts = principal_components(one.rates[:, shown], components=2)
    points = of_run(one.run, "fixed_points.npz")
    if points is not None and points["state"].shape[1] != parts.axes.shape[1]:
        points = None  # of a network whose state is more than its rates
    scale = _scale(one)
    name, values = one.panels or ("", np.zeros(1))
    axes = block.subplots(1, len(values), squeeze=False, sharey="row")[0]
    for axis, value in zip(axes, values, strict=True):
        here = one.conditions[name] == value if name else np.ones(len(one.rates), bool)
        _paths(axis, one, parts.projections, one.ms[shown], here, scale)
        context = f"{name} {value:g}" if name else ""
        if points is not None:
            at = (points["state"] - parts.center[None, :]) @ parts.axes.T
            _points(axis, one, points, at, context, scale)
        titled = [one.run.stage] * named + [context] * bool(context)
        axis.set_title(drawing.wrapped(", ".join(titled), 40), fontsize=11)
        axis.set_xlabel(f"component 1 ({100 * parts.explained[0]:.0f} %)")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"component 2 ({100 * parts.explained[1]:.0f} %)")
    bar = block.colorbar(ScalarMappable(*scale), ax=axes, aspect=30)
    bar.set_label(_colour_label(one))
    if len(ticks := np.unique(one.toward)) <= _MOST_TICKS:
        bar.set_ticks(ticks.tolist())


def _scale(one: Paths) -> tuple[Normalize, Any]:
    toward = one.toward
    if toward.min() < 0:
        top = np.abs(toward).max()
        return _Root(-top, top), _SIGNED
    return Normalize(toward.min(), toward.max()), _GRADED


class _Root(Normalize):
    """A signed square root between two ends, so that weak evidence is told apart."""

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        top = float(self.vmax or 1.0)
        x = np.ma.asarray(value, float) / top
        return 0.5 + 0.5 * np.sign(x) * np.sqrt(np.abs(x))

    def inverse(self, value: Any) -> Any:
        x = 2 * np.asarray(value, float) - 1
        return float(self.vmax or 1.0) * np.sign(x) * np.square(x)


def _paths(
    axis: Axes,
    one: Paths,
    projections: np.ndarray,
    ms: np.ndarray,
    here: np.ndarray,
    scale: tuple[Normalize, Any],
) -> None:
    """The conditions of one panel, the strongest evidence on top."""
    toward, (norm, colours) = one.toward, scale
    choices = one.conditions.get("choice", np.zeros(len(toward)))
    order = np.flatnonzero(here)[np.argsort(np.abs(toward[here]))]
    for i in order.tolist():
        x, y = projections[i].T
        colour = colours(norm(toward[i]))
        dashes = _DASHES[int(choices[i] > 0)]
        axis.plot(x, y, linestyle=dashes, color=colour, linewidth=1.4)
        head = axis.annotate(
            "",
            (x[-1], y[-1]),
            (x[-2], y[-2]),
            arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 0.5},
        )
        head.set_in_layout(False)  # measuring every head takes seconds
        if one.aligned:
            onset = int(np.argmin(np.abs(ms)))
            axis.plot(x[onset], y[onset], ".", color="black", markersize=4, zorder=4)


def _points(
    axis: Axes,
    one: Paths,
    points: Content,
    at: np.ndarray,
    context: str,
    scale: tuple[Normalize, Any],
) -> None:
    """Fixed and slow points whose label names this panel's context, or all."""
    labels = points["label"].tolist()
    own = [context in label.split(", ") for label in labels]
    if not any(own):
        own = [True] * len(labels)
    for i in np.flatnonzero(own).tolist():
        kind = _kind(points["status"][i].item(), points["unstable"][i].item())
        if kind != "unfinished":
            colour = _point_colour(one, labels[i], scale)
            axis.plot(*at[i], **_point_style(kind, points["flow"][i].item(), colour))


def _kind(status: str, unstable: int) -> str:
    """Of fixed points stable or unstable, else the status: slow or unfinished."""
    if status != "fixed":
        return status
    return "unstable" if unstable else "stable"


def _point_style(kind: str, flow: str, colour: Any) -> dict[str, Any]:
    """Stable points are filled, with a black edge; slow ones are grey crosses."""
    style = {
        "marker": _MARKERS[flow],
        "markersize": 7,
        "linestyle": "none",
        "zorder": 5,
    }
    if kind == "stable":
        return style | {"mfc": colour, "mec": "black", "mew": 0.9}
    if kind == "unstable":
        return style | {"mfc": "none", "mec": colour, "mew": 1.6}
    return style | {"marker": "x", "mec": "0.5", "mew": 1.2}


def _point_colour(one: Paths, label: str, scale: tuple[Normalize, Any]) -> Any:
    """That of the conditions which the label's parts, such as "cue 0", are of."""
    held = np.ones(len(one.rates), bool)
    named = False
    for part in label.split(", "):
        name, _, value = part.rpartition(" ")
        if name in one.conditions and name != "choice":
            named |= name == one.colour
            shown = np.array([f"{v:g}" for v in one.conditions[name].tolist()])
            held &= shown == value
    if not named or not held.any():
        return "white" if named else NEUTRAL
    norm, colours = scale
    return colours(norm(one.toward[held].mean()))


def unit_rates(experiment: Experiment, known: Sequence[Paths], path: Path) -> None:
    """A block a stage, a heat map a condition, units by choice and time of peak."""
    columns = max(len(_shown_conditions(one)) for one in known)
    figure, blocks = drawing.blocks(len(known), width=2.5 * columns + 1.8, height=3.4)
    for block, one in zip(blocks, known, strict=True):
        _stage_rates(block, one, named=len(known) > 1)
    runs = [one.run for one in known]
    drawing.single_runs_title(figure, "Rates of units", experiment, runs)
    drawing.write(figure, path)


def _stage_rates(block: Any, one: Paths, *, named: bool) -> None:
    """One stage's heat maps, with a bar for their colours."""
    peak = np.abs(one.rates).max(axis=(0, 1))
    active = peak > SILENT * peak.max()
    scaled = one.rates[:, :, active] / peak[None, None, active]
    order, first_group = _order(one, scaled)
    low, colours = (-1.0, "RdBu_r") if scaled.min() < 0 else (0.0, "magma")
    rows = _shown_conditions(one)
    axes = block.subplots(1, len(rows), squeeze=False, sharey="row")[0]
    for axis, row in zip(axes, rows, strict=True):
        axis.imshow(
            scaled[row].T[order],
            aspect="auto",
            interpolation="nearest",
            cmap=colours,
            vmin=low,
            vmax=1.0,
            extent=(one.ms[0], one.ms[-1], len(order), 0),
        )
        axis.set_title(_condition(one, row), fontsize=10)
        axis.set_xlabel("ms from onset" if one.aligned else "ms")
        axis.axhline(first_group, color="white", linewidth=0.9)
        if one.aligned:
            axis.axvline(0, color="white", linewidth=0.9, linestyle="--")
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    stage = f"{drawing.wrapped(one.run.stage, 30)}\n" if named else ""
    silent = f"{np.sum(~active)} of {active.size} silent in the mean"
    axes[0].set_ylabel(f"{stage}units, in order\n({silent})")
    shades = ScalarMappable(Normalize(low, 1.0), colours)
    bar = block.colorbar(shades, ax=axes, aspect=30, shrink=0.9)
    bar.set_label("rate / the unit's largest")


def _order(one: Paths, scaled: np.ndarray) -> tuple[np.ndarray, int]:
    """Units by the choice for which they fire more, then by the time of their peak, and
    how many prefer the first."""
    peaks = scaled.max(axis=0).argmax(axis=0)
    choices = one.conditions.get("choice")
    if choices is None or len(np.unique(choices)) < 2:
        return np.argsort(peaks, kind="stable"), 0
    late = one.ms >= 0 if one.aligned else np.ones(len(one.ms), bool)
    means = scaled[:, late].mean(axis=1)
    second = means[choices > 0].mean(0) > means[choices <= 0].mean(0)
    return np.lexsort((peaks, second)), int(np.sum(~second))


def _shown_conditions(one: Paths) -> list[int]:
    """The strongest conditions of either sign in each context; else some, evenly."""
    toward = one.toward
    if toward.min() >= 0:
        rows = np.linspace(0, len(toward) - 1, min(PANELS, len(toward)))
        return [round(row) for row in rows.tolist()]
    within = [np.ones(len(toward), bool)]
    if one.panels:
        name, values = one.panels
        within = [one.conditions[name] == value for value in values[: PANELS // 2]]
    ends = (
        (np.where(here, toward, 0.0).argmin(), np.where(here, toward, 0.0).argmax())
        for here in within
    )
    return [int(row) for pair in ends for row in pair]


def _condition(one: Paths, row: int) -> str:
    """The values of a condition, two in a line where they fit."""
    parts = []
    for name in one.varied[: 2 * PANELS]:
        value = one.conditions[name][row]
        if name == "choice" and len(one.run.classes) > value:
            parts.append(one.run.classes[value])
        else:
            parts.append(f"{name} {value:g}")
    lines = [", ".join(parts[at : at + 2]) for at in range(0, len(parts), 2)]
    fits = max(map(len, lines)) <= _LINE
    return "\n".join(lines if fits else parts)


def decoding(
    experiment: Experiment, decoded: Mapping[str, Sequence[Left]], path: Path
) -> None:
    """A panel a stage, a colour a variable, chance dashed in its colour."""
    figure, axes = drawing.grid(
        len(decoded), columns=3, width=4.8, height=3.3, sharey=True
    )
    for axis, (stage, known) in zip(axes, decoded.items(), strict=True):
        names = [k for k in known[0].content if f"{k}_chance" in known[0].content]
        for place, name in enumerate(names):
            colour = drawing.PALETTE[place % len(drawing.PALETTE)]
            seeds = np.stack([100 * one.content[name] for one in known])
            ms = (np.arange(seeds.shape[1]) + 0.5) * float(known[0].content["bin"])
            if len(seeds) > 1:
                axis.plot(ms, seeds.T, color=colour, linewidth=0.7, alpha=0.5)
            axis.plot(ms, seeds.mean(0), color=colour, linewidth=2.0, label=name)
            chance = 100 * float(known[0].content[f"{name}_chance"])
            axis.axhline(chance, color="0.5", linewidth=1.0, linestyle="--")
        behaviour = of_run(known[0].run, "behaviour.npz") or {}
        if "onset" in behaviour:
            onsets = behaviour["onset"] * step_ms(known[0].run)
            axis.axvspan(onsets.min(), onsets.max(), color="0.9", zorder=0)
        axis.set_xlabel("ms from the start of the trial")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
        axis.plot([], [], color="0.5", linewidth=1.0, linestyle="--", label="chance")
        axis.legend(loc="upper left", frameon=False)
        if len(decoded) > 1:
            axis.set_title(drawing.wrapped(stage, 40))
    axes[0].set_ylabel("decoded (balanced accuracy, %)")
    drawing.experiment_title(figure, "Decoding over time", experiment, list(decoded))
    drawing.write(figure, path)


def _colour_label(one: Paths) -> str:
    if one.colour != "coherence" or "choice" not in one.conditions:
        return one.colour
    names = one.run.classes if len(one.run.classes) == 2 else ("choice 0", "choice 1")
    return f"coherence toward {names[0]} (-) or {names[1]} (+)"


def _handles(known: Sequence[Paths]) -> list[Line2D]:
    """What lines and points stand for, as far as they are drawn."""
    handles = []
    if any("choice" in one.varied for one in known):
        classes = {one.run.classes for one in known if "choice" in one.varied}
        pairs = [pair for pair in classes if len(pair) == 2]
        names = pairs[0] if len(pairs) == len(classes) == 1 else ("first", "second")
        for dashes, name in zip(_DASHES, names, strict=True):
            style: dict[str, Any] = {"linestyle": dashes, "color": NEUTRAL}
            handles.append(Line2D([], [], **style, label=f"choice: {name}"))
    kinds = set()
    for one in known:
        points = of_run(one.run, "fixed_points.npz")
        if points is not None:
            columns = (points[name].tolist() for name in ("status", "unstable", "flow"))
            for status, unstable, flow in zip(*columns, strict=True):
                kinds.add((_kind(status, unstable), flow))
    for kind, flow in sorted(kinds):
        if kind != "unfinished":
            inputs = "mean input" if flow == "mean" else "noise averaged"
            style = _point_style(kind, flow, NEUTRAL)
            handles.append(Line2D([], [], **style, label=f"{kind}, {inputs}"))
    return handles
