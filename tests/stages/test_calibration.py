"""The temperature of logits: the likeliest, at its bounds, of the labelled rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from kdjax.errors import InputError
from kdjax.stages.calibration import temperature


def drawn(n, classes, *, seed=0, sharpness=1.0):
    """Logits whose classes are drawn from their softmax: calibrated as they are."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(n, classes))
    chances = softmax(logits, axis=1)
    y = np.array([rng.choice(classes, p=p) for p in chances], np.int32)
    return logits, y


def likelihood(logits, y, t):
    return log_softmax(logits / t, axis=1)[np.arange(len(y)), y].mean()


def test_the_temperature_that_was_used_is_found():
    logits, y = drawn(8_000, 4)
    for t in (0.3, 1.0, 25.0):
        assert temperature(t * logits, y) == pytest.approx(t, rel=0.05)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    n=st.integers(2, 30),
    classes=st.integers(2, 6),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
)
def test_no_other_temperature_is_likelier(seed, n, classes, scale, shift):
    logits, y = drawn(n, classes, seed=seed)
    found = temperature(logits, y)
    size = np.sqrt(np.square(logits - logits.mean(axis=1, keepdims=True)).mean())
    for t in np.geomspace(0.02 * size, 1000 * size, 60):
        assert likelihood(logits, y, t) <= likelihood(logits, y, found) + 1e-6
    moved = temperature(scale * (logits + shift), y)
    assert moved == pytest.approx(scale * found, rel=1e-3)


def test_logits_never_wrong_and_ones_that_say_nothing():
    y = np.array([0, 1, 2, 0])
    right = 6.0 * np.eye(3)[y]
    size = 6 * np.sqrt(2) / 3
    assert temperature(right, y) == pytest.approx(0.02 * size, rel=1e-3)
    wrong = temperature(right, (y + 1) % 3)
    assert wrong == pytest.approx(1000 * size, rel=1e-3)
    assert temperature(np.ones((4, 3)), y) == 1


def test_rows_without_a_class_count_for_nothing():
    logits, y = drawn(40, 3)
    more = np.concatenate([logits, 1e3 * np.eye(3)])
    labels = np.concatenate([y, [-1, -1, -1]]).astype(np.int32)
    assert temperature(more, labels) == temperature(logits, y)
    none = np.full(40, -1)
    with pytest.raises(InputError, match=r"^y: expected a class in some row, found"):
        temperature(logits, none)
    with pytest.raises(InputError, match=r"^logits: .*, found shapes \(40, 3\) and"):
        temperature(logits, y[1:])
