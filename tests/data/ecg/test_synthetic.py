import numpy as np
import pytest

from kdjax import data
from kdjax.data.ecg.synthetic import _wander
from kdjax.errors import InputError


def load(**fields):
    return data.load("synthetic_ecg", **{"seed": 0} | fields)


def mean_beats(**fields):
    """The mean beat [320] of N, S and V without noise."""
    made = load(noise=0, wander=0, beats=60, **fields)
    x, y = made.train.x[:, :, 0], made.train.y
    return [x[y == c].mean(0) for c in range(3)]


def test_says_that_it_is_synthetic():
    made = load()
    assert made.synthetic
    assert "synthetic" in made.name


def test_shapes_and_splits():
    made = load(
        patients=5, beats=20, leads=2, abnormal=0.2, validation_groups=1, test_groups=2
    )
    assert [part.x.shape for part in made[2:5]] == [(n, 320, 2) for n in (40, 20, 40)]
    assert set(made.test.group) == {3, 4}
    assert made.classes == ("N", "S", "V")
    for part in made[2:5]:
        counts = np.array([12, 4, 4]) * len(set(part.group))
        assert np.bincount(part.y).tolist() == counts.tolist()
        np.testing.assert_allclose(part.x.max(1), 1, atol=1e-6)
        np.testing.assert_allclose(part.x.min(1), -1, atol=1e-6)


def test_recordings_do_not_depend_on_the_seed():
    made, other = load(), load(seed=1)
    np.testing.assert_array_equal(made.test.x, other.test.x)
    assert len({tuple(set(load(seed=s).validation.group)) for s in range(4)}) > 1
    assert not np.array_equal(made.test.x, load(recording_seed=1).test.x)


def test_r_is_the_highest_point_at_sample_140():
    made = load(noise=0, wander=0)
    normal = made.train.x[data.normals(made.train)]
    assert (normal[:, :, 0].argmax(1) == 140).all()


def test_classes_have_their_morphology():
    normal, early, wide = mean_beats()
    baseline = np.median(normal)

    def above(beat, level=0.0):
        return (beat[110:170] > level).sum()

    assert above(wide) > 2 * above(normal), "V has a wide QRS"
    assert above(early) == pytest.approx(above(normal), abs=2)
    t_wave = slice(140 + 75, 140 + 115)
    assert normal[t_wave].max() > baseline + 0.2
    assert wide[t_wave].min() < np.median(wide) - 0.2, "V's T is inverted"
    p_wave = slice(140 - 70, 140 - 40)
    assert normal[p_wave].max() > baseline + 0.1
    assert early[p_wave].min() < np.median(early), "S has another P"


def test_patients_differ_more_than_their_beats():
    made = load(noise=0, wander=0)
    rows = data.normals(made.train)
    x, group = made.train.x[rows, :, 0], made.train.group[rows]
    means = np.array([x[group == g].mean(0) for g in np.unique(group)])
    within = np.mean([x[group == g].var(0).mean() for g in np.unique(group)])
    assert means.var(0).mean() > within


def test_noise_and_wander_are_what_they_say():
    rng = np.random.default_rng(0)
    wander = _wander(200, 0.5, rng)
    assert wander.shape == (200, 320, 1)
    assert 0.4 < abs(wander).max() <= 0.5
    smooth, rough = load(noise=0).train.x, load(noise=0.1).train.x
    assert np.diff(rough, axis=1).std() > 2 * np.diff(smooth, axis=1).std()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patients", 2),
        ("beats", 2),
        ("leads", 0),
        ("abnormal", 0.5),
        ("noise", -1.0),
        ("wander", -1),
        ("test_groups", 11),
        ("validation_groups", 9),
    ],
)
def test_impossible_sizes_are_refused(field, value):
    with pytest.raises(InputError, match=f"config.data.{field}: expected"):
        load(**{field: value})
