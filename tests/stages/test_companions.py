"""Companions: an earlier stage's examples beside a network's own, by their keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import data
from kdjax.data.dissimilarities import correlation_rdm
from kdjax.data.stored_rdm import FILE, write_rdm
from kdjax.errors import InputError
from kdjax.stages import companions

FIELDS = {"name": "digits"}
OWN = data.load("digits", seed=1)
THEIRS = data.load("digits", seed=0)
EVERY = [THEIRS.test, THEIRS.validation, THEIRS.train]  # not in the order of rows
KEY = np.concatenate([part.key for part in EVERY])
RDM = correlation_rdm(np.concatenate([part.x for part in EVERY]))


def build(folder, dataset=OWN, fields=FIELDS, **spec):
    write_rdm(folder / FILE, key=KEY, rdm=RDM)
    section = {"folder": str(folder), "config": {"data": fields, "seed": 0}}
    return companions.build(section | spec, dataset)


def test_they_are_the_stage_s_own_examples_but_for_those_it_tests_on(tmp_path):
    made = build(tmp_path)
    arrays = made.load()
    expected = np.concatenate([THEIRS.train.x, THEIRS.validation.x])
    np.testing.assert_array_equal(arrays["x"], expected)
    # joined by key: the dissimilarities are those of the examples themselves
    np.testing.assert_allclose(arrays["rdm"], correlation_rdm(expected), atol=1e-6)
    assert made.examples == len(expected)


def test_each_step_draws_others_and_their_dissimilarities(tmp_path):
    made = build(tmp_path, examples=5)
    arrays = jax.tree.map(jnp.asarray, made.load())
    x, rdm = made.draw(arrays, jax.random.key(0))
    np.testing.assert_allclose(rdm, correlation_rdm(np.asarray(x)), atol=1e-5)
    assert len(np.unique(x.reshape(5, -1), axis=0)) == 5
    again, _ = made.draw(arrays, jax.random.key(0))
    other, _ = made.draw(arrays, jax.random.key(1))
    np.testing.assert_array_equal(x, again)
    assert not np.array_equal(x, other)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"examples": 2}, r"companions\.examples: expected an integer in .3"),
        ({"examples": 10_000}, r"companions\.examples: expected an integer in .3"),
        ({"checkpont": "best"}, "companions: unknown name 'checkpont'"),
        ({"fields": {"name": "synthetic_wearable"}}, r"shape \(8, 8, 1\).* found \("),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, spec, message):
    with pytest.raises(InputError, match=message):
        build(tmp_path, **spec)


def test_another_scale_is_refused(tmp_path):
    scaled = data.dataset.standardise(OWN)
    with pytest.raises(InputError, match="is scaled otherwise than this stage's data"):
        build(tmp_path, dataset=scaled)
