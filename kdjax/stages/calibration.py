"""The temperature that makes a classifier's probabilities right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax.data.dataset import UNLABELLED
from kdjax.errors import InputError

# The temperature's bounds, in units of the centred logits' root mean square. The
# likelihood of logits that are never wrong rises for ever as it falls.
LOWEST, HIGHEST = 0.02, 1000.0


def temperature(logits: NDArray[Any], y: NDArray[Any]) -> float:
    """The T above 0 at which softmax(logits / T) makes the labels most likely.

    Args:
        logits: [n, classes], of examples that the classifier was not fitted to.
        y: [n]; rows of label -1 are left out.

    T is from 0.02 to 1000 times the root mean square of the logits less each row's
    mean: the lowest if every row is right, the highest if they say nothing; 1 where all
    logits of a row are equal. The negative log-likelihood is convex in b = 1/T, so T is
    where its slope, the mean of `sum_c p_c (logit_c - logit_y)`, is 0. Guo et al. 2017,
    "On calibration of modern neural networks". InputError if no row has a class.
    """
    from scipy.optimize import brentq
    from scipy.special import softmax

    logits, y = labelled(logits, y)
    size = np.sqrt(np.square(logits - logits.mean(axis=1, keepdims=True)).mean())
    if size == 0:
        return 1.0
    above = logits - logits[np.arange(len(y)), y][:, None]

    def slope(log_t: float) -> float:
        p = softmax(above / np.exp(log_t), axis=1)
        return float((p * above).sum(axis=1).mean())

    low, high = np.log(LOWEST * size), np.log(HIGHEST * size)
    if slope(low) <= 0:
        return float(np.exp(low))
    if slope(high) >= 0:
        return float(np.exp(high))
    return float(np.exp(brentq(slope, low, high)))


def labelled(
    logits: NDArray[Any], y: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The rows that have a class; InputError if there are none, or shapes differ."""
    if logits.ndim != 2 or y.shape != logits.shape[:1]:
        raise InputError(
            "logits: expected [n, classes] and labels [n], found shapes "
            f"{logits.shape} and {y.shape}"
        )
    has_class = y != UNLABELLED
    if not has_class.any():
        raise InputError("y: expected a class in some row, found none")
    return logits[has_class].astype(np.float64), y[has_class]
