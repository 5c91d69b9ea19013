"""Contrastive pretraining: its step, its scores, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.errors import InputError
from kdjax.tasks.contrastive import metrics, simclr
from kdjax.training import loop, parallel, programs
from kdjax.training.checkpoint import model_of
from kdjax.training.task import Training
from tests.running import mapped

RNG = np.random.default_rng(0)
BATCH = 32
CONSTANT = {"name": "constant", "value": 0.1}
MODEL = {
    "name": "mlp",
    "widths": [32],
    "projection": {"hidden": [24], "outputs": 16},
}


def make(*, batch_size=BATCH, contrast=None, **changes):
    sections = {
        "data": {"name": "digits"},
        "model": MODEL,
        "training": training(batch_size=batch_size),
        "optimizer": {"name": "sgd", "schedule": CONSTANT},
        "augment": {"name": "flip"},  # compiles fast
        "contrast": {"temperature": 0.2} | (contrast or {}),
        "seed": 0,
    }
    return simclr.make(**(sections | changes))


def training(**changes):
    fields = {"epochs": 1, "batch_size": BATCH, "select": "loss"}
    return Training(**(fields | changes))


def projection(**changes):
    return MODEL | {"projection": MODEL["projection"] | changes}


def cut(batch, count):
    return {k: v.reshape(count, -1, *v.shape[1:]) for k, v in batch.items()}


DEVICE = parallel.Parallel(
    1, lambda tree: jax.tree.map(jnp.array, tree), lambda batch: cut(batch, 1), mapped
)


def one_step(task, *, devices=1, batch_size=BATCH):
    """(model, metrics) after one step from the same start."""
    batch = next(task.data["train"].batches(batch_size, epoch=1))
    constants = task.constants(), jax.random.key(1)
    state = task.init(jax.random.key(0))
    step = programs.compiled_step(task, DEVICE)
    state, metrics = step(state, constants, cut(batch, devices))
    return parallel.to_host(model_of(state)), metrics


@pytest.fixture(scope="module")
def whole():
    """The step that the others are compared with."""
    return one_step(make())


def furthest(one, other):
    """The largest difference relative to the size of its array."""
    differences = jax.tree.map(
        lambda a, b: float(np.max(np.abs(a - b)) / np.max(np.abs(a))), one, other
    )
    return max(jax.tree.leaves(differences))


# --- the step ------------------------------------------------------------------------


def test_pretraining_learns(tmp_path):
    chosen = training(epochs=4, batch_size=64, eval_epochs=4)
    task = make(
        training=chosen, augment={"name": "random_resized_crop", "min_area": 0.5}
    )
    constants = DEVICE.replicate((task.constants(), jax.random.key(0)))
    scores = programs.compiled_scores(task, chosen, DEVICE)
    before = scores(
        task, model_of(task.init(jax.random.key(0))), constants, "validation"
    )
    run = {"seed": 0, "devices": DEVICE, "label": "test"}
    after = loop.run(task, chosen, folder=tmp_path, **run)["last"]["validation"]
    assert after["loss"] < before["loss"] - 1
    assert after["retrieval"] > before["retrieval"] + 0.1
    assert after["uniformity"] < before["uniformity"]
    assert not after["collapsed"]
    assert after["examples"] == task.data["validation"].size


@pytest.mark.parametrize(
    ("model", "contrast"),
    [(MODEL, {"frozen_statistics": True}), (projection(norm=False), {})],
    ids=["frozen statistics", "no batch norm"],
)
def test_microbatches_give_the_gradient_of_the_whole(model, contrast):
    """And frozen statistics stay."""
    one, _ = one_step(make(model=model, contrast=contrast))
    for microbatches in (2, 4):
        task = make(model=model, contrast=contrast | {"microbatches": microbatches})
        cut_up, metrics = one_step(task)
        assert metrics["grad_norm"] > 0.1
        assert furthest(one["params"], cut_up["params"]) < 1e-5
        start = task.init(jax.random.key(0))
        jax.tree.map(
            np.testing.assert_array_equal, cut_up["model_state"], start.model_state
        )


def test_microbatches_are_another_step_where_batch_norm_sees_them(whole):
    cut_up, _ = one_step(make(contrast={"microbatches": 2}))
    assert furthest(whole[0]["params"], cut_up["params"]) > 1e-3
    statistics = [model["model_state"]["batch_stats"] for model in (whole[0], cut_up)]
    assert furthest(*statistics) > 1e-2, "it moves once a microbatch"


@pytest.mark.parametrize(
    "options", [{"chunk_size": 7}, {"chunk_size": 5, "ring": True}], ids=str
)
def test_chunks_ring_and_devices_do_not_change_the_step(whole, options):
    model, metrics = one_step(make(contrast=options), devices=2)
    assert furthest(whole[0], model) < 1e-5
    for name in ("loss", "alignment", "grad_norm"):
        np.testing.assert_allclose(metrics[name], whole[1][name], rtol=1e-5)


def test_statistics_over_single_devices_are_another_step(whole):
    apart, metrics = one_step(make(model=MODEL | {"norm_devices": 1}), devices=2)
    assert np.isfinite(metrics["loss"])
    assert furthest(whole[0]["params"], apart["params"]) > 1e-3


def test_statistics_over_a_number_that_does_not_divide_the_devices():
    task = make(model=MODEL | {"norm_devices": 2})
    with pytest.raises(InputError, match=r"norm_devices: .* 3 devices, found 2"):
        one_step(task, devices=3, batch_size=33)


def test_bfloat16_gives_a_finite_float32_loss(whole):
    model, metrics = one_step(make(model=MODEL | {"dtype": "bfloat16"}))
    assert metrics["loss"].dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {np.dtype("float32")}
    np.testing.assert_allclose(metrics["loss"], whole[1]["loss"], rtol=0.02)
    assert metrics["loss"] != whole[1]["loss"]


# --- the scores ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored():
    """eval_batch_size -> the validation metrics of a new network."""
    task = make()
    constants = DEVICE.replicate((task.constants(), jax.random.key(0)))
    model = model_of(task.init(jax.random.key(0)))

    def of_batches(size):
        chosen = training(eval_batch_size=size)
        scores = programs.compiled_scores(task, chosen, DEVICE)
        return scores(task, model, constants, "validation")

    return of_batches, task.data["validation"].size


def test_padding_does_not_count(scored):
    of_batches, n = scored
    exact, padded = of_batches(n), of_batches(n + 37)
    assert exact["examples"] == padded["examples"] == n
    for name in metrics.METRICS:
        np.testing.assert_allclose(exact[name], padded[name], rtol=1e-4, err_msg=name)


def test_what_is_of_single_examples_is_the_same_in_ragged_batches(scored):
    of_batches, n = scored
    whole, ragged = of_batches(n), of_batches(50)
    assert n % 50
    assert whole["examples"] == ragged["examples"] == n
    for name in ("alignment", "rank", "projection_rank"):
        np.testing.assert_allclose(whole[name], ragged[name], rtol=1e-4, err_msg=name)
    # the others are against fewer examples, and easier for it
    assert ragged["loss"] < whole["loss"]
    assert ragged["retrieval"] >= whole["retrieval"]


def vectors(*shape):
    z = RNG.normal(size=shape).astype(np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


@pytest.mark.parametrize("devices", [1, 2])
def test_contrastive_sums_are_their_formulas(devices):
    z1, z2 = vectors(12, 5), vectors(12, 5)
    z2[:4] = z1[:4]
    mask = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0], np.float32)

    def sums(_, __, batch):
        part = metrics.contrastive_sums(batch["z1"], batch["z2"], batch["mask"])
        return jax.lax.psum(part, parallel.AXIS)

    batch = cut({"z1": z1, "z2": z2, "mask": mask}, devices)
    total = mapped(sums)(0, 0, batch)
    a, b = z1[mask > 0].astype(np.float64), z2[mask > 0].astype(np.float64)
    n = len(a)
    distances = np.sum((a[:, None] - a[None]) ** 2, axis=-1)
    pairs = ~np.eye(n, dtype=bool)
    expected = {
        "alignment": (np.sum((a - b) ** 2), n),
        "uniformity": (np.exp(-2 * distances)[pairs].sum(), n * (n - 1)),
        "retrieval": (np.sum((a @ b.T).argmax(1) == np.arange(n)), n),
        "projection_moments": (a.T @ a, n),
    }
    assert set(total) == set(expected)
    assert 3 <= expected["retrieval"][0] < n
    for name, value in expected.items():
        for got, want in zip(total[name], value, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5, err_msg=name)


def summary_of(z):
    """The metrics of representations and projections z, both views the same."""
    z = jnp.asarray(z)
    mask = jnp.ones(len(z))

    def sums(_, __, z):
        part = metrics.contrastive_sums(z, z, mask)
        loss = losses.nt_xent(z, z, temperature=0.5)
        part |= {
            "loss": (loss * len(z), jnp.sum(mask)),
            "moments": part["projection_moments"],
        }
        return jax.lax.psum(part, parallel.AXIS)

    return metrics.summarize(jax.device_get(mapped(sums)(0, 0, z[None])))


def test_identical_projections_are_collapsed():
    summary = summary_of(np.tile(vectors(1, 6), (20, 1)))
    assert summary["collapsed"]
    assert summary["projection_rank"] == pytest.approx(1, abs=0.02)
    assert summary["uniformity"] == pytest.approx(0, abs=1e-5)
    assert summary["alignment"] == 0
    assert summary["retrieval"] == pytest.approx(1 / 20)
    assert summary["loss"] == pytest.approx(np.log(39), rel=1e-5)


def test_spread_projections_are_not():
    summary = summary_of(vectors(200, 6))
    assert not summary["collapsed"]
    assert summary["projection_rank"] > 5
    assert summary["uniformity"] < -2
    assert summary["retrieval"] == 1
    assert summary["examples"] == 200


# --- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"name": "mlp"}}, "config.model.projection: expected a whole"),
        ({"model": projection(keep=0)}, "no 'keep'"),
        (
            {"contrast": {"temperature": 0}},
            "temperature: expected a number > 0, found 0",
        ),
        (
            {"contrast": {"temperature": -1}},
            "contrast.temperature: expected a number > 0, found -1",
        ),
        (
            {"contrast": {"temperature": "1"}},
            "temperature: expected a number, found '1'",
        ),
        (
            {"contrast": {"temperature": float("nan")}},
            "temperature: expected a number, found nan",
        ),
        (
            {"contrast": {"chunk_size": 0}},
            r"chunk_size: expected an integer >= 1, found 0",
        ),
        (
            {"contrast": {"microbatches": 0}},
            r"microbatches: expected an integer >= 1, found 0",
        ),
        ({"contrast": {"ring": 1}}, "ring: expected True or False, found 1"),
        ({"contrast": {"microbatches": None}}, "microbatches"),
        ({"contrast": {"temprature": 1}}, r"temprature: unknown .*'temperature'"),
        ({"batch_size": 1}, "batch_size: expected 2 or more, .* found 1"),
        ({"augment": {"name": "color_jitter", "strenth": 1.0}}, "'strength'"),
        (
            {"augment": {"name": "rotation"}},
            r"config.augment: rotation takes \[n, time",
        ),
        ({"optimizer": {"name": "lras", "schedule": CONSTANT}}, "'lars'"),
        ({"model": projection(outputs=0)}, "projection.outputs"),
        ({"model": MODEL | {"dtype": "float16"}}, "'float16'"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)


def test_best_is_chosen_by_one_of_its_own_metrics():
    task = make()
    directions = {"loss": False, "retrieval": True, "alignment": False}
    for name, higher in directions.items():
        metric = training(select=name).check_metric(task.metrics)
        assert metric.higher_is_better is higher
    with pytest.raises(InputError, match=r"config\.training\.select: .*'accuracy'"):
        training(select="accuracy").check_metric(task.metrics)


def test_microbatches_that_do_not_divide_a_devices_part():
    count = make(contrast={"microbatches": 16}).microbatches
    training(batch_size=32).check_devices(2, microbatches=count)
    message = r"32 is not .* by 4 devices x 16 microbatches"
    with pytest.raises(InputError, match=message):
        training(batch_size=32).check_devices(4, microbatches=count)
