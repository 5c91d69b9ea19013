"""Drawing: palette, grids, heat maps and titles of all pictures, and writing them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from kdjax import files
from kdjax.report.runs import Experiment, Run, data_names

# Okabe & Ito (2008) without its yellow: told apart with any colour vision, on white
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
_MOST_NAMED = 24  # past this many classes, cells and ticks carry no text


def class_colour(label: int, classes: int) -> tuple[float, float, float, float]:
    """A colour for each class: PALETTE's, matplotlib's qualitative ones, a rainbow."""
    if classes <= len(PALETTE):
        return to_rgba(PALETTE[label])
    if classes <= 10:
        return colormaps["tab10"](label)
    if classes <= 20:
        return colormaps["tab20"](label)
    return colormaps["hsv"](label / classes)


def grid(
    panels: int, *, columns: int, width: float, height: float, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, each `width` x `height` inches, in `columns` at most."""
    columns = min(columns, panels)
    rows = math.ceil(panels / columns)
    size = (max(width * columns, 6.0) + 0.6, height * rows + 1.3)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.08))
    axes = figure.subplots(rows, columns, sharey=sharey, squeeze=False).ravel()
    for unused in axes[panels:]:
        unused.remove()
    return figure, list(axes[:panels])


def blocks(count: int, *, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure and its parts, each to be given axes: below one another, or in two
    columns where there are more than three."""
    columns = 2 if count > 3 else 1
    rows = math.ceil(count / columns)
    size = (width * columns, height * rows + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subfigures(rows, columns, squeeze=False).ravel()[:count])


def heat_size(classes: int) -> float:
    """Inches a side for a heat map whose cells hold a number each."""
    return min(2.6 + 0.36 * classes, 9.0)


def heat(
    axis: Axes,
    per_cent: np.ndarray,
    classes: Sequence[str],
    *,
    top: float,
    gamma: float = 1.0,
    grey_diagonal: bool = False,
) -> None:
    """A class x class map of per cent with its numbers; nan cells have no number.

    Colours go as `(value / top) ** gamma`.
    """
    shown = np.where(np.eye(len(classes), dtype=bool) & grey_diagonal, np.nan, per_cent)
    colours = colormaps["Blues"].with_extremes(bad="0.88")
    scale = PowerNorm(gamma, vmin=0.0, vmax=top)
    image = axis.imshow(shown, cmap=colours, norm=scale)
    axis.figure.colorbar(image, ax=axis, shrink=0.75, pad=0.02)
    if len(classes) > _MOST_NAMED:
        return
    names = [textwrap.shorten(name, 22, placeholder="…") for name in classes]
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=9)
    axis.tick_params(axis="x", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names, fontsize=9)
    for (row, column), value in np.ndenumerate(per_cent):
        if np.isfinite(value):
            coloured = np.isfinite(shown[row, column])
            dark = coloured and (value / top) ** gamma > 0.6
            colour = "white" if dark else "0.15"
            text = _cell(float(value))
            axis.text(
                column, row, text, color=colour, ha="center", va="center", fontsize=8
            )


def _cell(per_cent: float) -> str:
    """A short number: none for zero, a decimal below 10, none above."""
    if per_cent < 0.05:
        return "0"
    return f"{per_cent:.1f}" if per_cent < 9.95 else f"{per_cent:.0f}"


def log_axis(axis: Axes) -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5 of each decade."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def wrapped(name: str, width: int = 24) -> str:
    """`name` on as many lines as it needs, broken after underscores."""
    words = name.replace("_", "_ ")
    lines = textwrap.wrap(words, width, break_long_words=False)
    return "\n".join(line.replace("_ ", "_") for line in lines)


def title(figure: Figure, text: str, *, width: float = 11.0) -> None:
    """The figure's title, wrapped to the figure (about `width` characters an inch)."""
    columns = int(figure.get_size_inches()[0] * width)
    figure.suptitle("\n".join(textwrap.wrap(text, columns)), fontsize=12)


def experiment_title(
    figure: Figure, what: str, experiment: Experiment, stages: Sequence[str]
) -> None:
    """`what` with the stages' data and how many seeds are shown."""
    seeds = {seed for stage, seed in experiment.runs if stage in stages}
    count = f"{len(seeds)} seed" + ("s" if len(seeds) > 1 else "")
    title(figure, f"{what} — {_data(experiment, stages)}, {count}")


def single_runs_title(
    figure: Figure, what: str, experiment: Experiment, runs: Sequence[Run]
) -> None:
    """`what` with the runs' data and seeds, where a seed of each stage is shown."""
    stages, seeds = [run.stage for run in runs], sorted({run.seed for run in runs})
    one = "seed" if len(seeds) == 1 else "seeds"
    of = f"{_data(experiment, stages)}, {one} {', '.join(map(str, seeds))}"
    title(figure, f"{what} — {of}")


def _data(experiment: Experiment, stages: Sequence[str]) -> str:
    return textwrap.shorten(data_names(experiment, stages), 120, placeholder=" …")


def write(figure: Figure, path: Path) -> None:
    """The figure as PNG, aside and then renamed; equal figures give equal bytes."""
    FigureCanvasAgg(figure)
    no_version = {"Software": None}
    files.write(
        path,
        lambda file: figure.savefig(file, format="png", dpi=130, metadata=no_version),
    )
