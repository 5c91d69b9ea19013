"""How alike two networks are, or a network and recordings, in geometry and dynamics.

Each comparison takes two arrays [conditions, time, units] of the same conditions and
steps (`recordings.match` makes them so); the units may differ in number. A sample is
one step of one condition; one that holds NaN in either array is left out of both. All
arithmetic is in float64.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Num
from scipy import stats
from scipy.optimize import minimize
from scipy.spatial.distance import pdist
from threadpoolctl import threadpool_limits

from kdjax.checks import one_of

_SIGNIFICANT = 1e-5  # of the largest singular value; float32 rates are good to 1e-7


def procrustes(
    a: Num[np.ndarray, "conditions time units"],
    b: Num[np.ndarray, "_conditions _time others"],
) -> float:
    """The angle, in [0, pi / 2], that the best rotation leaves between the two shapes.

    `arccos(|X^T Y|_* / (|X| |Y|))`, X and Y the samples, each unit centred, `|.|_*` the
    sum of singular values and `|.|` Frobenius': the angular Procrustes distance of
    Williams et al. 2021, "Generalized shape metrics on neural representations". It is a
    metric, and the same under shift, rotation, reflection and scaling of either.
    ValueError: the arrays do not match, or one does not vary.
    """
    x, y = _centred(a, b)
    shared = np.linalg.norm(x.T @ y, "nuc")
    return _angle(shared / (np.linalg.norm(x) * np.linalg.norm(y)))


def cka(
    a: Num[np.ndarray, "conditions time units"],
    b: Num[np.ndarray, "_conditions _time others"],
    *,
    debiased: bool = False,
) -> float:
    """Linear centred kernel alignment: 1 for equal geometry, 0 for none in common.

    `|X^T Y|^2 / (|X^T X| |Y^T Y|)` of the centred samples (Kornblith et al. 2019,
    "Similarity of neural network representations revisited"). With few samples and many
    units it is far above 0 for unrelated data; `debiased` puts the unbiased estimator
    of HSIC in its place (Song et al. 2012; Nguyen et al. 2021), for independent
    samples: it may be below 0. Both are the same under shift, rotation and scaling.
    ValueError: the arrays do not match, or one does not vary; or debiased with fewer
    than 4 samples.
    """
    x, y = _centred(a, b)
    if debiased:
        if len(x) < 4:
            raise ValueError(f"debiased: expected 4 samples or more, found {len(x)}")
        k, m = _hollow(x @ x.T), _hollow(y @ y.T)
        return float(_hsic(k, m) / np.sqrt(_hsic(k, k) * _hsic(m, m)))
    across = np.sum((x.T @ y) ** 2)
    return float(across / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def rsa(
    a: Num[np.ndarray, "conditions time units"],
    b: Num[np.ndarray, "_conditions _time others"],
    *,
    distance: str = "euclidean",
) -> float:
    """Spearman's correlation of the two matrices of distances between samples.

    Representational similarity analysis (Kriegeskorte, Mur & Bandettini 2008).
    distance: `euclidean`, the same under shift, rotation and scaling; or theirs,
    `correlation` (1 - Pearson's r over units), which is not, for it reads each unit's
    zero, and is nan where a sample is the same in all units.
    ValueError: the arrays do not match, one does not vary, or an unknown distance.
    """
    one_of(distance, ("euclidean", "correlation"), where="distance")
    _centred(a, b)  # what does not vary has no order of distances
    x, y = _samples(a, b)
    return float(stats.spearmanr(pdist(x, distance), pdist(y, distance)).statistic)


def dsa(
    a: Num[np.ndarray, "conditions time units"],
    b: Num[np.ndarray, "_conditions _time others"],
    *,
    delays: int = 10,
    rank: int = 10,
    starts: int = 10,
    seed: int = 0,
) -> float:
    """The angle, in [0, pi], between two systems' dynamics; the geometry may differ.

    Dynamical similarity analysis (Ostrow, Eisen, Kozachkov & Fiete 2023, "Beyond
    geometry"): `linear_operator` of each, A and B, then `arccos` of
    `max_C tr(A^T C B C^T) / (|A| |B|)` over the orthogonal matrices C (`conjugate`).
    Where the ranks that the data have differ, the smaller operator is padded with
    zeros, as theirs is. Unlike in their code the data are centred and the regression
    has an intercept, so that a shift of the rates changes nothing. The angle is the
    smallest that `starts` starts of the search give: an upper bound.
    ValueError: see `linear_operator`.
    """
    operators = [linear_operator(x, delays=delays, rank=rank) for x in (a, b)]
    size = max(len(operator) for operator in operators)
    first, second = (np.pad(m, (0, size - len(m))) for m in operators)
    cosine, _ = conjugate(first, second, starts=starts, seed=seed)
    return _angle(cosine / (np.linalg.norm(first) * np.linalg.norm(second)))


def measures(
    a: Num[np.ndarray, "conditions time units"],
    b: Num[np.ndarray, "_conditions _time others"],
) -> dict[str, float]:
    """All four by name: `procrustes` and `dsa`, angles; `cka` and `rsa`, 1 for alike.

    Each with its defaults. ValueError: see there.
    """
    return {f.__name__: f(a, b) for f in (procrustes, cka, rsa, dsa)}


def linear_operator(
    rates: Num[np.ndarray, "conditions time units"], *, delays: int, rank: int
) -> Float[np.ndarray, "kept kept"]:
    """The matrix A of `v[t + 1] = A v[t] + c`, v the whitened, delay-embedded rates.

    HAVOK (Brunton et al. 2017): the rates of `delays` steps side by side, centred, are
    decomposed as U S V^T; v are the first `rank` columns of V, fewer where the singular
    values fall below 1e-5 of the largest; A and c by least squares over all pairs of
    steps without NaN. Whitening makes A the same, up to rotation, for every linear
    readout of a system. ValueError: too few steps for the delays, or nothing varies.
    """
    rates = rates.astype(np.float64)
    windows = rates.shape[1] - delays + 1
    if windows < 2:
        raise ValueError(
            f"delays: expected at most {rates.shape[1] - 1}, one less than the steps,"
            f" found {delays}"
        )
    shifted = [rates[:, delay : delay + windows] for delay in range(delays)]
    embedded = np.concatenate(shifted, axis=2)
    there = ~np.isnan(embedded).any(axis=2)
    rows = embedded[there]
    if len(rows) == 0 or not np.ptp(rows, axis=0).any():
        raise ValueError("rates: expected values that vary over time, found none")
    u, singular, _ = np.linalg.svd(
        rows - rows.mean(axis=0)[None, :], full_matrices=False
    )
    kept = min(rank, int(np.sum(singular > _SIGNIFICANT * singular[0])))
    v = np.full((*there.shape, kept), np.nan)
    v[there] = u[:, :kept]
    pairs = there[:, :-1] & there[:, 1:]
    if pairs.sum() <= kept:
        raise ValueError(
            f"rank: expected fewer than the {pairs.sum()} pairs of steps, found {kept}"
        )
    before, after = v[:, :-1][pairs], v[:, 1:][pairs]
    design = np.concatenate([before, np.ones((len(before), 1))], axis=1)
    return np.linalg.lstsq(design, after, rcond=None)[0][:-1].T


def conjugate(
    a: Float[np.ndarray, "n n"],
    b: Float[np.ndarray, "n n"],
    *,
    starts: int = 10,
    seed: int = 0,
) -> tuple[float, Float[np.ndarray, "n n"]]:
    """The largest `tr(A^T C B C^T)` found over the orthogonal C, and that C.

    L-BFGS over the Cayley transform of a skew matrix, around each of `starts` starts:
    one that matches the symmetric parts' eigenvectors, which is the answer where B is
    a rotated A whose symmetric part has distinct eigenvalues; the others are drawn by
    `seed`, from rotations and reflections in turn.
    """
    rng = np.random.default_rng(seed)
    best, found = -np.inf, np.eye(len(a))
    with threadpool_limits(1):  # threads cost small matrices 100 x on busy cores
        for start in range(starts):
            c = _matched(a, b) if start == 0 else _orthogonal(len(a), start % 2, rng)
            value, c = _climb(a, b, c)
            if value > best:
                best, found = value, c
    return best, found


def _climb(a: np.ndarray, b: np.ndarray, start: np.ndarray) -> tuple[float, np.ndarray]:
    """The nearest maximum of tr(A^T C B C^T), C = start (I - K)^-1 (I + K), K skew."""
    n, eye = len(a), np.eye(len(a))
    upper = np.triu_indices(n, 1)

    def unpack(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = np.zeros((n, n))
        k[upper] = values
        k = k - k.T
        return k, np.linalg.solve(eye - k, eye + k)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        k, turn = unpack(values)
        c = start @ turn
        by_c = a @ c @ b.T + a.T @ c @ b
        # d turn = (I - K)^-1 dK (I + turn)
        by_k = np.linalg.solve((eye - k).T, start.T @ by_c) @ (eye + turn).T
        return -np.sum(a * (c @ b @ c.T)), -(by_k - by_k.T)[upper]

    found = minimize(
        loss,
        np.zeros(len(upper[0])),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-10},
    )
    return -float(found.fun), start @ unpack(found.x)[1]


def _matched(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """C that turns B's eigenvectors of its symmetric part into A's, signs agreeing."""
    own, other = (np.linalg.eigh(m + m.T)[1] for m in (a, b))
    agree = (own.T @ a @ own) * (other.T @ b @ other)
    signs = np.where(np.linalg.eigh(agree + agree.T)[1][:, -1] < 0, -1.0, 1.0)
    return own * signs[None, :] @ other.T


def _orthogonal(n: int, reflects: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix of determinant 1, or -1 if it `reflects`."""
    q, r = np.linalg.qr(rng.normal(size=(n, n)))
    q = q * np.sign(np.diag(r))[None, :]
    if (np.linalg.det(q) < 0) != bool(reflects):
        q[:, 0] = -q[:, 0]
    return q


def _samples(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if a.shape[:2] != b.shape[:2]:
        raise ValueError(
            f"expected the same conditions and steps, found {a.shape[:2]} and"
            f" {b.shape[:2]}"
        )
    x, y = (m.reshape(-1, m.shape[2]).astype(np.float64) for m in (a, b))
    there = ~(np.isnan(x).any(axis=1) | np.isnan(y).any(axis=1))
    return x[there], y[there]


def _centred(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = _samples(a, b)
    for name, m in (("first", x), ("second", y)):
        if len(m) == 0 or not np.ptp(m, axis=0).any():
            raise ValueError(f"expected rates that vary, found none in the {name}")
    return x - x.mean(axis=0)[None, :], y - y.mean(axis=0)[None, :]


def _angle(cosine: float | np.floating) -> float:
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _hollow(gram: np.ndarray) -> np.ndarray:
    return gram - np.diag(np.diag(gram))


def _hsic(k: np.ndarray, m: np.ndarray) -> float:
    """The unbiased estimator (Song et al. 2012), of Gram matrices with diagonal 0."""
    n = len(k)
    ones = k.sum() * m.sum() / ((n - 1) * (n - 2))
    mixed = 2 / (n - 2) * k.sum(axis=0) @ m.sum(axis=0)
    return float((np.sum(k * m) + ones - mixed) / (n * (n - 3)))
