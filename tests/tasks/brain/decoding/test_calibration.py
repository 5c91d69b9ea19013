"""The temperature of decoded logits, and the numbers that say how good they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from kdjax.errors import InputError
from kdjax.tasks.brain.decoding.calibration import decoding_metrics, temperature


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
    assert decoding_metrics(more, labels) == decoding_metrics(logits, y)
    for function in (temperature, decoding_metrics):
        with pytest.raises(
            InputError, match=r"^y: expected a class in some row, found none$"
        ):
            function(logits, np.full(40, -1))
        with pytest.raises(
            InputError, match=r"^logits: .*, found shapes \(40, 3\) and \(39,\)$"
        ):
            function(logits, y[1:])


def test_metrics_are_what_they_say():
    logits, y = drawn(60, 5, sharpness=2)
    found = decoding_metrics(logits, y)
    chances = softmax(logits, axis=1)
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == y).mean())
    assert found["log_likelihood"] == pytest.approx(likelihood(logits, y, 1), rel=1e-5)
    assert found["log_likelihood"] == -found["loss"]
    assert found["entropy"] == pytest.approx(entropy(chances, axis=1).mean())
    assert np.sum(found["confusion"]) == found["examples"] == 60
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == y
    bins = np.ceil(confidence * 15)
    error = sum(abs((confidence - right)[bins == b].sum()) for b in range(1, 16))
    assert found["ece"] == pytest.approx(error / 60, rel=1e-4)


@pytest.mark.parametrize("classes", [2, 8])
def test_chance_is_one_of_the_classes(classes):
    """The mean of one-against-rest accuracies would be .78 of eight."""
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(classes, dtype=np.int32), 2000)
    logits = rng.normal(size=(len(y), classes))
    found = decoding_metrics(logits, y)
    assert found["accuracy"] == pytest.approx(1 / classes, abs=0.015)
    guess, every = logits.argmax(axis=1), np.arange(classes)[:, None]
    against_rest = np.mean((guess == every) == (y == every))
    assert against_rest == pytest.approx({2: 0.5, 8: 0.78}[classes], abs=0.015)
    sure = decoding_metrics(50.0 * np.eye(classes)[y], y)
    assert (sure["accuracy"], sure["entropy"]) == (1, pytest.approx(0, abs=1e-9))
    even = decoding_metrics(np.zeros((len(y), classes)), y)
    assert even["entropy"] == pytest.approx(np.log(classes))
    assert even["log_likelihood"] == pytest.approx(-np.log(classes), rel=1e-5)
