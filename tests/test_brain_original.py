"""What the fault table's config does itself, for kdjax does not: each is that fault."""

import jax
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from kdjax import data
from kdjax.configs import brain_original

FIELDS = {"roi": "ROI_LOC", "scale": 0.02, "signal": (0.5, 0.5), "images_a_run": 240}
SPLITS = ("train", "validation", "test")


def rows(dataset, field):
    return np.concatenate([getattr(getattr(dataset, s), field) for s in SPLITS])


def load(name, **fields):
    return data.load(f"{brain_original.HERE}:{name}", seed=0, **fields)


def test_rows_in_order_of_time_are_said_to_be_the_table_s():
    true = data.load("synthetic_fmri", seed=0, **FIELDS)
    found = load("in_order_of_the_table", **FIELDS)
    images = data.load("digits", seed=0).train
    np.testing.assert_array_equal(rows(found, "x"), rows(true, "x"))
    key, y, run = (rows(found, field) for field in ("key", "y", "group"))
    assert sorted(key) == sorted(images.key)
    label = dict(zip(images.key, images.y, strict=True))
    assert [label[k] for k in key] == y.tolist(), "a key keeps its own class"
    in_time = np.argsort(run, kind="stable")
    assert (np.diff(y[in_time]) >= 0).all(), "class by class, as time goes"
    assert 0.05 < np.mean(rows(true, "y") == y) < 0.15, "no better than chance"
    assert found.synthetic


def test_the_epoch_is_chosen_on_the_test_images():
    found, honest = load("chosen_on_test"), data.load("digits", seed=0)
    np.testing.assert_array_equal(found.validation.key, found.test.key)
    for split in ("train", "test"):
        for one, other in zip(
            getattr(found, split), getattr(honest, split), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_only_the_test_images_are_cropped():
    found, honest = load("crops_at_test"), data.load("digits", seed=0)
    np.testing.assert_array_equal(found.train.x, honest.train.x)
    np.testing.assert_array_equal(found.test.y, honest.test.y)
    assert found.test.x.shape == honest.test.x.shape
    assert abs(found.test.x - honest.test.x).mean() > 0.03
    both = load("chosen_on_crops_at_test")
    np.testing.assert_array_equal(both.test.x, found.test.x)
    np.testing.assert_array_equal(both.validation.x, found.test.x)


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_the_second_softmax_is_of_probabilities(temperature):
    rng = np.random.default_rng(0)
    student, p = rng.normal(size=(5, 4)), softmax(rng.normal(size=(5, 4)), axis=1)
    twice = softmax(p / temperature, axis=1)
    log_q = log_softmax(student / temperature, axis=1)
    expected = -(temperature**2) * np.sum(twice * log_q, axis=1).mean()
    value = jax.jit(
        lambda s, p: brain_original.second_softmax(s, p, temperature=temperature)
    )(student, p)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
