"""BeatGAN's two steps against the formulas, what each term moves, what it refuses."""

import json
import shutil
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import models
from kdjax.errors import InputError
from kdjax.models.beatgan import maps
from kdjax.stages import networks
from kdjax.tasks.anomaly import beatgan, beatgan_step, scoring
from kdjax.tasks.anomaly.beatgan_step import (
    Contrastive,
    Networks,
    SelfDistillation,
    Terms,
)
from kdjax.training import loop, parallel, programs
from kdjax.training.checkpoint import load_model, model_of
from tests.running import (
    DATA,
    ENCODER,
    PROJECTION,
    RATE,
    VIEWS,
    pretrained,
    sgd,
    take_step,
    trained_stage,
    training,
)

MODEL = {"name": "beatgan", "latent": 3, "width": 2}
PARTS = {"self_teacher": {"width": 4}, "projection": PROJECTION}
ALL = {
    "self_distillation": {"alpha": 1.0, "beta": 1.0},
    "contrastive": {"augment": VIEWS, "weight": 0.5},
}


def make(**changes):
    sections = {
        "data": DATA,
        "model": MODEL,
        "training": training(),
        "optimizer": sgd(),
        "losses": {"adversarial": {"weight": 0.7}},
        "seed": 0,
    }
    return beatgan.make(**(sections | changes))


@cache
def stepped():
    return take_step(make())


def test_a_step_is_the_two_published_ones():
    """D by gradient descent on real and made; then G, run again, against the new D."""
    before, after, metrics, x = stepped()
    module = models.build_gan(**MODEL)  # without a mapped axis

    def run(part, params, x):
        state = {k: v[part] for k, v in before.model_state.items()}
        network = getattr(module, part)
        variables = {"params": params, **state}
        return network.apply(variables, x, train=True, mutable=list(state))[0]

    def d_loss(params, made):
        real, fake = (run("discriminator", params, a).logits for a in (x, made))
        return (
            optax.sigmoid_binary_cross_entropy(real, jnp.ones_like(real)).mean()
            + optax.sigmoid_binary_cross_entropy(fake, jnp.zeros_like(fake)).mean()
        )

    def g_loss(params, discriminator):
        made, _ = run("generator", params, x)
        fake, real = (
            run("discriminator", discriminator, a).features["features"]
            for a in (made, x)
        )
        matched = jnp.mean((fake - real) ** 2)
        return jnp.mean((made - x) ** 2) + 0.7 * matched

    g, d = before.params["generator"], before.params["discriminator"]
    made, _ = jax.jit(lambda g: run("generator", g, x))(g)
    value, gradient = jax.jit(jax.value_and_grad(d_loss))(d, made)
    np.testing.assert_allclose(metrics["discriminator"], value, rtol=1e-5)
    new_d = jax.tree.map(lambda p, g: p - RATE * g, d, gradient)
    value, gradient = jax.jit(jax.value_and_grad(g_loss))(g, new_d)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-4)
    new_g = jax.tree.map(lambda p, g: p - RATE * g, g, gradient)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-6)
    jax.tree.map(close, after.params, {"generator": new_g, "discriminator": new_d})
    assert int(after.step) == 1


def test_a_step_moves_every_batch_statistic():
    before, after, _, _ = stepped()
    same = jax.tree.map(jnp.allclose, before.model_state, after.model_state)
    assert not any(jax.tree.leaves(same))


def test_a_discriminator_that_has_won_starts_anew():
    settings = {"adversarial": {"weight": 0.7, "collapse": 100.0}}
    before, after, metrics, _ = take_step(make(losses=settings))
    _, usual, other, _ = stepped()
    assert (float(metrics["restarts"]), float(other["restarts"])) == (1.0, 0.0)
    old, new, gone_on = (
        state.params["discriminator"]["encoder"]["conv5"]["kernel"]
        for state in (before, after, usual)
    )
    assert jnp.abs(new - old).max() > 0.1 > jnp.abs(gone_on - old).max()
    jax.tree.map(
        np.testing.assert_array_equal,
        after.params["generator"],
        usual.params["generator"],
    )


# --- what each term moves ------------------------------------------------------------


@cache
def gradients():
    """{term: {part: its largest gradient}}, of every term in every part."""
    module = models.build_gan(**MODEL, **PARTS)
    x = jax.random.normal(jax.random.key(1), (6, 64, 1))
    variables = dict(module.init(jax.random.key(0), x, train=False))
    params = variables.pop("params")
    teacher = jax.tree.map(lambda p: 1.1 * p, params)
    terms = Terms(
        self_distillation=SelfDistillation(),
        contrastive=Contrastive(VIEWS, temperature=0.5),
        reconstruction=beatgan_step.Reconstruction(),
    )
    parts = Networks(module, terms, None, None, module)

    def values(params, teacher):
        """The terms; the step's own gradients are of parts of them."""
        own = beatgan_step.variables("generator", params, variables)
        apply = partial(module.generator.apply, train=True, mutable=["batch_stats"])
        (made, _), _ = apply(own, x)
        _, (_, found) = beatgan_step.discriminator_loss(
            parts, params, variables, x, made
        )
        pair = x, x[::-1] + 0.1
        found["contrastive"] = beatgan_step.contrastive_loss(
            parts, params, variables, *pair
        )
        fixed = jax.lax.stop_gradient(params)
        model = {"params": teacher, "model_state": variables}
        _, (_, more) = beatgan_step.generator_loss(
            parts, fixed, variables, x, made, model
        )
        more["matching"] = more.pop("generator") - more["reconstruction"]
        return found | more

    each = jax.vmap(
        jax.jacrev(values, argnums=(0, 1)),
        in_axes=(None, None),
        axis_size=1,
        axis_name=parallel.AXIS,
    )
    found = {}
    for name, (own, taught) in jax.jit(each)(params, teacher).items():
        parts = {k: v for k, v in own.items() if k != "discriminator"}
        parts |= {
            "encoder": own["discriminator"]["encoder"],
            "logit": own["discriminator"]["logits"],
            "teacher": taught,
        }
        found[name] = {
            part: max(float(jnp.abs(g).max()) for g in jax.tree.leaves(tree))
            for part, tree in parts.items()
        }
    return found


@pytest.mark.parametrize(
    ("term", "moved"),
    [
        ("discriminator", {"encoder", "logit"}),
        ("self_teacher", {"self_teacher", "encoder"}),
        ("distillation", {"encoder", "logit"}),
        ("attention", {"encoder"}),
        ("contrastive", {"encoder", "projection"}),
        ("reconstruction", {"generator"}),
        ("matching", {"generator"}),
        ("taught", {"generator"}),
    ],
)
def test_each_term_moves_what_it_is_meant_to_and_nothing_else(term, moved):
    found = gradients()[term]
    assert {part for part, size in found.items() if size > 1e-6} == moved
    assert all(size == 0 for part, size in found.items() if part not in moved), found


def test_the_self_teacher_sees_the_maps_with_a_time_axis():
    module = scoring.gan(MODEL)
    x = jnp.zeros((2, 64, 1))
    variables = module.discriminator.init(jax.random.key(0), x, train=False)
    features = module.discriminator.apply(variables, x, train=False).features
    assert list(maps(features)) == [*(f"layer{i}" for i in range(1, 5)), "features"]
    pooled = networks.representation(
        module.discriminator.apply(variables, x, train=False)
    )
    assert pooled.shape == (2, 32)


# --- stages that read others ---------------------------------------------------------


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """A trained BeatGAN, and a pretrained encoder of the same size."""
    root = tmp_path_factory.mktemp("stages")
    return {
        "beatgan": trained_stage(make(), root / "beatgan", MODEL),
        "encoder": pretrained(root / "encoder"),
    }


def test_a_stage_goes_on_from_a_beatgan_and_an_encoder(stages):
    """And takes a step of all terms."""
    task = make(
        model=MODEL | PARTS,
        losses=ALL | {"reconstruction": {"weight": 2.0}},
        start=stages["beatgan"],
        encoder=stages["encoder"],
        teacher=stages["beatgan"],
    )
    state = task.init(jax.random.key(3))
    module = scoring.gan(MODEL)
    x = jnp.zeros((1, 320, 1))
    shapes = networks.shapes(module, x)
    first = load_model(stages["beatgan"]["folder"], "last", shapes)
    network = networks.build(ENCODER, ("N",))
    second = load_model(
        stages["encoder"]["folder"], "last", networks.shapes(network, x)
    )
    same = partial(jax.tree.map, np.testing.assert_array_equal)
    same(state.params["generator"], first["params"]["generator"])
    discriminator = state.params["discriminator"]
    same(discriminator["encoder"], second["params"]["encoder"])
    same(discriminator["logits"], first["params"]["discriminator"]["logits"])
    statistics = state.model_state["batch_stats"]["discriminator"]["encoder"]
    same(statistics, second["model_state"]["batch_stats"]["encoder"])
    assert set(task.constants()["teacher"]) == {"params", "model_state"}
    _, _, metrics, _ = take_step(task)
    assert float(metrics["taught"]) < float(metrics["reconstruction"])
    assert {"self_teacher", "distillation", "attention", "contrastive"} < set(metrics)
    assert all(np.isfinite(float(value)) for value in metrics.values())


def test_what_a_stage_leaves(stages):
    """Every held-out beat's score, the same as evaluated, and a few reconstructions."""
    folder = stages["beatgan"]["folder"]
    with np.load(folder / "scores.npz") as found:
        scores = dict(found)
    assert (scores["split"] == "test").sum() == 60
    assert (scores["split"] == "validation").sum() == 60
    with np.load(folder / "examples.npz") as found:
        shown = dict(found)
    error = np.square(shown["x"] - shown["reconstruction"]).mean((1, 2))
    np.testing.assert_allclose(error, shown["score"], rtol=1e-4)
    assert [list(shown["label"]).count(y) for y in range(3)] == [3, 3, 3]
    for y in range(3):
        rank = scores["last"][(scores["split"] == "test") & (scores["label"] == y)]
        assert shown["score"][shown["label"] == y].max() == rank.max()


def test_cut_after_an_epoch_it_ends_with_the_same_bits(stages, tmp_path):
    """Both optimisers' states are saved; two epochs at once are the reference."""
    cut = tmp_path / "cut"
    shutil.copytree(stages["beatgan"]["folder"], cut)
    whole = trained_stage(make(), tmp_path / "whole", {}, epochs=2)["folder"]
    trained_stage(make(), cut, {}, epochs=2)
    arrays = []
    for folder in (cut, whole):
        with np.load(folder / "scores.npz") as found:
            arrays.append(dict(found))
        log = (folder / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(row)["step"] for row in log] == [2, 2, 4, 4]
    jax.tree.map(np.testing.assert_array_equal, *arrays)


def test_it_learns_to_find_abnormal_beats(tmp_path):
    """In 240 steps, from normal beats alone, on other patients."""
    task = make(
        model=MODEL | {"width": 4, "latent": 8},
        data=DATA | {"patients": 12, "beats": 60},
        training=training(epochs=12),
        optimizer={"name": "adam", "b1": 0.5, "schedule": sgd(2e-3)["schedule"]},
    )
    devices = parallel.make("pmap", devices=1)
    run = partial(loop.run, task, folder=tmp_path, seed=0, devices=devices, label="")
    found = run(training(epochs=12, eval_epochs=12, checkpoint_epochs=12))
    values = found["last"]["test"]
    assert values["auc"] > 0.8
    assert values["auc_by_class"]["V"] > 0.8
    assert task.data["train"].size == 6 * 48  # no abnormal beat is learnt from


# --- what is refused -----------------------------------------------------------------

CONFIG = {"task": "beatgan", "data": DATA, "seed": 0, "model": MODEL}
TEACHER = {"folder": "/nowhere", "config": CONFIG}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": {"adversarail": {}}}, "config.losses: unknown name 'adversarail'"),
        (
            {"losses": {"adversarial": {"weigth": 1.0}}},
            r"config.losses.adversarial.weigth: .* 'weight'",
        ),
        (
            {"losses": {"adversarial": {"weight": -1.0}}},
            "config.losses.adversarial.weight: expected a number >= 0, found -1",
        ),
        (
            {
                "model": MODEL | PARTS,
                "losses": ALL | {"contrastive": {"augment": VIEWS, "temperature": 0}},
            },
            "config.losses.contrastive.temperature: expected a number > 0, found 0",
        ),
        (
            {"losses": {"self_distillation": {}}},
            "config.model.self_teacher: config.losses.self_distillation needs it",
        ),
        (
            {"model": MODEL | {"projection": {}}},
            "config.model.projection: .* found it without that term",
        ),
        (
            {"losses": {"reconstruction": {}}},
            "config.teacher: config.losses.reconstruction needs it",
        ),
        ({"teacher": TEACHER}, "config.teacher: .* found it without that term"),
        (
            {"model": MODEL | {"self_teacher": {"widht": 1}}},
            r"config.model.self_teacher.widht: .* 'width'",
        ),
        ({"model": {"name": "began"}}, "config.model.name: unknown name 'began'"),
        (
            {"training": training(select="accuracy")},
            "config.training.select: unknown name 'accuracy'",
        ),
        (
            {"data": {"name": "digits"}},
            r"x: expected \[batch, time, channels\] .* found shape",
        ),
        (
            {"start": TEACHER | {"config": CONFIG | {"model": MODEL | {"latent": 4}}}},
            r"config.start: .*generator.* expected .* found",
        ),
        (
            {"losses": {"adversarial": None}},
            "config.losses.adversarial: expected its fields, found None",
        ),
        (
            {"losses": {"adversarial": {"weight": float("nan")}}},
            "config.losses.adversarial.weight: expected a number.* found nan",
        ),
        (
            {"start": TEACHER | {"config": CONFIG | {"task": "autoencoder"}}},
            "config.start: expected a stage of the task 'beatgan', .* 'autoencoder'",
        ),
        (
            {"start": TEACHER | {"config": CONFIG | {"seed": 1}}},
            "config.start: that stage was trained on .* validation examples",
        ),
        (
            {"augment": {"name": "rotation"}},
            "config.augment: rotation: expected channels in triples",
        ),
    ],
)
def test_what_does_not_fit_is_said(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)


def test_a_choice_by_labels_needs_abnormal_validation_examples(shared_data):
    with pytest.raises(InputError, match="'auc' needs abnormal validation examples"):
        make(
            data={"name": "mocap", "root": str(shared_data / "mocap")},
            model={"name": "motion_beatgan"},
            training=training(select="auc"),
        )


def test_motion_is_learnt(shared_data):
    """Walking is told from running, jumping and dancing after 10 epochs."""
    task = make(
        data={"name": "mocap", "root": str(shared_data / "mocap")},
        model={"name": "motion_beatgan"},
        training=training(epochs=10, batch_size=64),
        optimizer={"name": "adam", "b1": 0.5, "schedule": sgd(3e-4)["schedule"]},
        losses={"adversarial": {"weight": 0.01}},
    )
    assert model_of(task.init(jax.random.key(0)))["model_state"] == {}
    devices = parallel.make("pmap", devices=1)
    constants = devices.replicate((task.constants(), jax.random.key(1)))
    state = devices.replicate(task.init(jax.random.key(0)))
    step = programs.compiled_step(task, devices)
    for epoch in range(1, 11):
        for batch in task.data["train"].batches(64, epoch=epoch):
            state, _ = step(state, constants, devices.shard(batch))
    found = programs.compiled_scores(task, training(), devices)
    scores = found(task, model_of(state), constants, "test")
    assert scores["auc"] > 0.995
