"""How often a network, an animal or an ideal observer is right in a two-choice task.

Coherence is the strength of the evidence. Its sign, the side it speaks for, plays no
part here: every function takes |coherence|.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from kdjax.checks import Number, integer, number
from kdjax.errors import InputError

Vector = npt.NDArray[np.float64]
Values = npt.ArrayLike | Number

SLOPES = (0.1, 20.0)
LEAST_LAPSE = 1e-6  # at 0 a single wrong answer to strong evidence has log 0
BEYOND = 10.0  # a threshold is sought so far outside the coherences shown


class PsychometricFit(NamedTuple):
    """A Weibull curve and the log-likelihood of the data it was fitted to.

    threshold: the coherence at which a share 1 - 1/e (0.632) of the way from `guess` to
    1 - lapse is reached. slope, lapse: see `weibull`. log_likelihood: in nats, without
    the binomial coefficients, which no parameter changes.
    """

    threshold: float
    slope: float
    lapse: float
    log_likelihood: float

    def curve(self, coherence: Values, *, guess: Number = 0.5) -> Vector:
        """Its proportion correct at each coherence, of `coherence`'s shape."""
        return weibull(
            coherence,
            threshold=self.threshold,
            slope=self.slope,
            lapse=self.lapse,
            guess=guess,
        )


def weibull(
    coherence: Values,
    *,
    threshold: Number,
    slope: Number,
    lapse: Number,
    guess: Number = 0.5,
) -> Vector:
    """The proportion correct that a Weibull curve gives each coherence.

    `guess + (1 - guess - lapse) (1 - exp(-(|c| / threshold)^slope))`, of `coherence`'s
    shape: `guess` without evidence, 1 - lapse with the strongest.

    Source: Quick (1974), Kybernetik 16; Wichmann & Hill (2001), Perception &
    Psychophysics 63, 1293.
    """
    c = np.abs(np.asarray(coherence, np.float64))
    with np.errstate(over="ignore"):  # an infinite power is as good as a large one
        power = (c / threshold) ** slope
    return np.asarray(guess - (1 - guess - lapse) * np.expm1(-power))


def fit_weibull(
    coherence: npt.ArrayLike,
    correct: npt.ArrayLike,
    trials: Values,
    *,
    guess: Number = 0.5,
    max_lapse: Number = 0.1,
) -> PsychometricFit:
    """The Weibull curve under which the counts of right answers are most likely.

    coherence, correct, trials: `[n]`; or one of `trials` for all. A row is a coherence
    with its counts, or a single trial (correct 0 or 1, trials 1); rows of one
    |coherence| are added up. Counts may be fractions: of an animal only proportions may
    be known, and with `trials` 1 every row weighs the same; how many trials are assumed
    changes the log-likelihood alone.

    Maximises `sum k log p(c) + (n - k) log(1 - p(c))` over log threshold, log slope and
    lapse by L-BFGS-B from six starts: with 20 trials at each of six coherences about
    one fit in 100 misses the highest peak, with 200 none of 180 did. Bounds: threshold
    from a tenth of the least coherence above 0 to ten times the greatest, slope 0.1 to
    20, lapse 1e-6 to `max_lapse`. A threshold outside the coherences shown is
    extrapolated: at chance throughout, or right throughout, the data do not determine
    it.

    InputError: counts that are not 0 <= correct <= trials > 0, fewer than three
    coherences above 0 for three parameters, `guess` or `max_lapse` out of range.
    """
    _check_bounds(guess, max_lapse)
    counts = _count(coherence, correct, trials)
    return _fit(counts, _starts(counts, max_lapse), guess, max_lapse)


class Bootstrap(NamedTuple):
    """A fit and percentile intervals (low, high) of its parameters and its curve.

    coherence: `[points]`. curve: `[points, 2]`, pointwise.
    """

    fit: PsychometricFit
    threshold: tuple[float, float]
    slope: tuple[float, float]
    lapse: tuple[float, float]
    coherence: Vector
    curve: Vector


def bootstrap(
    coherence: npt.ArrayLike,
    correct: npt.ArrayLike,
    trials: Values,
    *,
    rng: np.random.Generator,
    parametric: bool = False,
    samples: int = 1000,
    confidence: Number = 0.95,
    points: Values | None = None,
    guess: Number = 0.5,
    max_lapse: Number = 0.1,
) -> Bootstrap:
    """How far the fit would move if the same trials were run again.

    The arguments are those of `fit_weibull`, whole numbers of trials at each coherence.
    Each of `samples` refits sees counts drawn from Binomial(trials, p) at each
    coherence: p is the proportion that was correct there, which is the same as to
    resample the trials, or, if `parametric`, the fitted curve's. points: where the
    curve's interval is wanted (None: the coherences shown).

    Percentile intervals are a little narrow. Those of 95 %, of 120 simulated observers
    each with 100 or 400 trials at six coherences and a lapse of 2 %, 200 refits, held
    the true threshold 93 to 96 times in 100, slope 90 to 98, lapse 92 to 96, and a
    point of the curve 89 to 97 (93 on average); each number to ± 2, and neither kind
    better than the other. They know the spread of trials, not of networks or animals:
    compare those over seeds. A refit takes some 5 ms.

    Source: Wichmann & Hill (2001), Perception & Psychophysics 63, 1314. InputError: as
    `fit_weibull`, trials that are not whole, `samples`, `confidence` out of range.
    """
    _check_bounds(guess, max_lapse)
    integer(samples, low=1, where="samples")
    number(confidence, above=0, below=1, where="confidence")
    counts = _count(coherence, correct, trials)
    if (counts.trials % 1).any():
        raise InputError(
            "trials: expected a whole number at each coherence, "
            f"found {counts.trials.tolist()}"
        )
    at = counts.coherence if points is None else np.abs(np.asarray(points, float))
    starts = _starts(counts, max_lapse)
    fit = _fit(counts, starts, guess, max_lapse)
    p = counts.correct / counts.trials
    if parametric:
        p = fit.curve(counts.coherence, guess=guess)
    whole = counts.trials.astype(np.int64)
    refits = []
    for drawn in rng.binomial(whole, p, size=(samples, len(p))):
        again = counts._replace(correct=drawn.astype(np.float64))
        refits.append(_fit(again, starts, guess, max_lapse))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    thresholds, slopes, lapses, _ = np.quantile(np.array(refits), tails, axis=0).T
    curves = np.stack([refit.curve(at, guess=guess) for refit in refits])
    return Bootstrap(
        fit=fit,
        threshold=tuple(thresholds.tolist()),
        slope=tuple(slopes.tolist()),
        lapse=tuple(lapses.tolist()),
        coherence=at,
        curve=np.quantile(curves, tails, axis=0).T,
    )


def ideal_observer(
    coherence: Values,
    *,
    channels: int = 10,
    steps: Iterable[int] = range(10, 41),
    noise: Number = 1.0,
) -> Vector:
    """The highest proportion correct that the checkerboard's evidence allows.

    `mean over n in steps of Phi(|c| sqrt(channels n) / noise)`, of `coherence`'s shape:
    each of `channels` inputs is N(c, noise^2) at each of the n steps that a trial's
    checkerboard lasts, every n equally likely, and the observer takes the sign of the
    sum of them all, on which alone the likelihood ratio of c and -c depends.
    """
    root = np.sqrt(channels * np.array([*steps], np.float64)) / noise
    c = np.abs(np.asarray(coherence, np.float64))
    return np.asarray(special.ndtr(c[..., None] * root).mean(axis=-1))


class _Counts(NamedTuple):
    """Of each different |coherence|, ascending: right answers and trials."""

    coherence: Vector
    correct: Vector
    trials: Vector


def _check_bounds(guess: Number, max_lapse: Number) -> None:
    number(guess, above=0, below=1, where="guess")
    number(max_lapse, low=LEAST_LAPSE, below=1 - guess, where="max_lapse")


def _count(coherence: npt.ArrayLike, correct: npt.ArrayLike, trials: Values) -> _Counts:
    c, k = vectors(coherence=coherence, correct=correct)
    n = np.asarray(trials, np.float64)
    if n.shape not in ((), c.shape):
        raise InputError(
            f"trials: expected one number or shape {c.shape}, found {n.shape}"
        )
    n = np.broadcast_to(n, c.shape)
    wrong = ~((k >= 0) & (k <= n) & (n > 0) & np.isfinite(n))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            "correct, trials: expected 0 <= correct <= trials > 0, "
            f"found {k[row]:g} of {n[row]:g} in row {row}"
        )
    known, row_of = np.unique(np.abs(c), return_inverse=True)
    if np.count_nonzero(known) < 3:
        raise InputError(
            "coherence: expected at least 3 different ones above 0, "
            f"found {known[known > 0].tolist()}"
        )
    added = [np.bincount(row_of, of).astype(np.float64) for of in (k, n)]
    return _Counts(known, *added)


def vectors(**named: npt.ArrayLike) -> list[Vector]:
    """Finite vectors of one length, or an InputError that names the odd one."""
    vectors = [np.asarray(values, np.float64) for values in named.values()]
    for name, vector in zip(named, vectors, strict=True):
        if vector.ndim != 1 or vector.shape != vectors[0].shape or not vector.size:
            expected = f"shape {vectors[0].shape}" if vectors[0].ndim == 1 else "[n]"
            raise InputError(f"{name}: expected {expected}, found {vector.shape}")
        if not np.isfinite(vector).all():
            raise InputError(f"{name}: expected finite numbers, found NaN or infinity")
    return vectors


def _starts(counts: _Counts, max_lapse: Number) -> list[tuple[float, float, float]]:
    """(log threshold, log slope, lapse) to search from."""
    log_c = np.log(counts.coherence[counts.coherence > 0])
    thresholds = np.quantile(log_c, [0.25, 0.5, 0.75]).tolist()
    lapse = min(0.01, max_lapse)
    return [(t, s, lapse) for t, s in itertools.product(thresholds, np.log([1.0, 3.0]))]


def _fit(
    counts: _Counts,
    starts: Iterable[tuple[float, float, float]],
    guess: Number,
    max_lapse: Number,
) -> PsychometricFit:
    shown = counts.coherence > 0  # without evidence no parameter counts
    log_c = np.log(counts.coherence[shown])
    right = counts.correct[shown] / counts.trials.sum()
    wrong = counts.trials[shown] / counts.trials.sum() - right

    def cost(parameters: Vector) -> tuple[float, Vector]:
        """Minus the log-likelihood of a trial, and its gradient."""
        log_threshold, log_slope, lapse = parameters
        exponent = np.exp(log_slope) * (log_c - log_threshold)
        power = np.exp(np.minimum(exponent, 500))
        missing = np.exp(-power)
        p = guess + (1 - guess - lapse) * (1 - missing)
        q = lapse + (1 - guess - lapse) * missing
        by_p = right / p - wrong / q
        by_exponent = by_p * (1 - guess - lapse) * missing * power
        gradient = (
            -np.exp(log_slope) * by_exponent.sum(),
            (exponent * by_exponent).sum(),
            (by_p * (missing - 1)).sum(),
        )
        likelihood = (right * np.log(p) + wrong * np.log(q)).sum()
        return -likelihood, -np.array(gradient)

    bounds = [
        (log_c[0] - np.log(BEYOND), log_c[-1] + np.log(BEYOND)),
        tuple(np.log(SLOPES)),
        (LEAST_LAPSE, max_lapse),
    ]
    found = [
        optimize.minimize(
            *(cost, start),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"ftol": 1e-12, "gtol": 1e-7},
        )
        for start in starts
    ]
    log_threshold, log_slope, lapse = min(found, key=lambda result: result.fun).x
    fit = PsychometricFit(
        threshold=float(np.exp(log_threshold)),
        slope=float(np.exp(log_slope)),
        lapse=float(lapse),
        log_likelihood=np.nan,
    )
    p = fit.curve(counts.coherence, guess=guess)
    return fit._replace(log_likelihood=log_likelihood(counts.correct, counts.trials, p))


def log_likelihood(correct: Vector, trials: Vector | Number, p: Vector) -> float:
    """`sum k log p + (n - k) log(1 - p)` of k right answers in n trials, 0 log 0 = 0.

    -inf where p says that what happened cannot.
    """
    each = special.xlogy(correct, p) + special.xlog1py(trials - correct, -p)
    return float(each.sum())
