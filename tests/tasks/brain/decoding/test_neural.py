"""Networks as decoders: what they learn, what the seed draws, what they refuse."""

import numpy as np
import pytest
from scipy.special import log_softmax

from kdjax.errors import InputError
from kdjax.tasks.brain.decoding import decoders, neural
from kdjax.tasks.brain.decoding.predictions import out_of_fold
from kdjax.training.loop import Diverged

TINY = {"name": "network", "model": {"name": "mlp", "widths": [8]}, "epochs": 3}
RESNET = {"name": "resnet", "width": 1 / 16, "stem": "imagenet"}
SOFTMAX = {"name": "mlp", "widths": []}


@pytest.fixture(scope="module")
def volumes(responses):
    """x, y, run, and those of runs that no decoder is fitted to."""
    x, y, run = responses(runs=8, informative=10)
    train = run <= 5
    return (x[train], y[train], run[train]), (x[~train], y[~train])


def logits(section, volumes, *, seed=0):
    known, (x, _) = volumes
    return decoders.build(section, seed=seed)(*known, 3)(x)


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 60},
        {"epochs": 60, "voxels": 8, "model": SOFTMAX},
        {"epochs": 60, "model": {"name": "mlp", "dtype": "bfloat16"}},
    ],
    ids=["mlp", "softmax", "bfloat16"],
)
def test_signal_is_decoded(fields, volumes):
    found = logits({"name": "network"} | fields, volumes)
    assert found.dtype == np.float32
    assert found.shape == (18, 3)
    assert np.mean(found.argmax(axis=1) == volumes[1][1]) > 0.7


def test_a_convolution_sees_neighbours_as_neighbours():
    """Voxels of either sign, which change it with every voxel or with every second."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(2, dtype=np.int32), 40)
    place = np.arange(32) // (2 - y)[:, None]
    sign = rng.choice([-1, 1], (80, 1))
    x = (sign * (-1) ** place + rng.normal(0, 0.3, (80, 32))).astype(np.float32)
    section = {
        "name": "network",
        "model": {"name": "convnet", "widths": [8], "windows": [3], "strides": [1]},
        "learning_rate": 0.01,
        "epochs": 20,
    }
    train = np.arange(80) % 2 == 0
    predict = decoders.build(section)(x[train], y[train], np.arange(40) % 4, 2)
    assert np.mean(predict(x[~train]).argmax(axis=1) == y[~train]) > 0.9


def test_noise_is_not(responses):
    x, y, run = responses(runs=40, signal=0)
    train, test = run <= 10, run > 10
    fit = decoders.build(TINY | {"epochs": 30})
    guess = fit(x[train], y[train], run[train], 3)(x[test]).argmax(axis=1)
    assert abs(np.mean(guess == y[test]) - 1 / 3) < 0.12


def test_the_seed_is_all_that_is_drawn(volumes):
    found = logits(TINY, volumes, seed=3)
    np.testing.assert_array_equal(logits(TINY, volumes, seed=3), found)
    assert not np.allclose(logits(TINY, volumes, seed=4), found, atol=0.01)


def test_without_layers_it_is_logistic_regression(responses):
    x, y, run = responses(runs=20, voxels=5, signal=0.5)
    section = {
        "name": "network",
        "model": SOFTMAX,
        "epochs": 600,
        "batch_size": len(y),
        "learning_rate": 0.02,
        "weight_decay": 0,
    }
    found = decoders.build(section)(x, y, run, 3)(x)
    expected = decoders.logistic(penalties=[1e-4])(x, y, run, 3)(x)
    np.testing.assert_allclose(
        log_softmax(found, axis=1), log_softmax(expected, axis=1), atol=0.01
    )


def test_every_epoch_sees_each_volume_once():
    batches = list(neural._batches(7, epochs=6, size=4, seed=2))
    assert [len(rows) for rows in batches] == [4] * 11
    seen = np.concatenate(batches)
    orders = seen[:42].reshape(6, 7)
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(7), (6, 1)))
    assert len({tuple(order) for order in orders}) == 6
    (rows,) = neural._batches(3, epochs=1, size=8, seed=0)
    assert sorted(np.bincount(rows)) == [2, 3, 3]


def test_folds_of_any_size_are_one_program(responses, monkeypatch):
    """Of 6 runs 5 train a fold's decoder, and 3 or 4 those of its temperature."""
    x, y, run = responses(runs=6)
    made, compiled = [], neural._compiled
    monkeypatch.setattr(
        neural, "_compiled", lambda *given: made.append(compiled(*given)) or made[-1]
    )
    fit = decoders.build(TINY)
    out_of_fold(x, y, run, fit=fit, classes=3, calibration=3)
    (programs,) = made
    assert programs.step._cache_size() == programs.logits._cache_size() == 1


def test_a_small_residual_network_runs_over_voxels(volumes):
    known, (x, _) = volumes
    section = TINY | {"model": RESNET, "epochs": 1}
    predict = decoders.build(section)(*known, 3)
    found = predict(x)
    assert found.shape == (18, 3)
    assert np.isfinite(found).all()
    assert np.ptp(found, axis=0).min() > 1e-3
    # how many volumes are predicted together says nothing
    np.testing.assert_allclose(predict(x[:5]), found[:5], atol=1e-5)


def test_a_constant_voxel_says_nothing_and_nan_is_refused(volumes, responses):
    (x, y, run), (new, _) = volumes
    x, new = x.copy(), new.copy()
    x[:, 3], new[:, 3] = 7, 7
    fit = decoders.build(TINY)
    found = fit(x, y, run, 3)(new)
    x[:, 3], new[:, 3] = -900, -900
    np.testing.assert_array_equal(fit(x, y, run, 3)(new), found)
    x[4, 3] = np.nan
    with pytest.raises(InputError, match=r"^x: .*, found nan in volume 4, voxel 3$"):
        out_of_fold(x, y, run, fit=fit, classes=3)


def test_a_rate_at_which_it_diverges(volumes):
    section = TINY | {"learning_rate": 1e30}
    with pytest.raises(Diverged, match=r"^config.decoder: the loss is .* after 3 ep"):
        logits(section, volumes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, r"^config.decoder.epochs: expected an integer >= 1, found 0$"),
        ({"batch_size": 0}, r"^config.decoder.batch_size: expected an integer >= 1,"),
        ({"learning_rate": 0}, r"^config.decoder.learning_rate: .* > 0, found 0$"),
        ({"weight_decay": -1}, r"^config.decoder.weight_decay: .* >= 0, found -1$"),
        ({"seed": 1}, r"^config.decoder.seed: unknown field"),
        ({"epoch": 1}, r"^config.decoder.epoch: unknown .*did you mean 'epochs'"),
        ({"model": {"depth": 18}}, r"^config.decoder.model.name: missing"),
        ({"model": {"name": "mlpp"}}, r"^config.decoder.model.name: .* mean 'mlp'"),
        (
            {"model": {"name": "mlp", "widths": [0]}},
            r"^config.decoder.model.widths\[0\]: expected an integer >= 1, found 0$",
        ),
        (
            {"model": {"name": "resnet", "width": 0.3}},
            r"^config.decoder.model.width: expected a multiple of 1/64, found 0.3$",
        ),
    ],
)
def test_fields_that_are_wrong(fields, message):
    with pytest.raises(InputError, match=message):
        decoders.build(TINY | fields)
