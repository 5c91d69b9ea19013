"""A made-up subject as a dataset: which images it sees, and what its keys join."""

import numpy as np
import pytest

from kdjax import data
from kdjax.data.fmri import dataset as fmri
from kdjax.errors import InputError


def load(seed=0, **fields):
    return data.load("synthetic_fmri", seed=seed, **{"scale": 0.02} | fields)


def rows(dataset):
    """All examples, in order of their keys: x, y, group, key."""
    splits = dataset.train, dataset.validation, dataset.test
    fields = [np.concatenate([s[i] for s in splits]) for i in range(4)]
    order = np.argsort(fields[3])
    return [field[order] for field in fields]


@pytest.mark.parametrize("seed", [0, 3])
def test_it_sees_the_training_images_of_the_digits_and_no_others(seed):
    """A student of these digits is tested on what no teacher has seen."""
    seen, digits = load(seed), data.load("digits", seed=seed)
    _, y, _, key = rows(seen)
    order = np.argsort(digits.train.key)
    np.testing.assert_array_equal(key, digits.train.key[order])
    np.testing.assert_array_equal(y, digits.train.y[order])
    assert not np.isin(key, digits.test.key).any()
    assert not np.isin(key, digits.validation.key).any()
    assert seen.classes == digits.classes
    assert seen.synthetic
    assert "synthetic" in seen.name


def test_groups_are_runs_each_cleaned_by_itself():
    seen = load(images_a_run=100, validation=2, test=3)
    x, _, run, _ = rows(seen)
    assert set(run) == set(range(1, 11))
    assert set(seen.test.group) == {8, 9, 10}
    assert len(set(seen.validation.group)) == 2
    for number in range(1, 11):
        np.testing.assert_allclose(x[run == number].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(x[run == number].std(0), 1, atol=1e-5)
    series = load(images_a_run=100, series=True)
    assert series.train.x.shape[1:] == (*x.shape[1:], 1)


def test_voxels_are_those_of_the_region():
    sizes = {r: load(roi=r).train.x.shape[1] for r in ("ROI_V1", "ROI_LOC", "ROI_HVC")}
    assert sizes == {"ROI_V1": 20, "ROI_LOC": 11, "ROI_HVC": 29}
    both = load(roi=["ROI_V1", "ROI_LOC"])
    assert both.train.x.shape[1] == 31


def class_means(dataset):
    x, y, _, _ = rows(dataset)
    return np.stack([x[y == c].mean(axis=0) for c in range(10)])


def test_a_seed_is_another_session_of_the_same_subject():
    """Without noise the voxels answer alike; with it no two sessions are the same."""
    clear = [class_means(load(seed, signal=(1, 1))) for seed in (0, 1)]
    assert np.corrcoef(clear[0].ravel(), clear[1].ravel())[0, 1] > 0.99
    other = class_means(load(0, signal=(1, 1), subject=1))
    assert abs(np.corrcoef(clear[0].ravel(), other.ravel())[0, 1]) < 0.3
    x, _, _, key = rows(load(0, signal=(0, 0)))
    x_next, _, _, key_next = rows(load(1, signal=(0, 0)))
    both = np.intersect1d(key, key_next)
    again = x[np.isin(key, both)], x_next[np.isin(key_next, both)]
    assert abs(np.corrcoef(again[0].ravel(), again[1].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(rows(load(0, signal=(0, 0)))[0], x)


def test_digits_of_one_parent_are_alike():
    means = class_means(load(scale=0.2, roi="ROI_HVC", signal=(1, 1)))
    alike = np.corrcoef(means)
    same = np.equal.outer(fmri.PARENTS, fmri.PARENTS)
    assert alike[same & ~np.eye(10, dtype=bool)].mean() > alike[~same].mean() + 0.3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"roi": "ROI_V9"}, "config.data: roi: expected one of ROI_V1, .*'ROI_V9'"),
        ({"signal": (0.5, 2)}, r"config.data.signal\[1\]: expected a number in"),
        ({"signal": (0.5, 0.2)}, r"signal: expected low to high, found 0.5, 0.2"),
        ({"scale": 0}, r"scale: expected a number in \(0, 4\], found 0"),
        ({"subject": -1}, "config.data.subject: expected an integer in"),
        ({"images_a_run": 400}, r"config.data.test: expected .* \[1, 1\], found 2"),
        ({"validation": 19}, r"config.data.validation: .* in \[1, 17\], found 19"),
        ({"order": -1}, "config.data.order: expected an integer >= 0, found -1"),
    ],
)
def test_fields_that_do_not_fit_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        load(**{"test": 2} | fields)
