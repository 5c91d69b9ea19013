"""Raw examples: what a loader gives before its own steps."""

import numpy as np
import pytest

from kdjax import data
from kdjax.data.preprocessing import are_raw, left_raw, preprocess


@pytest.mark.parametrize(
    ("name", "atol"),
    # heart beats are scaled in float64, of which raw ones lose digits
    [("synthetic_wearable", 0), ("digits", 0), ("synthetic_ecg", 5e-7)],
)
def test_a_loaders_steps_are_all_that_is_between_raw_and_loaded(name, atol):
    loaded = data.load(name, seed=0)
    with left_raw():
        raw = data.load(name, seed=0)
    assert raw.preprocessing == loaded.preprocessing
    assert raw.test.x.dtype == np.float32
    np.testing.assert_array_equal(raw.test.key, loaded.test.key)
    assert abs(raw.test.x - loaded.test.x).max() > 0.01
    again = preprocess(raw.preprocessing, raw.test.x)
    np.testing.assert_allclose(again, loaded.test.x, rtol=0, atol=atol)


def test_loaders_scale_again_after_an_error():
    with pytest.raises(RuntimeError, match="ended"), left_raw():
        raise RuntimeError("ended")
    assert not are_raw()
