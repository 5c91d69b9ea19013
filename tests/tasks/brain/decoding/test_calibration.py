"""The numbers that say how good decoded logits are."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from kdjax.errors import InputError
from kdjax.tasks.brain.decoding.calibration import decoding_metrics


def drawn(n, classes, *, sharpness=1.0):
    """Logits whose classes are drawn from their softmax: calibrated as they are."""
    rng = np.random.default_rng(0)
    logits = sharpness * rng.normal(size=(n, classes))
    chances = softmax(logits, axis=1)
    y = np.array([rng.choice(classes, p=p) for p in chances], np.int32)
    return logits, y


def test_rows_without_a_class_count_for_nothing():
    logits, y = drawn(40, 3)
    more = np.concatenate([logits, 1e3 * np.eye(3)])
    labels = np.concatenate([y, [-1, -1, -1]]).astype(np.int32)
    assert decoding_metrics(more, labels) == decoding_metrics(logits, y)
    with pytest.raises(InputError, match=r"^y: expected a class in some row, found"):
        decoding_metrics(logits, np.full(40, -1))


def test_metrics_are_what_they_say():
    logits, y = drawn(60, 5, sharpness=2)
    found = decoding_metrics(logits, y)
    chances = softmax(logits, axis=1)
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == y).mean())
    likelihood = log_softmax(logits, axis=1)[np.arange(60), y].mean()
    assert found["log_likelihood"] == pytest.approx(likelihood, rel=1e-5)
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
