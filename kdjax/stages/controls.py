"""Control teachers: stored soft labels from which one thing that they say is taken.

A student that learns as much from a control as from the teacher itself did not need
what the control takes away.

    control               what is left of the teacher
    matched_random        how likely it finds each example's class; not which others
    within_class_shuffle  its rows, each for some example of the same class
    class_mean            what it says of a class on average
    matched_smoothing     how likely it finds the right class on average: one number
    across_class_shuffle  its rows, each for any example
    random                nothing

Each is a pure function `(logits [n, classes], labels [n], seed) -> logits`, of NumPy,
with rows in a fixed order; probabilities are the softmax of logits. A row without a
label (-1) stays as it is where its class must be known (`matched_random`,
`matched_smoothing`); for the others such rows are a class of their own. Shuffles and
permutations are uniform: a row, or a value, may stay in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax.data.dataset import CONTROL, UNLABELLED

Logits = NDArray[np.floating]
Labels = NDArray[np.integer]
Control = Callable[[Logits, Labels, int], Logits]

# The published brain-to-image study's own random control is softmax(u / 0.01). Its rows
# are nearly one-hot, so that it is wrong and sure at once: it says little of a teacher
# whose confidence it does not match.
RANDOM_TEMPERATURE = 0.01


def apply(
    control: Control,
    logits: Logits,
    labels: Labels,
    seed: int,
    *,
    key: NDArray[Any],
) -> Logits:
    """`control(logits, labels, seed)`, a function of each example's key.

    The rows are put in the order of their keys `[n]`, each unique, and back again: in
    another order of the examples each is given the same logits.
    """
    order = np.argsort(key)
    made = np.empty_like(logits)
    made[order] = control(logits[order], labels[order], seed)
    return made


def matched_random(logits: Logits, labels: Labels, seed: int) -> Logits:
    """Keeps the probability of the true class, permutes those of the others.

    For each row anew, among the other classes; with two classes nothing changes.
    """
    known = np.flatnonzero(labels != UNLABELLED)
    rows = logits[known]
    others = _others(rows, labels[known])
    values = rows[others].reshape(len(rows), rows.shape[1] - 1)
    rows[others] = _generator(seed).permuted(values, axis=1).ravel()
    made = logits.copy()
    made[known] = rows
    return made


def within_class_shuffle(logits: Logits, labels: Labels, seed: int) -> Logits:
    """Permutes the rows among the examples of each class."""
    rng, made = _generator(seed), logits.copy()
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        made[rows] = logits[rng.permutation(rows)]
    return made


def class_mean(logits: Logits, labels: Labels, seed: int) -> Logits:
    """Each row becomes the mean probabilities of its class's rows, as logarithms."""
    del seed
    log_p = _log_softmax(logits)
    for label in np.unique(labels):
        rows = labels == label
        log_p[rows] = _log_mean(log_p[rows])
    return log_p.astype(logits.dtype)


def matched_smoothing(logits: Logits, labels: Labels, seed: int) -> Logits:
    """Label smoothing, as confident in the true class as the teacher is on average.

    With m the mean probability that the rows give their true classes, each row becomes
    m for its own and `(1 - m) / (classes - 1)` for every other, as logarithms.
    """
    del seed
    known = np.flatnonzero(labels != UNLABELLED)
    made = logits.copy()
    if known.size:
        log_p = _log_softmax(logits[known])
        others = _others(log_p, labels[known])
        # Of the others' sum and not of 1 - m, which may round to 0.
        rest = np.logaddexp.reduce(log_p, axis=1, where=others, initial=-np.inf)
        each = _log_mean(rest) - np.log(logits.shape[1] - 1)
        made[known] = np.where(others, each, _log_mean(log_p[~others]))
    return made


def across_class_shuffle(logits: Logits, labels: Labels, seed: int) -> Logits:
    """Permutes the rows among all examples, whatever their class."""
    del labels
    return logits[_generator(seed).permutation(len(logits))]


def random(logits: Logits, labels: Labels, seed: int) -> Logits:
    """`u / 0.01`, u uniform on [0, 1): the published study's random control."""
    del labels
    drawn = _generator(seed).uniform(size=logits.shape) / RANDOM_TEMPERATURE
    return drawn.astype(logits.dtype)


CONTROLS: dict[str, Control] = {
    "matched_random": matched_random,
    "within_class_shuffle": within_class_shuffle,
    "class_mean": class_mean,
    "matched_smoothing": matched_smoothing,
    "across_class_shuffle": across_class_shuffle,
    "random": random,
}

# Those that take rows as they are, and no column as the true class's: they are controls
# of rows of any other thing, too, each less a constant the logarithm of a distribution.
OF_ROWS = ("within_class_shuffle", "class_mean", "across_class_shuffle")


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, CONTROL])


def _others(logits: Logits, labels: Labels) -> NDArray[np.bool_]:
    """[n, classes]: every class but the row's own."""
    return np.arange(logits.shape[1]) != labels[:, None]


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    return exact - np.logaddexp.reduce(exact, axis=1, keepdims=True)


def _log_mean(log_p: NDArray[np.float64]) -> NDArray[np.float64] | np.float64:
    """The logarithm of the mean over rows."""
    return np.logaddexp.reduce(log_p, axis=0) - np.log(len(log_p))
