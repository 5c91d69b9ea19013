"""Figures of scored signals: beats tick by tick, and a whole recording.

Each function writes one PNG, aside and then renamed, as `kdjax.report.figures` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import (
    LinearSegmentedColormap,
    Normalize,
    PowerNorm,
    TwoSlopeNorm,
)
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kdjax.data.ecg import records
from kdjax.report import drawing
from kdjax.tasks.anomaly.metrics import ordered

ROW = 30.0  # seconds of a record in one row
ROWS = 10  # at most
# seconds of a beat's window around its R peak
_BEFORE = records.BEFORE / records.RATE
_AFTER = (records.SAMPLES - records.BEFORE) / records.RATE
_HEAT = colormaps["YlOrRd"]
# blue, white, red: pale enough that a black trace is seen on all of them
_ABOUT_THRESHOLD = LinearSegmentedColormap.from_list(
    "scores", ["#8fb8de", "#f7f7f7", "#c0392b"]
)
_FLAG = "#8B0000"


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


def record_strip(
    path: Path,
    *,
    name: str,
    rate: float | int,
    signal: np.ndarray,
    beats: np.ndarray,
    scores: np.ndarray,
    flags: np.ndarray,
    threshold: float,
    begin: float | int = 0.0,
    unit: str = "",
) -> None:
    """A record in rows of 30 s, every beat's ground coloured by its score.

    White is the threshold, blue below it and red above. `signal` [samples] in `unit` at
    `rate` Hz, nan where missing, from `begin` (s) on; `beats` [n]
    sample indices of the R peaks, ascending, with `scores` [n] and `flags` [n]; flagged
    beats have a triangle. Of a record past ten rows, the ten in a row with the most
    flagged beats: the title says so.
    """
    seconds = len(signal) / rate
    first, count = _rows(seconds, beats[flags] / rate)
    figure = Figure(figsize=(13.0, 0.95 * count + 1.6), layout="constrained")
    axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    scale = _score_scale(scores, threshold)
    shown = signal[int(first * ROW * rate) : int((first + count) * ROW * rate)]
    bottom, top, margin = _limits(shown)
    grounds = _edges(beats / rate), _ABOUT_THRESHOLD(scale(ordered(scores)))
    for row, axis in enumerate(axes, start=first):
        part = signal[int(row * ROW * rate) : int((row + 1) * ROW * rate)]
        _row(axis, part, row * ROW, rate, *grounds)
        peaks = beats[flags] / rate - row * ROW
        peaks = peaks[(peaks >= 0) & (peaks < ROW)]
        marks = np.full(peaks.size, top + 2.2 * margin)
        axis.plot(peaks, marks, "v", color=_FLAG, markersize=5.5)
        axis.set_xlim(0.0, min(ROW, seconds))
        axis.set_ylim(bottom - margin, top + 3.5 * margin)
        label = _clock(begin + row * ROW)
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    axes[0].set_title(unit, loc="right", fontsize=8)
    axes[-1].tick_params(labelbottom=True)
    axes[-1].set_xlabel("seconds from the time on the left")
    bar = figure.colorbar(
        ScalarMappable(scale, _ABOUT_THRESHOLD),
        ax=list(axes),
        shrink=0.8,
        aspect=30,
        pad=0.01,
    )
    bar.set_label("score (line: threshold)")
    bar.ax.axhline(threshold, color=_FLAG, linewidth=2.0)
    text = _heading(name, flags, threshold)
    if count * ROW < seconds:
        text += _part_shown(begin, seconds, first * ROW, (first + count) * ROW)
    drawing.title(figure, text)
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


def _row(
    axis: Axes,
    part: np.ndarray,
    since: float,
    rate: float | int,
    edges: np.ndarray,
    colours: np.ndarray,
) -> None:
    """The signal's `part` from second `since` on, over the grounds of its beats."""
    axis.plot(np.arange(len(part)) / rate, part, color="0.1", linewidth=0.7)
    # a beat's ground may begin in the row before, or end in the next
    inside = (edges[:, 1] > since) & (edges[:, 0] < since + ROW)
    for (start, end), colour in zip(edges[inside], colours[inside], strict=True):
        axis.axvspan(start - since, end - since, color=colour, lw=0, alpha=0.75)
    axis.yaxis.set_major_locator(MaxNLocator(3))
    axis.yaxis.tick_right()
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(labelbottom=False, labelsize=8)


def _legend(figure: Figure) -> None:
    blue = drawing.PALETTE[0]
    handles = [
        Line2D([], [], color="0.1", linewidth=1.6, label="example"),
        Line2D([], [], color=blue, linewidth=1.2, label="reconstruction"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)


def _limits(signal: np.ndarray) -> tuple[float, float, float]:
    """Bottom and top of all but a few samples, and a margin."""
    known = signal[np.isfinite(signal)]
    bottom, top = np.quantile(known, [0.001, 0.999]) if known.size else (-1.0, 1.0)
    return float(bottom), float(top), 0.12 * float(top - bottom) + 1e-9


def _heading(name: str, flags: np.ndarray, threshold: float) -> str:
    return (
        f"{name}: {int(flags.sum())} of {len(flags)} beats flagged (triangles), score"
        f" above {threshold:.3g}"
    )


def _part_shown(begin: float | int, seconds: float, since: float, until: float) -> str:
    """Says which part is drawn of a record of `seconds` whose clock is at `begin`."""
    ends = since, min(until, seconds), seconds
    start, stop, last = (_clock(begin + end) for end in ends)
    whole = f"{_clock(begin)} to {last}" if begin else last
    return f". Shown: {start} to {stop} of {whole}, the most flagged"


def _score_scale(scores: np.ndarray, threshold: float) -> Normalize:
    """Colours from a low score to a high one, the threshold in their middle."""
    finite = scores[np.isfinite(scores)]
    low, high = np.quantile(finite, [0.05, 0.99]) if finite.size else (0.0, 0.0)
    low = float(low) if low < threshold else threshold - 1.0
    high = float(high) if high > threshold else 2 * threshold - low
    return TwoSlopeNorm(threshold, low, high)


def _edges(peaks: np.ndarray) -> np.ndarray:
    """[n, 2] seconds: each beat's window, cut midway to its neighbours."""
    middle = (peaks[1:] + peaks[:-1]) / 2
    left = np.maximum(peaks - _BEFORE, np.concatenate([[-np.inf], middle]))
    right = np.minimum(peaks + _AFTER, np.concatenate([middle, [np.inf]]))
    return np.stack([left, right], axis=1)


def _rows(seconds: float, flagged: np.ndarray) -> tuple[int, int]:
    """First row and how many: all, or the ten in a row with the most `flagged` (s)."""
    rows = max(1, math.ceil(seconds / ROW))
    if rows <= ROWS:
        return 0, rows
    in_row = np.bincount((flagged // ROW).astype(int), minlength=rows)
    return int(np.argmax(np.convolve(in_row, np.ones(ROWS, int), "valid"))), ROWS


def _clock(seconds: float | int) -> str:
    """`1:02:30`, or `2:30` within the first hour."""
    sign = "-" if round(seconds) < 0 else ""
    minutes, rest = divmod(abs(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{text}:{rest:02d}"
