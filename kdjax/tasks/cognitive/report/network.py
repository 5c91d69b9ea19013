"""The report's figures of a network's weights, modes and division of labour.

They are of the first finished seed of each stage that left what they need; each
function writes one PNG, as `kdjax.report.figures` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kdjax.report import drawing
from kdjax.report.runs import Experiment, Place
from kdjax.tasks.cognitive.dynamics import units
from kdjax.tasks.cognitive.report.stored import Left, first, of_run

MOST = 8  # stages in a figure
FLOWS = {  # of fixed_points.npz: name, colour, how far above its label's line
    "mean": ("mean input", drawing.PALETTE[0], -0.16),
    "averaged": ("noise averaged", drawing.PALETTE[1], 0.16),
}
_LEAST = -9.0  # log10 of the smallest weight that is told apart
_MOST_LABELS = 40  # held inputs of a stage


def draw(experiment: Experiment, place: Place) -> None:
    """Draws the weights and modes that stages left, at `place(name, caption)`."""
    networks = first(experiment, "network.npz")[:MOST]
    if networks:
        caption = (
            "Recurrent weights, one seed a stage. Left: how large they are, with the"
            " share above 0 and above each of the dashed sizes; zeros are not drawn."
            " Right: those between active units (from row to column), excitatory ones"
            " first, within either from the most to the least active."
        )
        weights(experiment, networks, place("weights", caption))
    points = first(experiment, "fixed_points.npz")[:MOST]
    if points:
        caption = (
            "Time constants of the slowest modes at the fixed points under each held"
            " input, one seed a stage: filled where the mode decays, open where it"
            " grows. Dashed: a unit's own time constant."
        )
        time_constants(experiment, points, place("time_constants", caption))
    varied = first(experiment, "task_variance.npz")[:MOST]
    if varied:
        caption = (
            "In which rules each unit varies: its variance over conditions, over its"
            " largest, one seed a stage. Units by cluster (lines), silent ones left"
            " out."
        )
        task_variance(experiment, varied, place("task_variance", caption))


def weights(experiment: Experiment, networks: Sequence[Left], path: Path) -> None:
    """A block a stage: a histogram of sizes, all on one axis, and the matrix."""
    figure, blocks = drawing.blocks(len(networks), width=9.6, height=3.8)
    matrices = [one.content["recurrent"].astype(np.float64) for one in networks]
    known = np.concatenate([np.abs(m[m != 0]) for m in matrices])
    ends = np.log10([known.min(), known.max()]) if known.size else np.array([-3.0, 0])
    edges = np.logspace(max(ends[0], _LEAST), ends[1] + 1e-6, 50)
    for block, one, recurrent in zip(blocks, networks, matrices, strict=True):
        sizes, matrix = block.subplots(1, 2, width_ratios=[1, 1.1])
        _sizes(sizes, np.abs(recurrent), edges)
        if len(networks) > 1:
            sizes.set_ylabel(f"{drawing.wrapped(one.run.stage, 30)}\nnumber of weights")
        _matrix(matrix, one, recurrent)
    runs = [one.run for one in networks]
    drawing.single_runs_title(figure, "Recurrent weights", experiment, runs)
    drawing.write(figure, path)


def _sizes(axis: Axes, sizes: np.ndarray, edges: np.ndarray) -> None:
    """How many weights are how large; its title has the share above each density."""
    shown = np.clip(sizes[sizes > 0], edges[0], None)
    axis.hist(shown, edges.tolist(), color=drawing.PALETTE[0])
    axis.set_xscale("log")
    axis.set_yscale("log")  # the few that are large do most of the work
    axis.set_ylim(bottom=0.6)
    for above in (above for above in units.DENSITIES if above > 0):
        axis.axvline(above, color="0.3", linewidth=1.0, linestyle="--")
    shares = (f"{100 * np.mean(sizes > d):.1f} % > {d:g}" for d in units.DENSITIES)
    axis.set_title(", ".join(shares), fontsize=10)
    axis.set_ylabel("number of weights")
    axis.set_xlabel("|recurrent weight|")
    axis.spines[["top", "right"]].set_visible(False)


def _matrix(axis: Axes, one: Left, recurrent: np.ndarray) -> None:
    """The weights between active units, on a scale that a few large do not fill."""
    activity = _activity(one, len(recurrent))
    excitatory = one.content["sign"] > 0
    if not one.content["sign"].any():  # no law: by what a unit mostly sends
        excitatory = recurrent.sum(axis=1) > 0
    order = np.lexsort((-activity, ~excitatory))
    order = order[activity[order] > 0]
    shown = recurrent[order][:, order]
    top = max(float(np.quantile(np.abs(shown), 0.995)), 1e-12) if shown.size else 1.0
    axis.imshow(shown, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
    edge = np.count_nonzero(excitatory[order]) - 0.5
    axis.axhline(edge, color="0.2", linewidth=0.8)
    axis.axvline(edge, color="0.2", linewidth=0.8)
    axis.set_title(
        f"{len(order)} of {len(recurrent)} units are active in the mean", fontsize=10
    )
    for way in (axis.xaxis, axis.yaxis):
        way.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_xlabel("to unit, in order")
    axis.set_ylabel("from unit, in order")
    shades = ScalarMappable(Normalize(-top, top), "RdBu_r")
    axis.figure.colorbar(shades, ax=axis, label="weight", extend="both", shrink=0.85)


def _activity(one: Left, count: int) -> np.ndarray:
    """Each unit's mean rate over the conditions, 0 of silent ones; 1 if not known."""
    known = of_run(one.run, "trajectories.npz")
    if known is None:
        return np.ones(count)
    rates = np.abs(known["rates"].astype(np.float64)).reshape(-1, count)
    peak = np.nanmax(rates, axis=0)
    return np.where(peak > 1e-3 * peak.max(), np.nanmean(rates, axis=0), 0.0)


def time_constants(experiment: Experiment, points: Sequence[Left], path: Path) -> None:
    """A panel a stage, a line a held input, a dot a mode of a point."""
    labels = [list(dict.fromkeys(p.content["label"].tolist())) for p in points]
    labels = [own[:_MOST_LABELS] for own in labels]
    rows = max(len(own) for own in labels)
    figure, axes = drawing.grid(
        len(points), columns=3, width=5.6, height=1.0 + 0.3 * rows
    )
    for axis, one, own in zip(axes, points, labels, strict=True):
        _modes(axis, one, own)
        tau = one.run.record["settings"].get("config.model", {}).get("tau")
        if tau is not None:
            axis.axvline(tau, color="0.4", linewidth=1.0, linestyle="--", zorder=0)
        drawing.log_axis(axis)
        axis.set_yticks(range(len(own)), own)
        axis.set_ylim(len(own) - 0.4, -0.6)
        axis.set_xlabel("time constant (ms)")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if len(points) > 1:
            axis.set_title(drawing.wrapped(one.run.stage, 40))
    shown = {flow for one in points for flow in one.content["flow"].tolist()}
    dot: dict[str, Any] = {"marker": "o", "linestyle": "none"}
    handles = [
        Line2D([], [], **dot, color=colour, label=name)
        for flow, (name, colour, _) in FLOWS.items()
        if flow in shown
    ]
    if any((one.content["unstable"] > 0).any() for one in points):
        handles.append(Line2D([], [], **dot, color="0.3", mfc="white", label="growing"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    runs = [one.run for one in points]
    drawing.single_runs_title(figure, "Modes at the fixed points", experiment, runs)
    drawing.write(figure, path)


def _modes(axis: Axes, one: Left, labels: Sequence[str]) -> None:
    content = one.content
    fixed = content["status"] == "fixed"
    for row, label in enumerate(labels):
        for flow, (_, colour, above) in FLOWS.items():
            at = fixed & (content["label"] == label) & (content["flow"] == flow)
            ms = content["time_constants"][at].ravel()
            ms = ms[np.isfinite(ms) & (ms != 0)]
            for modes, face in ((ms[ms > 0], colour), (-ms[ms < 0], "white")):
                place = np.full(len(modes), row + above)
                axis.plot(modes, place, "o", color=colour, mfc=face, markersize=5)


def task_variance(experiment: Experiment, varied: Sequence[Left], path: Path) -> None:
    """A heat map a stage: rules down, active units by cluster across."""
    rules = max(len(one.content["rules"]) for one in varied)
    figure, axes = drawing.grid(
        len(varied), columns=2, width=8.0, height=1.2 + 0.21 * rules
    )
    for axis, one in zip(axes, varied, strict=True):
        content, cluster = one.content, one.content["cluster"]
        shares = units.normalised(content["variance"])
        order = np.lexsort((shares.argmax(axis=1), cluster))
        order = order[cluster[order] >= 0]
        image = axis.imshow(shares[order].T, cmap="magma", aspect="auto")
        image.set(clim=(0, 1), interpolation="nearest")
        for edge in np.flatnonzero(np.diff(cluster[order])) + 0.5:
            axis.axvline(edge, color="white", linewidth=0.9)
        names = content["rules"].tolist()
        axis.set_yticks(range(len(names)), names)
        clusters = len(np.unique(cluster[order]))
        axis.set_xlabel(
            f"active units, in {clusters} clusters ({np.sum(cluster < 0)} of"
            f" {len(cluster)} silent)"
        )
        if len(varied) > 1:
            axis.set_title(drawing.wrapped(one.run.stage, 40))
    figure.colorbar(
        ScalarMappable(Normalize(0, 1), "magma"), ax=axes, aspect=30
    ).set_label("task variance / the unit's largest")
    runs = [one.run for one in varied]
    drawing.single_runs_title(figure, "Task variance", experiment, runs)
    drawing.write(figure, path)
