"""Ridge regression to one-hot labels, whose penalty is chosen on held-out examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from kdjax.checks import numbers
from kdjax.errors import InputError

Matrix = NDArray[Any]
ROWS = 2048  # multiplied at once


class Ridge(NamedTuple):
    """`x @ kernel + bias` are the classes' estimates, float32; and the penalty."""

    kernel: Float[np.ndarray, "width classes"]
    bias: Float[np.ndarray, " classes"]
    penalty: float


def fit(
    x: Float[np.ndarray, "n width"],
    y: Int[np.ndarray, " n"],
    held: Float[np.ndarray, "m width"],
    truth: Int[np.ndarray, " m"],
    *,
    classes: int,
    penalties: Sequence[float],
) -> Ridge:
    """The least `|targets - x w - b|^2 + penalty |w|^2`, sums over examples.

    Targets are 0 or 1; the intercept b is free. Of `penalties` the one with the best
    accuracy on the examples `held` is taken, of equal ones the first. Solved by
    Cholesky, of x' x or, with fewer examples than `width`, of x x', in float64.
    """
    targets = np.eye(classes)[y]
    mean, centre = x.mean(axis=0, dtype=np.float64), targets.mean(axis=0)
    best, most = None, -1.0
    kernels = _kernels(x, mean.astype(np.float32), targets - centre, penalties)
    for penalty, kernel in zip(penalties, kernels, strict=True):
        bias = centre - mean @ kernel
        found = Ridge(kernel.astype(np.float32), bias.astype(np.float32), penalty)
        right = np.mean((held @ found.kernel + found.bias).argmax(axis=1) == truth)
        if right > most:
            best, most = found, right
    assert best is not None, "there is a penalty"
    return best


def _kernels(
    x: Matrix, mean: np.ndarray, targets: Matrix, penalties: Sequence[float]
) -> Iterator[Matrix]:
    """The weights [width, classes] by each penalty, of x less its mean."""
    n, width = x.shape
    if n <= width:
        centred = x - mean
        gram = (centred @ centred.T).astype(np.float64)
        for penalty in penalties:
            yield centred.T @ _solve(gram, targets, penalty)
        return
    gram, right = np.zeros((width, width)), np.zeros((width, targets.shape[1]))
    for start in range(0, n, ROWS):
        part = x[start : start + ROWS] - mean
        gram += part.T @ part  # of so few rows float32 is enough
        right += part.T @ targets[start : start + ROWS]
    for penalty in penalties:
        yield _solve(gram, right, penalty)


def _solve(gram: Matrix, right: Matrix, penalty: float) -> Any:
    """`(gram + penalty)^-1 right`; the least solution where there are many."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    shifted = gram.copy()
    shifted[np.diag_indices_from(shifted)] += penalty
    try:
        factor = cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return np.linalg.lstsq(gram, right, rcond=None)[0]
    return cho_solve(factor, right, check_finite=False)


def checked(penalties: Sequence[float | int], *, where: str) -> tuple[float, ...]:
    """The penalties; InputError unless one or more numbers, none below 0."""
    found = numbers(penalties, low=0, where=where)
    if not found:
        raise InputError(f"{where}: expected one or more, found none")
    return found
