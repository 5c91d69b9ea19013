"""Units and weights: what is active, how it is wired, which tasks it serves.

Pure functions of NumPy arrays, in float64. Recurrent weights are [from, to].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from threadpoolctl import threadpool_limits

from kdjax.tasks.cognitive.dynamics.trajectories import participation, present_mean
from kdjax.training.metrics import effective_rank

DENSITIES = (0.0, 1e-3, 1e-2)  # absolute weights above which a connection counts
Performance = Mapping[str, float]


class Census(NamedTuple):
    """What a network is made of; every share is a fraction in [0, 1].

    active: units. density: {weight: share of all units x units, self-connections
    included, whose absolute weight is above it}. excitatory_units: of all units.
    excitatory_weights: of the summed absolute weights, what is positive.
    dale_violations: of the weights that are not 0, those with the other sign than their
    sender's. effective_rank, participation_rank: of the recurrent matrix.
    """

    active: int
    units: int
    density: dict[float, float]
    excitatory_units: float
    excitatory_weights: float
    dale_violations: float
    effective_rank: float
    participation_rank: float


class Clusters(NamedTuple):
    """Units grouped by the tasks in which they vary.

    labels: [units], -1 where a unit is not active. scores: {clusters: silhouette}, of
    each number that was tried; the labels are those of the best.
    """

    labels: np.ndarray
    scores: dict[int, float]


class Lesion(NamedTuple):
    """Performance without a group of units, beside random groups of the same size."""

    units: int
    performance: Performance
    controls: list[Performance]


def census(
    rates: Num[np.ndarray, "trials time units"],
    recurrent: Num[np.ndarray, "units units"],
    excitatory: Bool[np.ndarray, " units"] | None = None,
    *,
    threshold: float = 1e-3,
) -> Census:
    """Counts a network's active units and describes its recurrent weights.

    A unit is active if its largest absolute rate in any trial is above `threshold`
    times the largest of all units: relative, for rates have no common unit. Without
    `excitatory`, a unit counts as excitatory if its outgoing weights sum to more than
    0: its violations of Dale's law are then those of the sign that it mostly has.

    effective_rank: `exp(-sum p log p)`, p the singular values over their sum (Roy &
    Vetterli 2007). participation_rank: `(sum s^2)^2 / sum s^4` of the singular values
    s, which weighs the large ones more.
    """
    peak = np.nanmax(np.abs(rates), axis=(0, 1))
    weights = recurrent.astype(np.float64)
    sizes = np.abs(weights)
    if excitatory is None:
        excitatory = weights.sum(axis=1) > 0
    against = np.where(excitatory[:, None], weights < 0, weights > 0)
    total, connections = sizes.sum(), np.count_nonzero(weights)
    moments = weights.T @ weights
    return Census(
        active=int(np.sum(peak > threshold * peak.max())),
        units=len(weights),
        density={above: float(np.mean(sizes > above)) for above in DENSITIES},
        excitatory_units=float(excitatory.mean()),
        excitatory_weights=float(weights.clip(0).sum() / total) if total else 0.0,
        dale_violations=float(against.sum() / connections) if connections else 0.0,
        effective_rank=effective_rank(moments),
        participation_rank=participation(moments),
    )


def task_variance(
    rates: Mapping[str, Num[np.ndarray, "_conditions _time units"]],
) -> Float[np.ndarray, "units tasks"]:
    """How much each unit varies with the conditions of each task.

    The variance across conditions at each step, averaged over the steps, of rates
    without noise [conditions, time, units] by task (Yang et al. 2019, "Task
    representations in neural networks trained to perform many cognitive tasks", who
    leave out the fixation period). NaN marks steps that a condition does not have.
    """
    columns = []
    for x in rates.values():
        x = x.astype(np.float64)
        apart = (x - present_mean(x, 0)[None, :, :]) ** 2
        columns.append(present_mean(present_mean(apart, 0), 0))
    return np.stack(columns, axis=1)


def normalised(
    variance: Float[np.ndarray, "units tasks"],
) -> Float[np.ndarray, "units tasks"]:
    """Each unit's task variance over its largest; 0 where it varies in no task."""
    largest = variance.max(axis=1, keepdims=True)
    return variance / np.where(largest > 0, largest, 1.0)


def clusters(
    variance: Float[np.ndarray, "units tasks"],
    *,
    counts: Sequence[int] = range(2, 30),
    threshold: float = 1e-3,
    seed: int = 0,
) -> Clusters:
    """Groups the active units by their normalised task variance, as Yang et al. 2019.

    A unit is active if its variance summed over the tasks is above `threshold`, theirs.
    K-means (20 starts, drawn by `seed`) for each number of clusters in `counts` that is
    less than the number of different units; the number with the largest mean silhouette
    is taken, the smaller of two alike. Clusters are ordered by the task in which their
    units vary most. Where no number can be tried, all active units are cluster 0.
    """
    # imported here: it takes a second
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    active = variance.sum(axis=1) > threshold
    labels = np.full(len(variance), -1)
    labels[active] = 0
    x = normalised(variance[active])
    tried = [n for n in counts if 2 <= n < len(np.unique(x, axis=0))]
    with threadpool_limits(1):
        fits = {
            n: KMeans(n, n_init=20, random_state=seed).fit_predict(x) for n in tried
        }
    scores = {n: float(silhouette_score(x, fit)) for n, fit in fits.items()}
    if scores:
        best = fits[max(scores, key=lambda n: scores[n])]
        means = [x[best == c].mean(axis=0) for c in range(best.max() + 1)]
        order = np.argsort([mean.argmax() for mean in means], kind="stable")
        labels[active] = np.argsort(order)[best]
    return Clusters(labels, scores)


def fractional_variance(
    variance: Float[np.ndarray, "units tasks"], first: int, second: int
) -> Float[np.ndarray, " units"]:
    """`(v1 - v2) / (v1 + v2)`: 1 where a unit varies in the first task only, -1 second.

    Of the columns `first` and `second` of the task variance; NaN where a unit varies in
    neither. Yang et al. 2019.
    """
    a, b = variance[:, first], variance[:, second]
    total = a + b
    return np.divide(a - b, total, out=np.full(len(a), np.nan), where=total > 0)


def lesions(
    evaluate: Callable[[np.ndarray], Performance],
    groups: Mapping[str, Int[np.ndarray, " _members"]],
    units: int,
    *,
    among: Int[np.ndarray, " candidates"] | None = None,
    draws: int = 5,
    seed: int = 0,
) -> tuple[Performance, dict[str, Lesion]]:
    """The intact network's performance, and that without each group of units.

    evaluate: mask [units] -> {name: performance}, the rates of the units whose mask is
    0 held at 0, the others' is 1. groups: {name: unit indices}. Beside each stand
    `draws` random groups of the same size, of all units or of those `among` (the active
    ones, say: silent units cost nothing), drawn by `seed`; one may share units with the
    group. A group hurts in its own way only if it hurts otherwise than they do.

    ValueError: a group that is empty, repeats a unit, or holds one that there is not;
    or that is larger than what the controls are drawn from.
    """
    candidates = np.arange(units) if among is None else among
    for name, members in groups.items():
        if len(np.unique(members)) != len(members) or not len(members):
            raise ValueError(f"groups[{name!r}]: expected different units, one or more")
        if members.min() < 0 or members.max() >= units:
            raise ValueError(f"groups[{name!r}]: expected units in [0, {units})")
        if len(members) > len(candidates):
            raise ValueError(
                f"groups[{name!r}]: expected at most {len(candidates)} units, as many"
                f" as controls are drawn from, found {len(members)}"
            )

    def without(members: np.ndarray) -> Performance:
        mask = np.ones(units)
        mask[members] = 0.0
        return evaluate(mask)

    rng = np.random.default_rng(seed)
    lesioned = {}
    for name, members in groups.items():
        drawn = [rng.choice(candidates, len(members), False) for _ in range(draws)]
        controls = [without(control) for control in drawn]
        lesioned[name] = Lesion(len(members), without(members), controls)
    return evaluate(np.ones(units)), lesioned
