"""Reaction times: when a network's readout reaches a threshold, and how often right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdjax.checks import Number, number
from kdjax.errors import InputError
from kdjax.tasks.cognitive.psychometrics import Vector, vectors


class Reactions(NamedTuple):
    """Of each trial `[trials]`: when and for what a network decided.

    ms: from the onset to the crossing, NaN where there is none. choice: the sign of the
    evidence there, 1 or -1, and 0 where there is none.
    """

    ms: Vector
    choice: npt.NDArray[np.int64]


def reaction_times(
    evidence: npt.ArrayLike, onset: npt.ArrayLike, *, threshold: Number, dt: Number
) -> Reactions:
    """When each trial's evidence first reaches the threshold, from its onset on.

    evidence: `[trials, time]`, one value a step of `dt` ms, such as the difference of
    the two outputs; its sign is the choice. onset: `[trials]` integers, the step at
    which the stimulus comes on. Decided at the first step k >= onset at which
    |evidence| >= threshold; the time within step k is where a straight line from k - 1
    to k passes the threshold, so times are finer than dt. Who is beyond the threshold
    at the onset has time 0. Set the evidence to 0 behind the end of a padded trial.

    InputError: shapes, NaN, an onset outside the trial, or no trial decides.
    """
    number(threshold, above=0, where="threshold")
    number(dt, above=0, where="dt")
    e, start = np.asarray(evidence, np.float64), np.asarray(onset)
    if e.ndim != 2 or not e.size:
        raise InputError(f"evidence: expected [trials, time], found shape {e.shape}")
    if not np.isfinite(e).all():
        raise InputError("evidence: expected finite numbers, found NaN or infinity")
    trials, time = e.shape
    if start.shape != (trials,) or start.dtype.kind not in "iu":
        raise InputError(
            f"onset: expected integers ({trials},), found {start.dtype} {start.shape}"
        )
    if start.min() < 0 or start.max() >= time:
        raise InputError(
            f"onset: expected steps from 0 to {time - 1}, "
            f"found {start.min()} to {start.max()}"
        )
    start = start.astype(np.int64)
    size = np.where(np.arange(time)[None, :] >= start[:, None], np.abs(e), -np.inf)
    beyond = size >= threshold
    decided, step = beyond.any(axis=1), beyond.argmax(axis=1)
    if not decided.any():
        raise InputError(
            f"evidence: no readout unit ever crosses the threshold {threshold:g}; "
            f"the largest is {size.max():g}"
        )
    row = np.arange(trials)
    choice = np.where(decided, np.sign(e[row, step]), 0).astype(np.int64)
    late = decided & (step > start)
    after, before = choice * e[row, step], choice * e[row, step - 1]
    rise = np.where(late, after - before, 1)  # above 0: before was below threshold
    steps = step - start - np.where(late, (after - threshold) / rise, 0)
    return Reactions(np.where(decided, steps * dt, np.nan), choice)


class Chronometric(NamedTuple):
    """How fast, by |coherence|, ascending: each `[coherences]`.

    rt: mean ms of the correct trials; standard_error: of that mean, std (n - 1) over
    sqrt(n). crossed: the share of all trials that decided; accuracy: the share of those
    that were right. NaN where no trial, or for standard_error only one, is left.
    """

    coherence: Vector
    rt: Vector
    standard_error: Vector
    crossed: Vector
    accuracy: Vector


def chronometric(
    coherence: npt.ArrayLike, rt: npt.ArrayLike, correct: npt.ArrayLike
) -> Chronometric:
    """Mean reaction time of correct trials at each |coherence|.

    coherence: `[trials]`. rt: `[trials]` ms, NaN where the trial did not decide.
    correct: `[trials]`, whether the choice at the crossing was right (of no account
    where rt is NaN). A mean over deciders alone is too fast where few decide: read it
    beside `crossed`. InputError: shapes that differ.
    """
    times = np.asarray(rt, np.float64)
    c, right, finite = vectors(
        coherence=coherence, correct=correct, rt=np.nan_to_num(times)
    )
    decided = np.isfinite(times)
    rows = []
    for value in np.unique(np.abs(c)):
        here = np.abs(c) == value
        of_right = finite[here & decided & (right > 0)]
        n, deciders = of_right.size, np.count_nonzero(here & decided)
        rows.append(
            (
                value,
                of_right.mean() if n else np.nan,
                of_right.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan,
                deciders / np.count_nonzero(here),
                n / deciders if deciders else np.nan,
            )
        )
    return Chronometric(*np.array(rows).T)
