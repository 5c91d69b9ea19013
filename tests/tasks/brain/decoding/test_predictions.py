"""Predictions of left-out runs: nothing of these is used, not by the temperature."""

import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.stages.calibration import temperature
from kdjax.tasks.brain.decoding import decoders
from kdjax.tasks.brain.decoding.calibration import decoding_metrics
from kdjax.tasks.brain.decoding.folds import Fold, k_fold, leave_one_run_out
from kdjax.tasks.brain.decoding.predictions import calibrated, in_sample, out_of_fold

QUICK = {"name": "class_mean"}
CHOOSING = [
    {"name": "ridge"},
    {"name": "ridge", "voxels": 6},
    {"name": "logistic", "penalties": (1, 100), "voxels": 6},
    {"name": "lda", "voxels": 6},
    {"name": "class_mean", "voxels": 6},
]


def watched(section, probe):
    """The decoder, and a list of what each one fitted says of `probe`."""
    fit, said = decoders.build(section), []

    def watching(x, y, run, classes):
        predict = fit(x, y, run, classes)
        said.append(predict(probe))
        return predict

    return watching, said


@pytest.mark.parametrize("section", CHOOSING, ids=lambda s: "-".join(map(str, s)))
def test_nothing_of_the_tested_run_is_used(section, responses):
    x, y, run = responses(voxels=12)
    rng = np.random.default_rng(5)
    tested = run == 2
    other_x, other_y = x.copy(), y.copy()
    other_x[tested] = 1e3 * rng.normal(size=(tested.sum(), 12))
    other_y[tested] = rng.permutation(other_y[tested])
    fits = []
    for responses_, labels in ((x, y), (other_x, other_y)):
        fit, said = watched(section, x[:5])
        found = out_of_fold(responses_, labels, run, fit=fit, classes=3)
        # of each fold three decoders for the temperature, then the one that predicts
        fits.append((said[4:8], found.temperatures))
        assert len(said) == 16
    np.testing.assert_array_equal(fits[0][0], fits[1][0])
    assert fits[0][1][1] == fits[1][1][1]
    assert (fits[0][1] != fits[1][1])[[0, 2, 3]].all()


def test_rows_are_those_of_a_decoder_and_temperature_of_other_runs(responses):
    x, y, run = responses(runs=5, signal=0.5)
    fit = decoders.build({"name": "lda"})
    found = out_of_fold(x, y, run, fit=fit, classes=3, calibration=2, seed=3)
    assert found.logits.dtype == np.float32
    for k, fold in enumerate(leave_one_run_out(run)):
        train, test, _ = fold
        inner_x, inner_y, inner_run = x[train], y[train], run[train]
        held_out = np.empty((len(train), 3))
        for inside, outside, _ in k_fold(inner_run, count=2, seed=3):
            predict = fit(inner_x[inside], inner_y[inside], inner_run[inside], 3)
            held_out[outside] = predict(inner_x[outside])
        t = temperature(held_out, inner_y)
        assert found.temperatures[k] == pytest.approx(t, rel=1e-6)
        expected = fit(inner_x, inner_y, inner_run, 3)(x[test]) / t
        np.testing.assert_allclose(found.logits[test], expected, rtol=1e-5)
        assert (found.fold[test] == k).all()


def test_the_temperature_calibrates(responses):
    x, y, run = responses(runs=8, repeats=12, signal=0.3)
    for section in ({"name": "ridge"}, {"name": "logistic"}, QUICK):
        fit = decoders.build(section)
        scores = []
        for calibration in (None, 5):
            found = out_of_fold(x, y, run, fit=fit, classes=3, calibration=calibration)
            assert (found.temperatures == 1).all() == (calibration is None)
            scores.append(decoding_metrics(found.logits, y))
        raw, better = scores
        assert better["accuracy"] == raw["accuracy"]
        assert better["log_likelihood"] > raw["log_likelihood"]
        assert better["ece"] < min(0.1, raw["ece"])


def test_folds_of_several_runs(responses):
    x, y, run = responses(runs=6)
    folds = k_fold(run, count=3, seed=0)
    fit = decoders.build(QUICK)
    found = out_of_fold(x, y, run, fit=fit, classes=3, folds=folds)
    assert found.temperatures.shape == (3,)
    for k, fold in enumerate(folds):
        assert (found.fold[fold.test] == k).all()


def test_volumes_without_a_class_teach_nothing_and_are_predicted(responses):
    x, y, run = responses()
    more = np.concatenate([x, 1e4 + x[:3]])
    labels = np.concatenate([y, [-1, -1, -1]]).astype(np.int32)
    runs = np.concatenate([run, [1, 2, 4]]).astype(np.int32)
    fit, said = watched(QUICK, more[-3:])
    found = out_of_fold(more, labels, runs, fit=fit, classes=3)
    expected = out_of_fold(x, y, run, fit=decoders.build(QUICK), classes=3)
    np.testing.assert_allclose(found.logits[: len(x)], expected.logits, rtol=1e-5)
    assert found.fold[-3:].tolist() == [0, 1, 3]
    for k, fold in enumerate(found.fold[-3:]):
        own = said[4 * fold + 3][k] / np.float32(found.temperatures[fold])
        np.testing.assert_allclose(found.logits[len(x) + k], own, rtol=1e-6)


def test_in_sample_any_labels_are_right_and_out_of_fold_none_are(responses):
    x, y, run = responses(signal=0, voxels=100, runs=6)
    fit = decoders.build({"name": "ridge", "penalties": (1,)})
    found = in_sample(x, y, run, fit=fit, classes=3)
    assert (found.logits.argmax(axis=1) == y).all()
    assert (found.fold == -1).all()
    assert found.temperatures.tolist() == [1]
    honest = out_of_fold(x, y, run, fit=fit, classes=3)
    assert np.mean(honest.logits.argmax(axis=1) == y) < 0.55


def test_a_decoder_of_all_volumes_is_for_others(responses):
    x, y, run = responses(runs=6)
    new = responses(seed=1)[0]
    fit = decoders.build(QUICK)
    found = calibrated(x, y, run, fit=fit, classes=3)
    expected = fit(x, y, run, 3)(new) / np.float32(found.temperature)
    np.testing.assert_array_equal(found.logits(new), expected)
    again = calibrated(x, y, run, fit=fit, classes=3, seed=1)
    assert again.temperature != found.temperature


def test_three_runs_are_enough(responses):
    x, y, run = responses(runs=3, signal=2)
    for name in decoders.DECODERS:
        fit = decoders.build({"name": name})
        found = out_of_fold(x, y, run, fit=fit, classes=3)
        assert np.mean(found.logits.argmax(axis=1) == y) > 0.8


def test_what_cannot_be_predicted(responses):
    x, y, run = responses()
    fit = decoders.build(QUICK)
    with pytest.raises(InputError, match=r"^run: expected 3 runs or more, found 2$"):
        out_of_fold(x[:12], y[:12], run[:12], fit=fit, classes=3)
    with pytest.raises(InputError, match=r"^run 3: expected a class in some volume"):
        out_of_fold(
            x, np.where(run == 3, -1, y).astype(np.int32), run, fit=fit, classes=3
        )
    once = np.where((y == 2) & (run != 4), 0, y).astype(np.int32)
    with pytest.raises(
        InputError, match=r"^class 2: .* each fold, found none without run 4$"
    ):
        out_of_fold(x, once, run, fit=fit, classes=3)
    twice = np.where((y == 2) & (run < 3), 0, y).astype(np.int32)
    with pytest.raises(
        InputError, match=r"^class 2: .* each fold, found none without run 4$"
    ):
        out_of_fold(x, twice, run, fit=fit, classes=3)
    uncalibrated = out_of_fold(x, twice, run, fit=fit, classes=3, calibration=None)
    assert np.isfinite(uncalibrated.logits).all()
    leaky = [Fold(np.arange(len(x)), np.arange(len(x)), (1, 2, 3, 4))]
    with pytest.raises(InputError, match=r"^folds: run 1: .*, found both$"):
        out_of_fold(x, y, run, fit=fit, classes=3, folds=leaky)
    with pytest.raises(InputError, match=r"^calibration: expected an integer >= 2, "):
        out_of_fold(x, y, run, fit=fit, classes=3, calibration=1)
    with pytest.raises(InputError, match=r"^run: expected 3 runs or more, found 1$"):
        in_sample(x, y, np.ones(len(x), int), fit=fit, classes=3)
    with pytest.raises(InputError, match=r"^class 3: expected 1 or more training vol"):
        in_sample(x, y, run, fit=fit, classes=4)
