"""The decoders by name: each reads classes from volumes.

config.decoder = {"name": "ridge", "voxels": 500}

A decoder is fitted to volumes of several runs, all of which have a class. Everything it
fits is fitted to these alone: with `voxels`, those of largest F between classes
(`fit_selection`), then each voxel's mean and deviation, then the classifier, whose own
choices are made by leaving one of these runs out. Of one run alone, volumes are left
out in the place of runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kdjax.checks import integer, number, numbers, one_of
from kdjax.data.fmri.preprocessing import (
    apply_scaling,
    apply_selection,
    fit_scaling,
    fit_selection,
)
from kdjax.errors import InputError, call, look_up_or_import, split_name
from kdjax.tasks.brain.decoding import ridge as algebra
from kdjax.tasks.brain.decoding.folds import leave_one_run_out

WHERE = "config.decoder"
RIDGE_PENALTIES = (1, 10, 100, 1e3, 1e4, 1e5, 1e6)

Responses: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int32]
Predict: TypeAlias = Callable[[Responses], NDArray[np.float32]]
# (x [n, voxels], y [n] from 0 to classes - 1, run [n], classes) -> x [m, voxels] ->
# logits [m, classes]
Fit: TypeAlias = Callable[[Responses, Labels, NDArray[Any], int], Predict]
Transform: TypeAlias = Callable[[Responses], Responses]


def build(section: Mapping[str, Any], *, seed: int = 0) -> Fit:
    """The decoder that a config's section `decoder` names; InputError if there is none.

    `name` is a key of `DECODERS`, or "module:factory" of one's own. `seed` is for a
    decoder that draws something: a factory with a parameter `seed`. What it gives is
    fitted by `fit(x, y, run, classes)`, which raises an InputError for labels outside 0
    to `classes` - 1, for a class without a volume, and for more `voxels` than there
    are.
    """
    name, fields = split_name(section, where=WHERE)
    factory = look_up_or_import(name, DECODERS, where=f"{WHERE}.name")
    draws = "seed" in inspect.signature(factory).parameters
    fit: Fit = call(factory, fields, where=WHERE, **({"seed": seed} if draws else {}))
    return fit


def ridge(
    *,
    penalties: Sequence[float | int] = RIDGE_PENALTIES,
    voxels: int | None = None,
) -> Fit:
    """Least squares to one-hot labels (0 or 1) of standardised voxels, with a penalty.

    `|targets - x w - b|^2 + penalty |w|^2`, sums over volumes; the intercept b is free.
    The penalty has the best accuracy over the training runs, each left out in turn;
    ties go to the largest. In closed form, from the eigenvectors of the smaller of
    x x' and x' x; without `voxels` the runs are left out in closed form, too, and share
    the scale of the voxels (`ridge.held_out`).

    Logits are the predicted targets divided by the root mean square of those of the
    left-out runs, each row less its mean: a penalty shrinks predictions, and a
    temperature found with one should serve the next.
    """
    tried = checked_penalties(penalties)
    check_count(voxels)

    def fit(x: Responses, y: Labels, run: NDArray[Any], classes: int) -> Predict:
        check_volumes(x, y, classes, voxels)
        targets = np.eye(classes)[y]
        features, transform = prepared(x, y, voxels)
        fitted, group = algebra.spectrum(features), _groups(run)
        if voxels is None:
            held_out = algebra.held_out(fitted, group, tried, targets)
        else:
            held_out = np.empty((len(tried), len(x), classes))
            for train, test, inner, left_out in _inner(x, y, group, voxels):
                hat = algebra.hat(algebra.spectrum(inner), left_out, tried)
                held_out[:, test] = hat @ targets[train]
        right = (held_out.argmax(axis=2) == y).sum(axis=1)
        k = int(algebra.best(right))
        centred = held_out[k] - held_out[k].mean(axis=1, keepdims=True)
        size = np.sqrt(np.square(centred).mean()) or 1.0
        weights, bias = algebra.coefficients(fitted, targets, penalty=tried[k])
        return lambda x: _single((transform(x) @ weights + bias) / size)

    return fit


def logistic(
    *,
    penalties: Sequence[float | int] = (1,),
    voxels: int | None = None,
) -> Fit:
    """Multinomial logistic regression of standardised voxels, with scikit-learn.

    `sum of cross-entropies + penalty |w|^2 / 2`, that is C = 1 / penalty. Of several
    the penalty has the best log-likelihood over the training runs, each left out in
    turn: as many fits as runs times penalties. Ties go to the largest, and so does a
    single run. Solved along the volumes' principal axes, which changes nothing: |w| is
    the same in any orthonormal axes. Logits are the log-odds; two classes have one
    weight vector between them.
    """
    tried = checked_penalties(penalties)
    check_count(voxels)

    def fit(x: Responses, y: Labels, run: NDArray[Any], classes: int) -> Predict:
        check_volumes(x, y, classes, voxels)
        penalty = tried[-1]
        if len(tried) > 1 and len(np.unique(run)) > 1:
            likelihood = sum(
                _likelihoods(inner, y[train], left_out, y[test], tried)
                for train, test, inner, left_out in _inner(x, y, run, voxels)
            )
            penalty = tried[int(algebra.best(np.asarray(likelihood)))]
        features, transform = prepared(x, y, voxels)
        axes = algebra.spectrum(features)
        model = _logistic(axes.coordinates, y, penalty)
        return lambda x: _single(_scores(model, algebra.project(axes, transform(x))))

    return fit


def _logistic(x: NDArray[np.float64], y: Labels, penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression  # here: it takes a second

    return LogisticRegression(C=1 / penalty, max_iter=10_000).fit(x, y)


def _likelihoods(
    x: Responses,
    y: Labels,
    left_out: Responses,
    truth: Labels,
    penalties: Sequence[float],
) -> NDArray[np.float64]:
    """The sum of log-probabilities of the left-out run's classes, for each penalty.

    Over the classes that the other runs have; 0 where they have one class alone.
    """
    from scipy.special import log_softmax

    known = np.unique(y)
    rows = np.flatnonzero(np.isin(truth, known))
    if len(known) < 2 or not len(rows):
        return np.zeros(len(penalties))
    axes = algebra.spectrum(x)
    along = algebra.project(axes, left_out[rows])
    place = np.searchsorted(known, truth[rows])
    sums = []
    for penalty in penalties:
        model = _logistic(axes.coordinates, y, penalty)
        log_p = log_softmax(_scores(model, along), axis=1)
        sums.append(log_p[np.arange(len(rows)), place].sum())
    return np.array(sums)


def lda(*, shrinkage: float | int | str = "auto", voxels: int | None = None) -> Fit:
    """Linear discriminant analysis with a shrunk covariance, scikit-learn's `lsqr`.

    `shrinkage` "auto": each class's covariance by Ledoit & Wolf 2004, their mean taken;
    or from 0 to 1, the share of the identity. Logits are the log joint probabilities,
    up to a term that is the same for all classes. Its time grows with the cube of the
    voxels: of thousands, choose some with `voxels`. InputError for a class with a
    single volume.
    """
    if shrinkage != "auto":
        if isinstance(shrinkage, str):
            one_of(shrinkage, ["auto"], where=f"{WHERE}.shrinkage")
        number(shrinkage, low=0, high=1, where=f"{WHERE}.shrinkage")
    check_count(voxels)

    def fit(x: Responses, y: Labels, run: NDArray[Any], classes: int) -> Predict:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        check_volumes(x, y, classes, voxels, least=2)
        features, transform = prepared(x, y, voxels)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
        model.fit(features.astype(np.float64), y)
        return lambda x: _single(_scores(model, transform(x)))

    return fit


def class_mean(*, distance: str = "euclidean", voxels: int | None = None) -> Fit:
    """The nearest class mean, of standardised voxels.

    `distance` "euclidean": logits are minus half the squared distance to each class's
    mean, divided by the number of voxels; "correlation": Pearson's correlation with it
    over the voxels (Haxby et al. 2001), 0 where either is constant.
    """
    one_of(distance, ["euclidean", "correlation"], where=f"{WHERE}.distance")
    check_count(voxels)

    def fit(x: Responses, y: Labels, run: NDArray[Any], classes: int) -> Predict:
        check_volumes(x, y, classes, voxels)
        features, transform = prepared(x, y, voxels)
        means = np.stack(
            [features[y == k].mean(axis=0, dtype=np.float64) for k in range(classes)]
        )
        if distance == "correlation":
            unit = _unit(means)
            return lambda x: _single(_unit(transform(x)) @ unit.T)

        def predict(x: Responses) -> NDArray[np.float32]:
            x64 = transform(x).astype(np.float64)
            squares = np.square(means).sum(axis=1) - 2 * x64 @ means.T
            squares += np.square(x64).sum(axis=1, keepdims=True)
            return _single(-squares / (2 * x64.shape[1]))

        return predict

    return fit


def _single(logits: NDArray[Any]) -> NDArray[np.float32]:
    return logits.astype(np.float32)


def _unit(x: NDArray[Any]) -> NDArray[np.float64]:
    """Rows less their mean, to length 1; 0 for one that is constant."""
    centred = x - x.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length > 0, length, 1)


def _scores(model: Any, x: NDArray[Any]) -> NDArray[np.float64]:
    """scikit-learn's decision function [n, classes], of two classes one column each."""
    decision = model.decision_function(x)
    if decision.ndim == 1:
        return np.stack([-decision / 2, decision / 2], axis=1)
    return decision


def prepared(
    x: Responses, y: Labels, voxels: int | None
) -> tuple[Responses, Transform]:
    """Training volumes, chosen and scaled, and what does the same to any others."""
    selection = None if voxels is None else fit_selection(x, y, count=voxels)
    chosen = x if selection is None else apply_selection(selection, x)
    scaling = fit_scaling(chosen)

    def transform(x: Responses) -> Responses:
        chosen = x if selection is None else apply_selection(selection, x)
        return apply_scaling(scaling, chosen)

    return apply_scaling(scaling, chosen), transform


def _groups(run: NDArray[Any]) -> NDArray[Any]:
    """What is left out in turn: runs, or the volumes of a single one."""
    return run if len(np.unique(run)) > 1 else np.arange(len(run))


def _inner(
    x: Responses, y: Labels, group: NDArray[Any], voxels: int | None
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], Responses, Responses]]:
    """(train rows, test rows, their features) with each group left out of all fits."""
    for fold in leave_one_run_out(group):
        features, transform = prepared(x[fold.train], y[fold.train], voxels)
        yield fold.train, fold.test, features, transform(x[fold.test])


def checked_penalties(penalties: Sequence[float | int]) -> tuple[float, ...]:
    """The penalties in rising order; InputError unless there are some, all above 0."""
    where = f"{WHERE}.penalties"
    tried = numbers(penalties, above=0, where=where)
    if not tried:
        raise InputError(f"{where}: expected one or more, found none")
    return tuple(sorted(set(tried)))


def check_count(voxels: int | None) -> None:
    """InputError unless `voxels` is None or a number of voxels to choose."""
    if voxels is not None:
        integer(voxels, low=1, where=f"{WHERE}.voxels")


def check_volumes(
    x: Responses, y: Labels, classes: int, voxels: int | None, *, least: int = 1
) -> None:
    """InputError unless a decoder of `voxels` can be fitted: `least` of each class."""
    if voxels is not None:
        integer(voxels, low=1, high=x.shape[1], where=f"{WHERE}.voxels")
    if not len(y) or y.min() < 0 or y.max() >= classes:
        found = f"{y.min()} to {y.max()}" if len(y) else "none"
        raise InputError(f"y: expected labels 0 to {classes - 1}, found {found}")
    counts = np.bincount(y, minlength=classes)
    if counts.min() < least:
        raise InputError(
            f"class {counts.argmin()}: expected {least} or more training volumes, "
            f"found {counts.min()}"
        )


DECODERS: dict[str, Callable[..., Fit] | str] = {
    "class_mean": class_mean,
    "lda": lda,
    "logistic": logistic,
    "network": "kdjax.tasks.brain.decoding.neural:network",
    "ridge": ridge,
}
