"""The rhythm of beats as a score: the formula, its units, what it is chosen on."""

import math

import numpy as np
import pytest

from kdjax import data
from kdjax.data.ecg.intervals import around
from kdjax.errors import InputError
from kdjax.tasks.anomaly import rhythm
from tests.tasks.anomaly.beating import NAME


def by_hand(steps, beat, *, past):
    """The irregularity of a beat, `steps[k]` being the interval before beat k + 1."""
    known = {k + 1: step for k, step in enumerate(steps)}
    near = range(beat - 21, beat) if past else range(beat - 10, beat + 11)
    usual = np.median([known[k] for k in near if k in known] or [np.nan])
    early = math.log(usual / known[beat]) if beat in known else math.nan
    pause = math.log(known[beat + 1] / usual) if beat + 1 in known else math.nan
    terms = [early] if past else [early, pause]
    return sum(max(term, 0) for term in terms if not math.isnan(term))


@pytest.mark.parametrize("past", [False, True])
def test_irregularity_is_the_formula(past):
    steps = np.random.default_rng(0).uniform(0.4, 1.2, 60)
    times = np.concatenate([[3.0], 3 + np.cumsum(steps)])
    found = rhythm.irregularity(around(times), past=past)
    expected = [by_hand(steps, beat, past=past) for beat in range(61)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found.max() > 0.3


def test_the_past_knows_nothing_of_what_comes():
    steps = np.random.default_rng(1).uniform(0.4, 1.2, 60)
    times = np.cumsum(steps)
    changed = times.copy()
    changed[41:] += 0.4 + np.arange(19)
    one, other = (
        rhythm.irregularity(around(each), past=True) for each in (times, changed)
    )
    np.testing.assert_allclose(one[:41], other[:41])
    assert (one[41:] != other[41:]).any()


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 2.0], [0.0, 1.0, 1.0, 2.0, 3.0]])
def test_few_beats_and_beats_at_one_time_are_no_error(times):
    for past in (False, True):
        found = rhythm.irregularity(around(np.array(times)), past=past)
        assert found.shape == (len(times),)
        assert np.isfinite(found).all()


def test_a_unit_is_what_few_normal_beats_have():
    dataset = data.load(NAME, seed=0)
    found = rhythm.of_dataset(dataset)
    parts = (dataset.train, dataset.validation)
    known = [k[p.y == 0] for p, k in zip(parts, dataset.intervals[:2], strict=True)]
    whole = rhythm.irregularity(np.concatenate(known), past=False)
    assert found.whole_unit == pytest.approx(np.quantile(whole, 0.99))
    y = np.concatenate([dataset.validation.y, dataset.test.y])
    assert len(found.whole) == len(found.past) == len(found.seconds) == len(y)
    assert np.median(found.past[y > 0]) > 3 * np.quantile(found.past[y == 0], 0.9)
    held = np.concatenate(dataset.intervals[1:])
    np.testing.assert_array_equal(found.seconds, np.nan_to_num(held[:, 21]))


def test_steady_beats_have_the_least_unit():
    """1 % of none: else a hair's breadth would be as odd as the oddest shape."""
    dataset = data.load(NAME, seed=0)
    steady = tuple(np.full_like(part, 0.8) for part in dataset.intervals)
    found = rhythm.of_dataset(dataset._replace(intervals=steady))
    assert found.whole_unit == found.past_unit == pytest.approx(math.log(1.05))


def test_abnormal_and_test_beats_choose_nothing():
    dataset = data.load(NAME, seed=0)
    before = rhythm.of_dataset(dataset)
    train, held, tested = (part.copy() for part in dataset.intervals)
    train[dataset.train.y > 0] *= np.linspace(0.2, 3, 44, dtype=np.float32)
    held[dataset.validation.y > 0] *= np.linspace(0.2, 3, 44, dtype=np.float32)
    tested *= np.linspace(0.2, 3, 44, dtype=np.float32)
    after = rhythm.of_dataset(dataset._replace(intervals=(train, held, tested)))
    assert before.whole_unit == after.whole_unit
    assert before.past_unit == after.past_unit
    assert (before.whole != after.whole).any()


def test_the_weight_makes_both_tails_count_alike():
    normal = np.exp(np.random.default_rng(0).normal(size=10_000))
    weight = rhythm.weight(normal)
    assert weight == pytest.approx(2.326, abs=0.1), "of a normal distribution"
    odd_shape = rhythm.combined(np.quantile(normal, [0.99]), np.zeros(1), weight)
    odd_rhythm = rhythm.combined(np.median(normal)[None], np.ones(1), weight)
    np.testing.assert_allclose(odd_shape, odd_rhythm, rtol=1e-3)
    assert np.isfinite(rhythm.combined(np.zeros(1), np.ones(1), weight)).all()


def test_data_without_intervals_have_no_rhythm(tmp_path):
    dataset = data.load("synthetic_ecg", seed=0)
    assert rhythm.of_dataset(dataset) is None
    rhythm.write(tmp_path, dataset)
    assert rhythm.read(tmp_path) is None
    with pytest.raises(InputError, match=r"^--rhythm: .*, found no rhythm.npz"):
        rhythm.needed(tmp_path)


def test_what_is_written_is_read(tmp_path):
    dataset = data.load(NAME, seed=0)
    rhythm.write(tmp_path, dataset)
    for one, other in zip(
        rhythm.needed(tmp_path), rhythm.of_dataset(dataset), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    (tmp_path / "rhythm.npz").write_bytes(b"no")
    with pytest.raises(InputError, match=r"rhythm.npz: "):
        rhythm.read(tmp_path)
