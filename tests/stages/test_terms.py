"""Terms with embeddings, axes, schedules and adapters: by hand, and in training."""

import json
import shutil
from collections import OrderedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import experiment, losses
from kdjax.errors import InputError
from kdjax.loading import load
from kdjax.models import Outputs
from kdjax.models.adapters import (
    ContrastiveAdapter,
    FitNetAdapter,
    VariationalAdapter,
)
from kdjax.models.bifpn import BiFPN
from kdjax.stages import attached, methods, terms
from kdjax.training import optim
from kdjax.training.parallel import AXIS

RNG = np.random.default_rng(0)


def outputs(channels):
    maps = {
        "group1": RNG.normal(size=(6, 8, channels)),
        "group2": RNG.normal(size=(6, 4, channels)),
        "pooled": RNG.normal(size=(6, channels)),
    }
    features = OrderedDict((k, jnp.asarray(v, jnp.float32)) for k, v in maps.items())
    return Outputs(jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32), features)


STUDENT, TEACHER = outputs(5), outputs(7)
LABELS = jnp.array([0, 1, 2, 3, 1, 0])
WHOLE = {"layers": ["group1", "group2"]}


def total(spec, step=0, labels=LABELS, adapters=None, **options):
    built = terms.build(spec, teacher=True, **options)

    def of_device():
        return terms.total(
            built, STUDENT, TEACHER, labels, jnp.int32(step), attached=adapters
        )

    loss, parts = jax.vmap(of_device, axis_name=AXIS, axis_size=1)()
    return loss[0], {name: value[0] for name, value in parts.items()}


def features(name):
    return STUDENT.features[name], TEACHER.features[name]


PLAIN = {
    "dist": ({}, lambda: losses.dist_loss(STUDENT.logits, TEACHER.logits)),
    "decoupled": (
        {"beta": 2.0},
        lambda: losses.decoupled_kd_loss(
            STUDENT.logits, TEACHER.logits, LABELS, beta=2.0
        ),
    ),
    "kd": (
        {"standardise": True, "temperature": 2.0},
        lambda: losses.distillation_kl(
            STUDENT.logits, TEACHER.logits, temperature=2.0, standardise=True
        ),
    ),
    "similarity": (
        WHOLE,
        lambda: sum(losses.similarity_loss(*features(k)) for k in ("group1", "group2")),
    ),
    "relational": (
        {"angle_weight": 3.0},
        lambda: losses.relational_loss(*features("pooled"), angle_weight=3.0),
    ),
    "pkt": ({}, lambda: losses.pkt_loss(*features("pooled"))),
    "correlation": (
        {"gamma": 0.3},
        lambda: losses.correlation_loss(*features("pooled"), gamma=0.3),
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_loss_is_a_term_as_it_stands(name):
    fields, expected = PLAIN[name]
    loss, parts = total({name: {"weight": 2.0} | fields})
    np.testing.assert_allclose(parts[name], expected(), rtol=1e-5)
    np.testing.assert_allclose(loss, 2 * expected(), rtol=1e-5)


def test_one_of_ones_own_is_a_term_too():
    own = {"function": "kdjax.losses:pkt_loss", "weight": 1.0}
    np.testing.assert_allclose(
        total({"mine": own})[0], losses.pkt_loss(*features("pooled")), rtol=1e-6
    )


def test_unlabelled_examples_are_not_decoupled():
    labels = LABELS.at[jnp.array([1, 4])].set(-1)
    found, _ = total({"decoupled": {"weight": 1.0}}, labels=labels)
    known = np.asarray(labels) >= 0
    expected = losses.decoupled_kd_loss(
        STUDENT.logits[known], TEACHER.logits[known], labels[known]
    )
    np.testing.assert_allclose(found, expected * known.mean(), rtol=1e-5)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (5, 0.5), (10, 1.0), (90, 1.0)])
def test_weights_and_fields_follow_a_schedule(step, share):
    rise = {"name": "linear", "end": 4.0, "over": 0.1}
    cool = {"name": "linear", "begin": 1.0, "end": 3.0, "over": 0.1}
    spec = {"kd": {"weight": rise, "temperature": cool}}
    loss, parts = total(spec, step, total_steps=100)
    temperature = 1.0 + 2 * share
    expected = losses.distillation_kl(
        STUDENT.logits, TEACHER.logits, temperature=temperature
    )
    np.testing.assert_allclose(parts["kd"], expected, rtol=1e-5)
    np.testing.assert_allclose(loss, 4 * share * expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "bins"),
    [
        ((9, 6), [(0, 2), (1, 3), (3, 5), (4, 6), (6, 8), (7, 9)]),
        ((5, 2), [(0, 3), (2, 5)]),
        ((8, 4), [(0, 2), (2, 4), (4, 6), (6, 8)]),
        ((3, 1), [(0, 3)]),
    ],
)
def test_bins_are_pytorchs_adaptive_ones(sizes, bins):
    """As F.adaptive_avg_pool1d has them, where sizes do not divide they overlap."""
    x = RNG.normal(size=sizes[0])
    found = terms._bins(*sizes) @ x
    np.testing.assert_allclose(found, [x[slice(*bin)].mean() for bin in bins])


def modules(spec):
    """The adapters that a spec's terms ask for, and their variables."""
    recorder = attached.Recorder()
    jax.eval_shape(lambda: total(spec, adapters=recorder))
    return recorder.modules, *recorder.modules.variables(jax.random.key(0))


def test_fitnet_adapts_the_students_channels():
    spec = {"fitnet": {"weight": 1.0} | WHOLE}
    found, params, state = modules(spec)
    assert list(found.module) == ["fitnet_0", "fitnet_1"]
    assert [x.shape for x in found.called_with["fitnet_1"]] == [(6, 4, 5), (6, 4, 7)]
    applied = attached.Applied(found, params, state)
    loss, _ = total(spec, adapters=applied)
    expected = 0.0
    for name, layer in (("fitnet_0", "group1"), ("fitnet_1", "group2")):
        own, theirs = (np.asarray(x, np.float64) for x in features(layer))
        h = own @ np.asarray(params[name]["Dense_0"]["kernel"], np.float64)
        h = (h - h.mean((0, 1))) / np.sqrt(h.var((0, 1)) + 1e-5)
        expected += np.square(h - theirs).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    moved = applied.moved["fitnet_0"]["batch_stats"]["BatchNorm_0"]["mean"]
    assert np.abs(moved).max() > 0


def test_variational_starts_at_a_variance_of_five():
    spec = {"variational": {"weight": 1.0, "layers": ["group1"]}}
    found, params, state = modules(spec)
    loss, _ = total(spec, adapters=attached.Applied(found, params, state))
    own, theirs = features("group1")
    p = params["variational_0"]
    h = own
    for i in range(2):
        h = nn.relu(h @ p[f"Dense_{i}"]["kernel"])
    mean = h @ p["Dense_2"]["kernel"]
    np.testing.assert_allclose(np.exp(p["log_variance"]), np.full(7, 5.0), rtol=1e-6)
    expected = losses.variational_loss(mean, np.full(7, 5.0), theirs)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_contrast_is_of_both_sides_projections():
    spec = {"contrastive": {"weight": 1.0, "temperature": 0.2, "by_class": True}}
    found, params, state = modules(spec)
    p = params["contrastive_0"]
    own, theirs = features("pooled")
    expected = losses.contrastive_distillation_loss(
        own @ p["student"]["kernel"],
        theirs @ p["teacher"]["kernel"],
        temperature=0.2,
        labels=LABELS,
    )

    def of(params):
        return total(spec, adapters=attached.Applied(found, params, state))[0]

    value, gradient = jax.value_and_grad(of)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert np.abs(gradient["contrastive_0"]["teacher"]["kernel"]).max() > 1e-4
    assert p["student"]["kernel"].shape == (5, 128)


FRSKD = {"frskd": {"weight": 2.0, "temperature": 3.0, "alpha": 1.5, "beta": 40.0}}


def test_a_student_teaches_itself_through_a_pyramid():
    """FRSKD: both cross-entropies, and what the pyramid says of the student's maps."""
    found, params, state = modules(FRSKD)
    maps = OrderedDict((k, STUDENT.features[k]) for k in ("group1", "group2"))
    pyramid = BiFPN(classes=4, width=5)
    variables = {"params": params["frskd_0"]["BiFPN_0"]} | {
        "batch_stats": state["frskd_0"]["batch_stats"]["BiFPN_0"]
    }
    better, moved = pyramid.apply(variables, maps, train=True, mutable="batch_stats")

    def loss(where=None, labels=LABELS):
        return losses.frskd_loss(
            STUDENT.logits,
            better.logits,
            labels,
            list(maps.values()),
            list(better.features.values()),
            temperature=3.0,
            alpha=1.5,
            beta=40.0,
            where=where,
        )

    applied = attached.Applied(found, params, state)
    value, parts = total(FRSKD, adapters=applied)
    np.testing.assert_allclose(parts["frskd"], loss(), rtol=1e-5)
    np.testing.assert_allclose(value, 2 * loss(), rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        applied.moved["frskd_0"]["batch_stats"]["BiFPN_0"],
        moved["batch_stats"],
    )

    def of_device():
        def loss(params):
            adapters = attached.Applied(found, params, state)
            given = (STUDENT, None, LABELS, jnp.int32(0), None, adapters)
            return terms.total(terms.build(FRSKD, teacher=False), *given)[0]

        return jax.grad(loss)(params)

    def of_labels(weights):
        given = variables | {"params": weights}
        outputs, _ = pyramid.apply(given, maps, train=True, mutable="batch_stats")
        return 2 * losses.cross_entropy(outputs.logits, LABELS)

    own = jax.vmap(of_device, axis_name=AXIS, axis_size=1)()["frskd_0"]["BiFPN_0"]
    alone = jax.grad(of_labels)(variables["params"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-5), own, alone
    )

    labels = LABELS.at[jnp.array([1, 4])].set(-1)
    value, _ = total(
        FRSKD, labels=labels, adapters=attached.Applied(found, params, state)
    )
    expected = loss(where=labels >= 0, labels=jnp.maximum(labels, 0))
    np.testing.assert_allclose(value, 2 * expected * 4 / 6, rtol=1e-5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["group1", "gruop2"], "unknown name 'gruop2'"),
        ([], "expected names of feature"),
    ],
)
def test_maps_that_are_not_there(layers, message):
    with pytest.raises(InputError, match=message):
        modules({"frskd": {"weight": 1.0, "layers": layers}})


@pytest.mark.parametrize(
    "module", [FitNetAdapter, VariationalAdapter, ContrastiveAdapter]
)
def test_adapters_take_images(module):
    own, theirs = jnp.ones((2, 4, 4, 3)), jnp.ones((2, 4, 4, 6))
    made = module().init_with_output(jax.random.key(0), own, theirs, train=False)[0]
    first = made[0] if isinstance(made, tuple) else made
    wide = 128 if module is ContrastiveAdapter else 6
    assert first.shape == (2, 4, 4, wide)


# --- in training ---------------------------------------------------------------------

DATA = {"name": "synthetic_wearable", "windows": 6, "samples": 16, "subjects": 6}
NET = {"name": "wide_resnet", "depth": 10, "width": 1}
ALL = {
    "decoupled": {"weight": {"name": "linear", "end": 0.1, "over": 0.5}},
    "dist": {"weight": 0.1},
    "fitnet": {"weight": 1.0, "layers": {"group2": "group3"}},
    "variational": {"weight": 0.1},
    "similarity": {"weight": 1.0, "layers": ["group3"]},
    "relational": {"weight": 0.1},
    "pkt": {"weight": 1.0},
    "correlation": {"weight": 1.0},
    "contrastive": {"weight": 0.1},
}
CONFIG = {
    "data": DATA,
    "task": "distill",
    "model": NET,
    "optimizer": {
        "name": "sgd",
        "schedule": {"name": "constant", "value": 0.02},
        "clip_norm": 5.0,
    },
    "training": {"epochs": 2, "batch_size": 8, "checkpoint_epochs": 1},
    "losses": {"cross_entropy": {"weight": 1.0}},
    "seeds": [0],
    "stages": {
        "teacher": {"model": {"depth": 16}},
        "plain": {},
        "taught": {"teacher": {"stage": "teacher"}, "losses": ALL},
        "itself": {"losses": {"frskd": {"weight": 1.0}, "cross_entropy": None}},
    },
    "report": {"order": ["teacher", "plain", "taught", "itself"]},
}


@pytest.fixture(scope="module")
def seed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("terms")
    experiment.run(CONFIG, workdir)
    return workdir / "seed_0"


def test_all_terms_train_together(seed):
    rows = [
        json.loads(line)
        for line in (seed / "taught" / "metrics.jsonl").read_text().splitlines()
    ]
    logged = [row for row in rows if "relational" in row.get("train", row)]
    assert logged, rows[0]
    for row in logged:
        values = row.get("train", row)
        assert all(np.isfinite(values[name]) for name in ALL)


def test_a_self_teacher_needs_no_other(seed):
    lines = (seed / "itself" / "metrics.jsonl").read_text().splitlines()
    rows = [row.get("train", row) for row in map(json.loads, lines)]
    values = [row["frskd"] for row in rows if "frskd" in row]
    assert values[-1] < values[0]


def test_adapters_are_no_part_of_the_network(seed):
    """Neither counted, nor in what other stages and users load."""
    stages = [seed / name for name in ("plain", "taught", "itself")]
    counted = [json.loads((stage / "cost.json").read_text()) for stage in stages]
    assert len({cost["parameters"] for cost in counted}) == 1
    trees = [load(stage, "last").model for stage in stages]
    shapes = [jax.tree.map(jnp.shape, tree) for tree in trees]
    assert shapes[0] == shapes[1] == shapes[2]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(seed, tmp_path):
    """The adapters, their statistics and their momentum are gone on with."""
    shutil.copytree(seed.parent, tmp_path / "run")
    folder = tmp_path / "run" / "seed_0" / "taught"
    (folder / "results.json").unlink()
    for kind in ("last", "best"):
        steps = sorted(int(p.name) for p in (folder / "checkpoints" / kind).iterdir())
        if len(steps) > 1 or kind == "best":
            shutil.rmtree(folder / "checkpoints" / kind / str(steps[-1]))
    experiment.run(CONFIG, tmp_path / "run")
    once, twice = (load(place, "last").model for place in (seed / "taught", folder))
    jax.tree.map(np.testing.assert_array_equal, once, twice)
    assert "resumed" in json.loads((folder / "results.json").read_text())
    digests = [
        json.loads(path.read_text())["digests"]["optimizer"]
        for place in (seed / "taught", folder)
        for path in [max((place / "checkpoints" / "last").iterdir()) / "meta/metadata"]
    ]
    assert digests[0] == digests[1], "adapters and momentum to the bit"


def test_a_term_with_an_adapter_must_be_marked():
    spec = {"mine": {"function": f"{__name__}:unmarked", "weight": 1.0}}
    with pytest.raises(InputError, match="to be marked with its module"):
        terms.build(spec, teacher=True)


def unmarked(student_features, teacher_features, adapter):
    return adapter(student_features, teacher_features).mean()


def test_a_stored_teacher_has_no_embeddings():
    stored = Outputs(TEACHER.logits, OrderedDict())
    built = terms.build({"pkt": {"weight": 1.0}}, teacher=True)
    with pytest.raises(InputError, match="expected a teacher with features"):
        terms.total(built, STUDENT, stored, LABELS, jnp.int32(0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": {"name": "lineal", "end": 1.0}}, "unknown name 'lineal'.*'linear'"),
        ({"weight": {"name": "linear"}}, "kd.weight.end: missing"),
        ({"weight": {"name": "linear", "end": 1.0, "over": 2.0}}, "over: .*found 2.0"),
        ({"weight": 1.0, "where": 1}, "kd.where: unknown field"),
    ],
)
def test_a_schedule_that_does_not_fit_is_said(fields, message):
    with pytest.raises(InputError, match=message):
        terms.build({"kd": fields}, teacher=True)


def test_the_linear_schedule():
    made = optim.schedule(
        {"name": "linear", "begin": 1.0, "end": 2.0, "over": 0.5},
        total_steps=10,
        where="here",
    )
    np.testing.assert_allclose(
        [made(i) for i in (0, 1, 5, 9)], [1, 1.2, 2, 2], rtol=1e-6
    )


def test_every_term_is_there():
    assert set(ALL) | {"kd"} <= set(methods.TERMS)
