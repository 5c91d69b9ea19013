"""The paths of a network's activity: condition means, their axes, what they tell.

Everything is a pure function of NumPy arrays, in float64. Rates are [trials, time,
units]; NaN marks the steps that a trial does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num, Shaped
from threadpoolctl import threadpool_limits

Conditions = Mapping[str, np.ndarray]  # vectors [trials] by name


class Means(NamedTuple):
    """Mean trajectories, [conditions, time, units], and what each is the mean of.

    conditions: {name: [conditions]}, the value in each. trials: how many there are of
    each. steps: [time], counted from the event that they are aligned to.
    """

    rates: np.ndarray
    conditions: dict[str, np.ndarray]
    trials: np.ndarray
    steps: np.ndarray


class Components(NamedTuple):
    """Principal components: `projections = (rates - center) @ axes.T`.

    axes: [components, units], orthonormal. explained: [components], each one's fraction
    of the variance. projections: [conditions, time, components].
    """

    center: np.ndarray
    axes: np.ndarray
    explained: np.ndarray
    projections: np.ndarray


class Targeted(NamedTuple):
    """Axes of task variables: `projections = (rates - center) / scale @ axes.T`.

    names: of the variables, in order. axes: [variables, units], orthonormal. norms:
    [variables, time], the length of the denoised regression vectors. peaks:
    [variables], the step at which it is largest. projections: [conditions, time,
    variables], of `means`, whose rates are z-scored.
    """

    names: tuple[str, ...]
    center: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    norms: np.ndarray
    peaks: np.ndarray
    projections: np.ndarray
    means: Means


class Decoding(NamedTuple):
    """Balanced accuracy of held-out trials, and what a guess reaches.

    folds: [folds, train time, test time], or [folds, time] where each classifier is
    tested at its own time only. accuracy: its mean over the folds. chance: 1 / classes.
    """

    accuracy: np.ndarray
    folds: np.ndarray
    chance: float


def align(
    rates: Num[np.ndarray, "trials time units"],
    events: Num[np.ndarray, " trials"],
    lengths: Num[np.ndarray, " trials"] | None = None,
) -> tuple[Float[np.ndarray, "trials window units"], Num[np.ndarray, " window"]]:
    """The trials shifted so that an event is at one step in all, and the steps from it.

    events: the step of each trial's event. lengths: how many steps each trial has, all
    of them by default. The window is as wide as any trial needs; a step that a trial
    does not have is NaN. ValueError: an event outside the trial's array.
    """
    time = rates.shape[1]
    if events.min() < 0 or events.max() >= time:
        raise ValueError(
            f"events: expected steps in [0, {time}), found {events.min()}"
            f" to {events.max()}"
        )
    ends = np.full(len(events), time) if lengths is None else lengths
    steps = np.arange(-events.max(), time - events.min())
    index = events[:, None] + steps[None, :]
    there = (index >= 0) & (index < ends[:, None])
    taken = np.take_along_axis(rates, index.clip(0, time - 1)[:, :, None], axis=1)
    return np.where(there[:, :, None], taken.astype(np.float64), np.nan), steps


def by_condition(
    rates: Num[np.ndarray, "trials time units"],
    conditions: Conditions,
    *,
    events: Num[np.ndarray, " trials"] | None = None,
    lengths: Num[np.ndarray, " trials"] | None = None,
) -> Means:
    """The mean over the trials of each condition, in sorted order of their values.

    A condition is a combination of values that occurs. The mean at a step is over the
    trials that have it (`lengths`), NaN where none does. With `events` [trials] the
    trials are first aligned to that step of each. ValueError: a vector whose length is
    not the number of trials.
    """
    for name, values in conditions.items():
        if values.shape != rates.shape[:1]:
            raise ValueError(
                f"conditions[{name!r}]: expected {rates.shape[:1]}, found"
                f" {values.shape}"
            )
    starts = np.zeros(len(rates), int) if events is None else events
    aligned, steps = align(rates, starts, lengths)
    codes = [np.unique(v, return_inverse=True)[1] for v in conditions.values()]
    _, first, group, trials = np.unique(
        np.array(codes, int).reshape(len(codes), len(rates)),
        axis=1,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    means = [present_mean(aligned[group.ravel() == g], 0) for g in range(len(first))]
    of_each = {name: vector[first] for name, vector in conditions.items()}
    return Means(np.stack(means), of_each, trials, steps)


def principal_components(
    rates: Num[np.ndarray, "conditions time units"], *, components: int | None = None
) -> Components:
    """The directions in which trajectories vary most, each centred over all samples.

    A sample is one step of one condition; those that hold NaN are left out, and have
    NaN projections. An axis' sign is such that its largest weight is positive. All
    components by default. Where nothing varies, the explained fractions are 0.
    """
    x = samples(rates)
    center = x.mean(axis=0)
    _, singular, axes = np.linalg.svd(x - center[None, :], full_matrices=False)
    largest = np.abs(axes).argmax(axis=1)[:, None]
    axes = axes * np.where(np.take_along_axis(axes, largest, axis=1) < 0, -1.0, 1.0)
    total = np.sum(singular**2)
    explained = singular**2 / total if total > 0 else np.zeros_like(singular)
    axes, explained = axes[:components], explained[:components]
    return Components(center, axes, explained, (rates - center) @ axes.T)


def targeted_axes(
    rates: Num[np.ndarray, "trials time units"],
    variables: Mapping[str, np.ndarray],
    *,
    conditions: Conditions | None = None,
    components: int = 12,
) -> Targeted:
    """One axis for each task variable: along which the population tells its value.

    Targeted dimensionality reduction (Mante, Sussillo, Shenoy & Newsome 2013, "Context-
    dependent computation by recurrent dynamics in prefrontal cortex"):

    1. each unit is z-scored over all trials and steps;
    2. at each step a linear regression of each unit on the variables, with an
       intercept, gives the vectors `b[variable, time]` over units;
    3. they are denoised: projected on the first `components` principal components of
       the condition means;
    4. a variable's vector is that of the step where its norm is largest;
    5. a QR decomposition makes them orthogonal, in the order of `variables`: an earlier
       one keeps its direction, a later one loses what it shares with those before.

    variables: {name: [trials]}, numbers (a choice as -1 and 1). conditions: what the
    trials are averaged by, the variables by default. Steps at which the trials that
    have them cannot tell the variables apart are left out.

    ValueError: the variables, with an intercept, depend linearly on each other in all
    trials; or fewer components than variables.
    """
    rates = rates.astype(np.float64)
    center = present_mean(rates, (0, 1))
    spread = np.sqrt(present_mean((rates - center) ** 2, (0, 1)))
    scale = np.where(spread > 0, spread, 1.0)
    z = (rates - center) / scale
    means = by_condition(z, variables if conditions is None else conditions)
    pcs = principal_components(means.rates, components=components).axes
    if len(pcs) < len(variables):
        raise ValueError(
            f"components: expected at least {len(variables)}, one for each variable,"
            f" found {len(pcs)}"
        )
    denoised = _regression(z, variables) @ pcs.T @ pcs
    norms = np.linalg.norm(denoised, axis=2)
    peaks = np.nanargmax(norms, axis=1)
    q, r = np.linalg.qr(denoised[np.arange(len(peaks)), peaks].T)
    axes = (q * np.where(np.diag(r) < 0, -1.0, 1.0)).T
    projections = means.rates @ axes.T
    return Targeted(
        tuple(variables), center, scale, axes, norms, peaks, projections, means
    )


def _regression(z: np.ndarray, variables: Mapping[str, np.ndarray]) -> np.ndarray:
    """Coefficients [variables, time, units], NaN at steps that do not give them."""
    columns = [np.asarray(v, np.float64) for v in variables.values()]
    design = np.stack([*columns, np.ones(len(z))], axis=1)
    full = design.shape[1]
    if np.linalg.matrix_rank(design) < full:
        raise ValueError(
            f"variables: expected {', '.join(variables)} to vary independently over"
            " the trials, found a linear dependence (or a constant)"
        )
    coefficients = np.full((full - 1, *z.shape[1:]), np.nan)
    for t in range(z.shape[1]):
        there = ~np.isnan(z[:, t]).any(axis=1)
        if there.sum() >= full and np.linalg.matrix_rank(design[there]) == full:
            solved = np.linalg.lstsq(design[there], z[there, t], rcond=None)[0]
            coefficients[:, t] = solved[:-1]
    return coefficients


def decode(
    rates: Num[np.ndarray, "trials time units"],
    labels: Shaped[np.ndarray, " trials"],
    *,
    folds: int = 5,
    width: int = 1,
    penalty: float = 1.0,
    across_times: bool = False,
    seed: int = 0,
) -> Decoding:
    """How well a linear classifier tells the labels of trials it was not fitted to.

    One for each bin of `width` steps (a last, incomplete bin is left out): logistic
    regression with an L2 penalty (`C = 1 / penalty`) on the units, standardised by the
    mean and spread of the training trials. `folds` stratified folds, drawn by `seed`.
    The score is balanced accuracy, the mean over the classes of the fraction of their
    trials that are right, so that chance is 1 / classes however rare a class is.

    across_times: test each classifier at every time too (King & Dehaene 2014,
    "Characterizing the dynamics of mental representations: the temporal generalization
    method").

    ValueError: a rate is not finite, or a class has fewer trials than folds, or there
    are fewer than two classes.
    """
    # imported here: it takes a second
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < folds:
        raise ValueError(
            f"labels: expected two or more classes of at least {folds} trials (folds),"
            f" found {dict(zip(classes.tolist(), counts.tolist(), strict=True))}"
        )
    if not np.isfinite(rates).all():
        raise ValueError("rates: expected finite values; cut to what all trials have")
    trials, time, units = rates.shape
    bins = time // width
    whole = rates[:, : bins * width].astype(np.float64)
    x = whole.reshape(trials, bins, width, units).mean(axis=2)
    scores = np.zeros((folds, bins, bins if across_times else 1))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with threadpool_limits(1):  # threads cost small fits 100 x on busy cores
        for fold, (train, test) in enumerate(split.split(labels, labels)):
            for t in range(bins):
                fitted = make_pipeline(
                    StandardScaler(),
                    LogisticRegression(
                        C=1 / penalty, class_weight="balanced", max_iter=1000
                    ),
                ).fit(x[train, t], labels[train])
                seen = x[test] if across_times else x[test, t][:, None]
                answers = fitted.predict(seen.reshape(-1, units))
                right = answers.reshape(seen.shape[:2]) == labels[test][:, None]
                recalls = [right[labels[test] == c].mean(axis=0) for c in classes]
                scores[fold, t] = np.mean(recalls, axis=0)
    scores = scores if across_times else scores[:, :, 0]
    return Decoding(scores.mean(axis=0), scores, 1 / len(classes))


def participation_ratio(rates: Num[np.ndarray, "*samples units"]) -> float:
    """How many dimensions activity fills: `(sum l)^2 / sum l^2` over the variances l.

    l are the eigenvalues of the units' covariance over all samples without NaN: k where
    the variance is the same in k directions and 0 in the others. 0 where nothing
    varies. Gao et al. 2017, "A theory of multineuronal dimensionality, dynamics and
    measurement".
    """
    x = samples(rates)
    x = x - x.mean(axis=0)[None, :]
    return participation(x.T @ x)


def participation(moments: Float[np.ndarray, "dim dim"]) -> float:
    """`(sum l)^2 / sum l^2` of a symmetric matrix's eigenvalues l; 0 if all are 0.

    The sums are tr(M) and tr(M M): nothing is decomposed.
    """
    squares = np.sum(moments**2)
    return float(np.trace(moments) ** 2 / squares) if squares > 0 else 0.0


def samples(
    rates: Num[np.ndarray, "*samples units"],
) -> Float[np.ndarray, "rows units"]:
    """All samples as rows, in float64, without those that hold NaN.

    ValueError if none is left.
    """
    rows = rates.reshape(-1, rates.shape[-1]).astype(np.float64)
    rows = rows[~np.isnan(rows).any(axis=1)]
    if len(rows) == 0:
        raise ValueError("rates: expected samples without NaN, found none")
    return rows


def present_mean(
    x: Float[np.ndarray, ...], axis: int | tuple[int, ...]
) -> Float[np.ndarray, ...]:
    """The mean over `axis` of what is not NaN; NaN where everything is."""
    there = ~np.isnan(x)
    count = there.sum(axis=axis)
    total = np.where(there, x, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
