"""The figure of a whole recording: every beat's ground coloured by its score."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdjax.data.ecg import records
from kdjax.report import drawing
from kdjax.tasks.anomaly.metrics import ordered

ROW = 30.0  # seconds of a record in one row
ROWS = 10  # at most
# seconds of a beat's window around its R peak
_BEFORE = records.BEFORE / records.RATE
_AFTER = (records.SAMPLES - records.BEFORE) / records.RATE
# blue, white, red, white at the threshold: pale enough that a black trace is seen on it
_ABOUT_THRESHOLD = LinearSegmentedColormap.from_list(
    "scores", ["#a3c6e6", "#ffffff", "#d9534a"]
)
_FLAG = "#8B0000"
_NO_BEAT = "#dcdcdc"  # of the ground where no beat was scored: white is the threshold


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
    symbols: np.ndarray | None = None,
) -> None:
    """A record in rows of 30 s, every beat's ground coloured by its score.

    White is the threshold, blue below it and red above, grey where no beat was scored.
    `signal` [samples] in `unit` ("": the file does not say) at `rate` Hz, nan where
    missing, from `begin` (s) on; `beats` [n] sample indices of the R peaks, ascending,
    with `scores` [n] and `flags` [n]; flagged beats have a triangle, and those whose
    `symbols` [n] are not "" have it below. Of a record past ten rows, the ten in a row
    with the most flagged beats: the title says so.
    """
    seconds = len(signal) / rate
    first, count = _rows(seconds, beats[flags] / rate)
    figure = Figure(figsize=(13.0, 1.05 * count + 1.6), layout="constrained")
    axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    scale = _score_scale(scores, threshold)
    shown = signal[int(first * ROW * rate) : int((first + count) * ROW * rate)]
    bottom, top, margin = _limits(shown)
    grounds = _edges(beats / rate), _ABOUT_THRESHOLD(scale(ordered(scores)))
    named = np.array([], int) if symbols is None else np.flatnonzero(symbols != "")
    below = 3.2 * margin if len(named) else margin
    for row, axis in enumerate(axes, start=first):
        since = row * ROW
        part = signal[int(since * rate) : int((row + 1) * ROW * rate)]
        _row(axis, part, since, rate, *grounds)
        peaks = _within(beats[flags] / rate - since)
        marks = np.full(peaks.size, top + 2.2 * margin)
        axis.plot(peaks, marks, "v", color=_FLAG, markersize=5.5)
        if symbols is not None:
            _letters(axis, beats[named] / rate - since, symbols[named], bottom - margin)
        axis.set_xlim(0.0, min(ROW, seconds))
        axis.set_ylim(bottom - below, top + 3.5 * margin)
        _sides(axis, _clock(begin + since), unit or "file's unit")
    axes[-1].tick_params(labelbottom=True)
    axes[-1].set_xlabel("seconds from the time on the left")
    _score_bar(figure, scale, list(axes))
    text = _heading(name, flags, threshold, letters=len(named) > 0)
    if count * ROW < seconds:
        text += _part_shown(begin, seconds, first * ROW, (first + count) * ROW)
    drawing.title(figure, text)
    drawing.write(figure, path)


def _row(
    axis: Axes,
    part: np.ndarray,
    since: float,
    rate: float | int,
    edges: np.ndarray,
    colours: np.ndarray,
) -> None:
    """The signal's `part` from second `since` on, over the grounds of its beats."""
    axis.plot(np.arange(len(part)) / rate, part, color="0.1", linewidth=0.8)
    # a beat's ground may begin in the row before, or end in the next
    inside = (edges[:, 1] > since) & (edges[:, 0] < since + ROW)
    for (start, end), colour in zip(edges[inside], colours[inside], strict=True):
        axis.axvspan(start - since, end - since, color=colour, lw=0)
    axis.set_facecolor(_NO_BEAT)
    axis.yaxis.set_major_locator(MaxNLocator(3))
    axis.yaxis.tick_right()
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(labelbottom=False, labelsize=8)


def _within(seconds: np.ndarray) -> np.ndarray:
    """Those that lie in a row."""
    return seconds[(seconds >= 0) & (seconds < ROW)]


def _letters(
    axis: Axes, seconds: np.ndarray, symbols: np.ndarray, below: float
) -> None:
    """A row's symbols, under their beats."""
    style: dict[str, Any] = {"fontsize": 8, "weight": "bold", "color": _FLAG}
    inside = (seconds >= 0) & (seconds < ROW)
    for second, symbol in zip(seconds[inside], symbols[inside], strict=True):
        axis.text(second, below, symbol, ha="center", va="top", **style)


def _sides(axis: Axes, clock: str, unit: str) -> None:
    """The time at the left of a row, the signal's unit at its right."""
    axis.yaxis.set_label_position("right")
    axis.set_ylabel(unit, fontsize=9)
    place = axis.transAxes
    axis.text(-0.006, 0.5, clock, ha="right", va="center", transform=place)


def _score_bar(figure: Figure, scale: TwoSlopeNorm, axes: list[Axes]) -> None:
    """The colours' scale; as far above the threshold as below, whatever the scores."""
    threshold = float(scale.vcenter)
    low, high = float(scale.vmin or 0.0), float(scale.vmax or 0.0)
    colours = ScalarMappable(scale, _ABOUT_THRESHOLD)
    where: dict[str, Any] = {"shrink": 0.8, "aspect": 30, "pad": 0.01}
    bar = figure.colorbar(colours, ax=axes, extend="both", **where)
    ticks = [*np.linspace(low, threshold, 4), *np.linspace(threshold, high, 4)[1:]]
    bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    bar.minorticks_off()
    bar.set_label("score (white, and the line: the threshold)")
    bar.ax.axhline(threshold, color=_FLAG, linewidth=2.0)


def _limits(signal: np.ndarray) -> tuple[float, float, float]:
    """Bottom and top of all but a few samples, and a margin."""
    known = signal[np.isfinite(signal)]
    bottom, top = np.quantile(known, [0.001, 0.999]) if known.size else (-1.0, 1.0)
    return float(bottom), float(top), 0.12 * float(top - bottom) + 1e-9


def _heading(name: str, flags: np.ndarray, threshold: float, *, letters: bool) -> str:
    said = "; letters: annotated" if letters else ""
    return (
        f"{name}: {int(flags.sum())} of {len(flags)} beats flagged (triangles), score"
        f" above {threshold:.3g}{said}"
    )


def _part_shown(begin: float | int, seconds: float, since: float, until: float) -> str:
    """Says which part is drawn of a record of `seconds` whose clock is at `begin`."""
    ends = since, min(until, seconds), seconds
    start, stop, last = (_clock(begin + end) for end in ends)
    whole = f"{_clock(begin)} to {last}" if begin else last
    return f". {start} to {stop} of {whole}, the most flagged"


def _score_scale(scores: np.ndarray, threshold: float) -> TwoSlopeNorm:
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
