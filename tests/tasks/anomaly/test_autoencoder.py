"""The autoencoder's step against the formula, that it learns, and what it leaves."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.stages import networks
from kdjax.tasks.anomaly import autoencoder, scoring
from kdjax.training.metrics import read_log
from tests.running import DATA, RATE, run, sgd, take_step, training

MODEL = {"name": "beatgan", "latent": 3, "width": 2}
ADAM = {"name": "adam", "schedule": {"name": "constant", "value": 3e-3}}
LONG = training(epochs=20, eval_epochs=20, checkpoint_epochs=20, log_steps=1)


def make(**changes):
    sections = {
        "data": DATA,
        "model": MODEL,
        "training": training(),
        "optimizer": sgd(),
        "seed": 0,
    }
    return autoencoder.make(**(sections | changes))


def assert_down_the_gradient(module, before, after, metrics, x):
    """The loss is the plain mean square error, and the step is RATE times its slope."""

    def loss(params):
        variables = {"params": params, **before.model_state}
        (made, _), _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
        return jnp.mean((made - x) ** 2)

    value, gradient = jax.jit(jax.value_and_grad(loss))(before.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    expected = jax.tree.map(lambda p, g: p - RATE * g, before.params, gradient)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-6)
    jax.tree.map(close, after.params, expected)


def test_a_step_is_gradient_descent_on_the_mean_square_error():
    before, after, metrics, x = take_step(make())
    module = networks.models.build_gan(**MODEL).generator  # without a mapped axis
    assert_down_the_gradient(module, before, after, metrics, x)
    assert int(after.step) == 1
    same = jax.tree.map(jnp.allclose, before.model_state, after.model_state)
    assert not any(jax.tree.leaves(same)), "every batch statistic moves"


@pytest.mark.parametrize(
    "model",
    [
        {"name": "dense_autoencoder", "latent": 3, "widths": [8]},
        {"name": "conv_autoencoder", "latent": 3, "widths": [4, 6]},
    ],
)
def test_every_autoencoder_is_trained(model):
    """One step down the gradient of the plain mean square error."""
    before, after, metrics, x = take_step(make(model=model))
    module = networks.models.build_autoencoder(**model)
    assert_down_the_gradient(module, before, after, metrics, x)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """(folder, metrics) of 20 epochs on warped beats: 40 steps."""
    folder = tmp_path_factory.mktemp("autoencoder")
    task = make(training=LONG, optimizer=ADAM, augment={"name": "tick_warp"})
    assert task.data["train"].size == 2 * 16, "no abnormal beat is learnt from"
    return folder, run(task, LONG, folder)


def test_it_learns(learnt):
    folder, found = learnt
    rows = read_log(folder / "metrics.jsonl")
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(losses) == 40
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])
    assert found["last"]["step"] == 40


def test_what_it_leaves(learnt):
    """Every held-out beat's score, the same as evaluated; reconstructions; the cost."""
    folder, found = learnt
    with np.load(folder / "scores.npz") as stored:
        scores = dict(stored)
    for split in ("validation", "test"):
        rows = scores["split"] == split
        assert rows.sum() == 60
        mean = scores["last"][rows & (scores["label"] == 0)].mean()
        assert found["last"][split]["loss"] == pytest.approx(mean, rel=1e-4)
    with np.load(folder / "examples.npz") as stored:
        shown = dict(stored)
    error = np.square(shown["x"] - shown["reconstruction"]).mean((1, 2))
    np.testing.assert_allclose(error, shown["score"], rtol=1e-4)
    assert np.isin(shown["score"], scores["last"][scores["split"] == "test"]).all()
    cost = json.loads((folder / "cost.json").read_text())
    shapes = networks.shapes(scoring.gan(MODEL).generator, jnp.zeros((1, 320, 1)))
    sizes = [leaf.size for leaf in jax.tree.leaves(shapes["params"])]
    assert cost["parameters"] == sum(sizes)
    assert cost["flops"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data": {"name": "digits"}},
            r"x: expected \[batch, time, channels\] .* found shape",
        ),
        ({"data": DATA | {"beat": 20}}, r"config.data.beat: .*'beats'"),
        ({"model": {"name": "began"}}, "config.model.name: unknown name 'began'"),
        (
            {"model": {"name": "conv_autoencoder", "windows": [3]}},
            "config.model.windows: unknown field .*'widths'",
        ),
        (
            {"training": training(select="accuracy")},
            "config.training.select: unknown name 'accuracy'",
        ),
        (
            {"augment": {"name": "tick_warp", "ticks": 71}},
            "config.augment: tick_warp: expected 142 samples or more",
        ),
    ],
)
def test_what_does_not_fit_is_said(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)
