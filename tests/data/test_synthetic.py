import numpy as np
import pytest

from kdjax import data
from kdjax.errors import InputError


def load(**fields):
    return data.load("synthetic_wearable", **{"seed": 0} | fields)


def test_says_that_it_is_synthetic():
    made = load()
    assert made.synthetic
    assert "synthetic" in made.name


def test_shapes_and_splits():
    made = load(subjects=5, classes=3, windows=4, samples=32, channels=2, test_groups=1)
    assert [s.x.shape for s in made[2:5]] == [(24, 32, 2), (24, 32, 2), (12, 32, 2)]
    assert set(made.test.group) == {4}
    assert all(np.ptp(np.bincount(s.y)) == 0 for s in made[2:5])


def test_recordings_do_not_depend_on_the_seed():
    made, other = load(), load(seed=1)
    np.testing.assert_array_equal(made.test.key, other.test.key)
    assert set(made.validation.group) != set(load(seed=2).validation.group)
    assert not np.array_equal(made.test.x, load(recording_seed=1).test.x)


def test_each_class_has_its_own_frequency():
    test = load(noise=0.0).test
    spectrum = np.abs(np.fft.rfft(test.x[:, :, 0], axis=1))
    np.testing.assert_array_equal(spectrum[:, 1:].argmax(1) + 1, test.y + 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subjects", 2),
        ("classes", 1),
        ("test_groups", 7),
        ("noise", -1.0),
        ("noise", float("nan")),
    ],
)
def test_impossible_sizes_are_refused(field, value):
    with pytest.raises(InputError, match=f"config.data.{field}: expected"):
        load(**{field: value})
