"""The permutation test: the same decoder for any labels, and honest p-values."""

import time

import numpy as np
import pytest
from scipy.stats import kstest

from kdjax.errors import InputError
from kdjax.tasks.brain.decoding import decoders
from kdjax.tasks.brain.decoding.permutation import permutation_test, permuted
from kdjax.tasks.brain.decoding.predictions import out_of_fold


def accuracy(x, y, run, classes, **fields):
    fit = decoders.ridge(**fields)
    found = out_of_fold(x, y, run, fit=fit, classes=classes, calibration=None)
    return np.mean(found.logits.argmax(axis=1) == y)


@pytest.mark.parametrize("fields", [{}, {"penalties": (30,)}])
@pytest.mark.parametrize("voxels", [10, 40])
def test_each_permutation_is_decoded_as_the_labels_are(fields, voxels, responses):
    x, y, run = responses(signal=0.5, voxels=voxels)
    found = permutation_test(x, y, run, classes=3, permutations=8, seed=4, **fields)
    assert found.accuracy == accuracy(x, y, run, 3, **fields)
    labels = permuted(y, run, count=8, seed=4)
    for k in range(8):
        expected = accuracy(x, labels[:, k], run, 3, **fields)
        assert found.null[k] == pytest.approx(expected)
    reached = np.sum(found.null >= found.accuracy)
    assert found.p == (1 + reached) / 9


def test_labels_are_permuted_within_their_runs(responses):
    _, y, run = responses(runs=5)
    drawn = permuted(y, run, count=300, seed=0)
    assert drawn.shape == (30, 300)
    for number in range(1, 6):
        part = drawn[run == number]
        expected = np.tile(np.sort(y[run == number])[:, None], 300)
        np.testing.assert_array_equal(np.sort(part, axis=0), expected)
        assert np.abs((part == 1).mean(axis=1) - 1 / 3).max() < 0.12
    assert len(np.unique(drawn, axis=1).T) == 300
    np.testing.assert_array_equal(permuted(y, run, count=300, seed=0), drawn)
    assert (permuted(y, run, count=300, seed=1) != drawn).any()


def test_p_is_uniform_where_there_is_nothing_to_find(responses):
    """Runs of other levels, noise and mixes of classes, which permutations keep."""
    p = []
    for seed in range(100):
        x, y, run = responses(seed=seed, runs=3, signal=0, voxels=6)
        x = x + 3 * run[:, None] * np.random.default_rng(seed).normal(size=(1, 6))
        found = permutation_test(
            x.astype(np.float32), y, run, classes=3, permutations=39, seed=seed
        )
        assert abs(found.null.mean() - 1 / 3) < 0.12
        p.append(found.p)
    # ties of accuracy make p a little too large, never too small
    assert kstest(p, "uniform", alternative="greater").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.1) < 0.17
    assert 0.45 < np.mean(p) < 0.65


def test_a_strong_signal_has_the_least_p(responses):
    x, y, run = responses(signal=2, voxels=20)
    found = permutation_test(x, y, run, classes=3, permutations=199)
    assert found.accuracy > 0.9
    assert found.p == 1 / 200
    assert found.null.shape == (199,)


def test_permutations_are_decoded_in_parts(responses, monkeypatch):
    x, y, run = responses(signal=0.4)
    whole = permutation_test(x, y, run, classes=3, permutations=50)
    monkeypatch.setattr("kdjax.tasks.brain.decoding.permutation.ELEMENTS", 500)
    parts = permutation_test(x, y, run, classes=3, permutations=50)
    np.testing.assert_array_equal(whole.null, parts.null)
    assert (whole.accuracy, whole.p) == (parts.accuracy, parts.p)


def test_volumes_without_a_class_are_left_out(responses):
    x, y, run = responses()
    more = np.concatenate([x, 1e4 + x[:2]])
    labels = np.concatenate([y, [-1, -1]]).astype(np.int32)
    runs = np.concatenate([run, [1, 3]]).astype(np.int32)
    found = permutation_test(more, labels, runs, classes=3, permutations=20)
    expected = permutation_test(x, y, run, classes=3, permutations=20)
    np.testing.assert_array_equal(found.null, expected.null)


def test_what_cannot_be_tested(responses):
    x, y, run = responses()
    with pytest.raises(InputError, match=r"^permutations: expected an integer >= 1, "):
        permutation_test(x, y, run, classes=3, permutations=0)
    with pytest.raises(InputError, match=r"^config.decoder.penalties\[0\]: .* > 0, "):
        permutation_test(x, y, run, classes=3, penalties=(-1,))
    with pytest.raises(InputError, match=r"^run: expected 3 runs or more, found 2$"):
        permutation_test(x[:12], y[:12], run[:12], classes=3)
    with pytest.raises(InputError, match=r"^class 3: .* found none without run 1$"):
        permutation_test(x, y, run, classes=4)


def test_a_thousand_permutations_of_a_subject_like_haxby_s(responses):
    x, y, run = responses(runs=12, repeats=1, classes=8, voxels=470, signal=0.15)
    started = time.perf_counter()
    found = permutation_test(x, y, run, classes=8)
    assert time.perf_counter() - started < 20  # about 1 s
    assert found.null.mean() == pytest.approx(1 / 8, abs=0.01)
