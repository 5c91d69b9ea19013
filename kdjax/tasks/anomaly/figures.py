"""The figure of scored signals tick by tick: examples and their reconstructions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdjax.report import drawing

_HEAT = colormaps["YlOrRd"]


def heat_map(
    path: Path,
    *,
    beats: np.ndarray,
    reconstruction: np.ndarray,
    titles: Sequence[str],
    rate: float | int | None,
    title: str = "",
    columns: int = 3,
) -> None:
    """Beats [k, time, leads], their reconstructions, and (below each) where they miss.

    The strip is the squared error per tick, one row a lead, on one scale for the whole
    figure: its mean is the score. `rate` is in Hz, None for an axis in ticks. Leads lie
    above one another, the first on top. k > 0.
    """
    error = np.square(beats.astype(np.float64) - reconstruction)
    # a root scale, cut off: a few ticks miss by far more than the others
    top = max(float(np.quantile(error, 0.998)), 1e-12)
    scale = PowerNorm(0.5, vmin=0.0, vmax=top)
    columns = min(columns, len(beats))
    rows = math.ceil(len(beats) / columns)
    leads = beats.shape[2]
    size = (max(3.3 * columns, 5.5) + 0.9, (1.75 + 0.3 * leads) * rows + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    ratios = [1.0, 0.16 + 0.04 * leads] * rows
    axes = figure.subplots(
        2 * rows, columns, squeeze=False, sharex=True, height_ratios=ratios
    )
    pairs = axes.reshape(rows, 2, columns).transpose(0, 2, 1).reshape(-1, 2)
    for place, pair in enumerate(pairs):
        if place >= len(beats):
            for unused in pair:
                unused.remove()
            continue
        _beat(pair[0], beats[place], reconstruction[place], rate)
        pair[0].set_title(titles[place], fontsize=10)
        lowest = place + columns >= len(beats)
        _strip(pair[1], error[place], scale, rate, labelled=lowest)
    colours, panels = ScalarMappable(scale, _HEAT), figure.axes
    bar = figure.colorbar(colours, ax=panels, shrink=0.6, aspect=35, extend="max")
    bar.set_label("squared error per tick (strips)")
    _legend(figure)
    if title:
        drawing.title(figure, title)
    drawing.write(figure, path)


def _beat(
    axis: Axes, beat: np.ndarray, reconstruction: np.ndarray, rate: float | int | None
) -> None:
    ticks, leads = beat.shape
    time = np.arange(ticks) / (rate or 1)
    both = np.concatenate([beat, reconstruction])
    step = 1.1 * float(np.ptp(both, axis=0).max())
    middle = (both.max(axis=0) + both.min(axis=0)) / 2
    blue = drawing.PALETTE[0]
    for lead in range(leads):
        down = lead * step + middle[lead] if leads > 1 else 0.0
        axis.plot(time, reconstruction[:, lead] - down, color=blue, linewidth=0.9)
        axis.plot(time, beat[:, lead] - down, color="0.1", linewidth=1.6)
    axis.tick_params(labelbottom=False, labelsize=8)
    if leads > 1:
        axis.set_yticks([])
    axis.grid(alpha=0.25)


def _strip(
    axis: Axes,
    error: np.ndarray,
    scale: Normalize,
    rate: float | int | None,
    *,
    labelled: bool,
) -> None:
    ticks = len(error)
    left, right = -0.5 / (rate or 1), (ticks - 0.5) / (rate or 1)
    axis.imshow(
        error.T,
        aspect="auto",
        cmap=_HEAT,
        norm=scale,
        extent=(left, right, 0.0, 1.0),
        interpolation="nearest",
    )
    axis.set_yticks([])
    axis.tick_params(labelbottom=labelled)
    if labelled:
        axis.set_xlabel("tick" if rate is None else "time (s)")


def _legend(figure: Figure) -> None:
    blue = drawing.PALETTE[0]
    handles = [
        Line2D([], [], color="0.1", linewidth=1.6, label="example"),
        Line2D([], [], color=blue, linewidth=1.2, label="reconstruction"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
