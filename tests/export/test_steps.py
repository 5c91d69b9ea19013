"""Preprocessing in a graph does what NumPy does."""

import jax
import numpy as np
import pytest

from kdjax.data.preprocessing import STEPS, preprocess
from kdjax.errors import InputError
from kdjax.export import steps

CASES = {
    "divide": ({"by": 255}, 0),
    "range_of_example": ({}, 5e-7),
    "standardise": ({"mean": [1.5, -3.0, 0.1], "std": [0.2, 1.0, 7.0]}, 1e-6),
    "to_range": ({"low": [-2.0, 0.0, 1.0], "high": [2.0, 0.0, 5.0]}, 1e-6),
}


@pytest.mark.parametrize("name", CASES)
def test_each_step_in_the_graph_is_numpys(name):
    constants, atol = CASES[name]
    rng = np.random.default_rng(0)
    x = (3 * rng.normal(size=(20, 16, 3)) + 2).astype(np.float32)
    x[3, :, 1] = 4.0  # flat
    step = {"name": name, **constants}
    ours = jax.jit(steps.in_graph([step], where="here"))(x)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, preprocess([step], x), rtol=1e-6, atol=atol)


def test_steps_follow_one_another():
    x = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    both = [{"name": "divide", "by": 2}, {"name": "range_of_example"}]
    ours = steps.in_graph(both, where="here")(x)
    np.testing.assert_allclose(ours, preprocess(both, x), atol=5e-7)


def test_a_step_that_needs_the_whole_file_is_named():
    refused = {"name": "by_file", "what": "changes by the file's own mean"}
    with pytest.raises(InputError, match=r"here: the step 'by_file': changes by"):
        steps.in_graph([refused], where="here")
    assert set(STEPS) == {*steps.STEPS, "by_file"}
