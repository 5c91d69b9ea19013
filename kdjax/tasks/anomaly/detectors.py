"""The baselines by name, on scikit-learn: each gives (normal, validation) -> `Fitted`.

config.detector = {"name": "pca", "components": 10}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kdjax.checks import integer, number
from kdjax.errors import InputError

WHERE = "config.detector"


class Fitted(NamedTuple):
    """score: x [n, width] -> [n], higher where it is less normal; reconstruct: x -> x,
    for detectors that have one; about: what was chosen in fitting."""

    score: Callable[[np.ndarray], np.ndarray]
    reconstruct: Callable[[np.ndarray], np.ndarray] | None
    about: dict[str, Any]


Detector = Callable[[np.ndarray, np.ndarray], Fitted]


def pca(
    *,
    seed: int,
    components: int | None = None,
    unexplained: float | int = 0.05,
) -> Detector:
    """The mean squared error of the reconstruction from the first principal components.

    `components` None: the fewest that leave at most the fraction `unexplained` of the
    normal validation examples' variance (their error about the training mean); the
    error itself always falls with more of them.
    """
    if components is not None:
        integer(components, low=1, where=f"{WHERE}.components")
    number(unexplained, low=0, high=1, where=f"{WHERE}.unexplained")

    del seed

    def fit(normal: np.ndarray, validation: np.ndarray) -> Fitted:
        model, left = _principal(normal, validation, components, unexplained)

        def reconstruct(x: np.ndarray) -> np.ndarray:
            return model.inverse_transform(model.transform(x))

        def score(x: np.ndarray) -> np.ndarray:
            return np.square(x - reconstruct(x)).mean(axis=1)

        return Fitted(score, reconstruct, left)

    return fit


def isolation_forest(
    *, seed: int, unexplained: float | int = 0.05, trees: int = 100
) -> Detector:
    """Liu, Ting & Zhou 2008, on `pca`'s components: how soon random cuts isolate x.

    unexplained: as in `pca`; trees: how many.
    """
    number(unexplained, low=0, high=1, where=f"{WHERE}.unexplained")
    integer(trees, low=1, where=f"{WHERE}.trees")

    def fit(normal: np.ndarray, validation: np.ndarray) -> Fitted:
        from sklearn.ensemble import IsolationForest  # imported here: it takes a second

        reduce, left = _principal(normal, validation, None, unexplained)
        forest = IsolationForest(n_estimators=trees, random_state=seed)
        forest.fit(reduce.transform(normal))
        return Fitted(
            lambda x: -forest.score_samples(reduce.transform(x)),
            None,
            left,
        )

    return fit


def one_class_svm(
    *,
    seed: int,
    unexplained: float | int = 0.05,
    nu: float | int = 0.05,
    max_samples: int = 5_000,
) -> Detector:
    """Schoelkopf et al. 2001, with an RBF kernel, on `pca`'s components.

    They are scaled to unit variance, and the kernel is exp(-d^2 / their number). The
    score is -log of the machine's sum of kernels, which goes on rising where the sum
    itself is too small for a float. Fitted to `max_samples` of the normal examples,
    drawn by the seed, for its cost is quadratic in them. unexplained: as in `pca`; nu:
    the share of normal examples that may lie outside.
    """
    number(unexplained, low=0, high=1, where=f"{WHERE}.unexplained")
    number(nu, above=0, high=1, where=f"{WHERE}.nu")
    integer(max_samples, low=2, where=f"{WHERE}.max_samples")

    def fit(normal: np.ndarray, validation: np.ndarray) -> Fitted:
        from scipy.spatial.distance import cdist
        from scipy.special import logsumexp
        from sklearn.svm import OneClassSVM

        reduce, left = _principal(normal, validation, None, unexplained)
        variance = reduce.explained_variance_
        scale = np.sqrt(np.maximum(variance, 1e-6 * variance[0]))

        def prepared(x: np.ndarray) -> np.ndarray:
            return reduce.transform(x) / scale

        gamma = 1 / len(scale)
        machine = OneClassSVM(nu=nu, gamma=gamma)
        machine.fit(prepared(_drawn(normal, max_samples, seed)))

        def score(x: np.ndarray) -> np.ndarray:
            apart = cdist(prepared(x), machine.support_vectors_, "sqeuclidean")
            return -logsumexp(-gamma * apart, b=machine.dual_coef_, axis=1)

        return Fitted(score, None, left)

    return fit


def knn(*, seed: int, neighbours: int = 5, max_samples: int = 10_000) -> Detector:
    """The mean distance to the nearest of `max_samples` normal ones, as unit vectors.

    neighbours: how many count as the nearest.
    The bank is drawn by the seed. On a contrastive encoder's representations: Sun et
    al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022.
    """
    integer(neighbours, low=1, where=f"{WHERE}.neighbours")
    integer(max_samples, low=1, where=f"{WHERE}.max_samples")

    def fit(normal: np.ndarray, validation: np.ndarray) -> Fitted:
        from sklearn.neighbors import NearestNeighbors

        bank = _unit(_drawn(normal, max_samples, seed))
        search = NearestNeighbors(n_neighbors=min(neighbours, len(bank))).fit(bank)
        return Fitted(
            lambda x: search.kneighbors(_unit(x))[0].mean(axis=1),
            None,
            {"bank": len(bank)},
        )

    return fit


def _principal(
    normal: np.ndarray,
    validation: np.ndarray,
    components: int | None,
    unexplained: float | int,
) -> tuple[Any, dict[str, Any]]:
    """scikit-learn's PCA, cut to so many components, and what they leave."""
    from sklearn.decomposition import PCA

    rank = min(len(normal) - 1, normal.shape[1])
    if rank < 1:
        raise InputError(
            f"config.data: expected two normal examples or more, found {len(normal)}"
        )
    if components is not None:
        integer(components, low=1, high=rank, where=f"{WHERE}.components")
    model = PCA(components, svd_solver="full").fit(normal)
    centred = validation - model.mean_
    explained = np.cumsum(np.square(centred @ model.components_.T).sum(axis=0))
    left = 1 - explained / max(np.square(centred).sum(), 1e-30)
    if components is None:
        enough = np.flatnonzero(left <= unexplained)
        components = int(enough[0]) + 1 if len(enough) else rank
        model = PCA(components, svd_solver="full").fit(normal)
    return model, {
        "components": components,
        "unexplained": float(left[components - 1]),
    }


def _drawn(x: np.ndarray, max_samples: int, seed: int) -> np.ndarray:
    if len(x) <= max_samples:
        return x
    rows = np.random.default_rng(seed).choice(len(x), max_samples, replace=False)
    return x[np.sort(rows)]


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


DETECTORS: dict[str, Callable[..., Detector]] = {
    "isolation_forest": isolation_forest,
    "knn": knn,
    "one_class_svm": one_class_svm,
    "pca": pca,
}
