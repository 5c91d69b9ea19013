"""The distillation task: its terms are the losses, and it learns real data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import data, losses
from kdjax.data import UNLABELLED
from kdjax.data.dissimilarities import category_rdm
from kdjax.data.stored_rdm import FILE, write_rdm
from kdjax.errors import InputError
from kdjax.models import Outputs
from kdjax.stages import batches, terms
from kdjax.tasks.distillation import distill
from kdjax.training import loop, metrics, parallel
from kdjax.training.checkpoint import Checkpoints, Progress, model_of
from kdjax.training.task import Training

KEYS = jax.random.split(jax.random.key(0), 4)


def outputs(key, channels):
    first, second, third = jax.random.split(key, 3)
    features = {
        "group1": jax.random.normal(first, (5, 8, channels)),
        "group2": jax.random.normal(second, (5, 4, channels)),
        "pooled": jax.random.normal(third, (5, channels)),
    }
    return Outputs(jax.random.normal(key, (5, 3)), features)


STUDENT, TEACHER = outputs(KEYS[0], 6), outputs(KEYS[1], 9)
LABELS = jnp.array([0, 1, 2, 1, 0])


def total(spec, step=0):
    built = terms.build(spec, teacher=True)
    return terms.total(built, STUDENT, TEACHER, LABELS, jnp.int32(step))


def test_total_is_the_weighted_sum_of_the_losses():
    loss, parts = total(
        {
            "cross_entropy": {"weight": 0.1},
            "kd": {"weight": 0.9, "temperature": 2.0},
            "attention_transfer": {"weight": 10.0},
            "amd": {"weight": 100.0, "layers": ["group2"], "margin": 1.1},
        }
    )
    pairs = [(STUDENT.features[k], TEACHER.features[k]) for k in ("group1", "group2")]
    expected = {
        "cross_entropy": losses.cross_entropy(STUDENT.logits, LABELS),
        "kd": losses.distillation_kl(STUDENT.logits, TEACHER.logits, temperature=2.0),
        "attention_transfer": sum(losses.attention_transfer_loss(*p) for p in pairs),
        "amd": losses.amd_loss(*pairs[1], margin=1.1),
    }
    assert set(parts) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-6)
    weights = {"cross_entropy": 0.1, "kd": 0.9, "attention_transfer": 10, "amd": 100}
    np.testing.assert_allclose(
        loss, sum(weights[name] * value for name, value in expected.items()), rtol=1e-6
    )


def test_eskd_term_stops_at_its_step():
    spec = {"eskd": {"weight": 1.0, "stop_step": 5, "alpha": 0.7}}
    kd = losses.kd_loss(STUDENT.logits, TEACHER.logits, LABELS, alpha=0.7)
    np.testing.assert_allclose(total(spec, step=4)[0], kd, rtol=1e-6)
    plain = losses.cross_entropy(STUDENT.logits, LABELS)
    np.testing.assert_allclose(total(spec, step=5)[0], plain, rtol=1e-6)


def test_eskd_leaves_the_unlabelled_to_the_teacher():
    """A label of -1 was once the last class."""
    labels = jnp.array([0, UNLABELLED, 2, UNLABELLED, 1])
    spec = {"eskd": {"weight": 1.0, "stop_step": 5, "alpha": 0.7}}
    built = terms.build(spec, teacher=True)

    def loss(logits, step):
        student = Outputs(logits, STUDENT.features)
        return terms.total(built, student, TEACHER, labels, jnp.int32(step))[0]

    known = np.array([0, 2, 4])
    hard = losses.cross_entropy(STUDENT.logits[known], labels[known]) * 3 / 5
    soft = losses.distillation_kl(STUDENT.logits, TEACHER.logits, temperature=4.0)
    value, gradient = jax.value_and_grad(loss)(STUDENT.logits, 4)
    np.testing.assert_allclose(value, 0.3 * hard + 0.7 * soft, rtol=1e-6)
    assert (np.abs(gradient).max(axis=1) > 0).all()
    value, gradient = jax.value_and_grad(loss)(STUDENT.logits, 5)
    np.testing.assert_allclose(value, hard, rtol=1e-6)
    moved = np.abs(gradient).max(axis=1) > 0
    np.testing.assert_array_equal(moved, [True, False, True, False, True])


def confident(student_logits, labels, *, power=1.0):
    """A term of one's own, bound by the names of its parameters."""
    del labels
    return jnp.mean(jnp.max(jax.nn.softmax(student_logits), axis=-1) ** power)


def whole(student_outputs, teacher_outputs, step):
    shapes = student_outputs.features["pooled"].shape, teacher_outputs.logits.shape
    assert shapes == ((5, 6), (5, 3))
    return step * 1.0


def by_position(student_logits, margin):
    return jnp.mean(student_logits) * margin


HERE = "tests.tasks.distillation.test_distill"


def own(function, **fields):
    return {"own": {"function": function, "weight": 1.0} | fields}


def test_a_function_of_ones_own_is_a_term():
    own = f"{HERE}:confident"
    loss, parts = total(
        {
            "own": {"function": own, "weight": 2.0, "power": 2.0},
            "kd": {
                "function": "kdjax.losses:kd_loss",
                "weight": 1.0,
                "alpha": 0.5,
            },
            "whole": {"function": f"{HERE}:whole", "weight": 0.5},
        },
        step=6,
    )
    expected = confident(STUDENT.logits, LABELS, power=2.0)
    np.testing.assert_allclose(parts["own"], expected, rtol=1e-6)
    kd = losses.kd_loss(STUDENT.logits, TEACHER.logits, LABELS, alpha=0.5)
    np.testing.assert_allclose(loss, 2 * expected + kd + 0.5 * 6, rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (own("no.module:x"), "config.losses.own.function: 'no.module:x': No module"),
        (own(f"{HERE}:nothing"), "has no attribute 'nothing'"),
        (own("confident"), "own.function: expected 'module:name', found 'confident'"),
        (own(f"{HERE}:confident", powr=1), r"own.powr: .*'power'"),
        (own(f"{HERE}:by_position"), "own: parameter 'margin' is none of"),
        ({"kd": {"weight": -1}}, r"kd.weight: expected a number >= 0, found -1"),
        ({"kd": {"weight": float("nan")}}, "kd.weight: expected a number"),
        ({"kd": {"weight": "1"}}, "kd.weight: expected a number"),
        ({"kd": {"weight": 1.0, "layers": ["a"]}}, "kd.layers: unknown field"),
    ],
)
def test_a_term_that_does_not_fit_is_said(spec, message):
    with pytest.raises(InputError, match=message):
        terms.build(spec, teacher=True)


@pytest.mark.parametrize(
    "spec", [{"kd": {"weight": 1.0}}, {"amd": {"weight": 1}}, own(f"{HERE}:whole")]
)
def test_a_term_that_asks_for_a_teacher_needs_one(spec):
    with pytest.raises(InputError, match="needs a teacher"):
        terms.build(spec, teacher=False)


def test_what_no_task_gives_is_said():
    spec = own("kdjax.losses:beatgan_discriminator_loss")
    with pytest.raises(InputError, match="'real_logits' is none of"):
        terms.build(spec, teacher=True)


def test_the_rdm_of_companions_is_its_loss():
    own = STUDENT.features["pooled"]
    rdm = jnp.abs(jnp.arange(5.0)[:, None] - jnp.arange(5.0)[None, :])
    spec = {"rdm": {"weight": 2.0, "layers": ["pooled"], "distance": "cosine"}}
    built = terms.build(spec, teacher=False, companions=True)
    beside = STUDENT, rdm
    loss, _ = terms.total(built, STUDENT, None, LABELS, jnp.int32(0), beside)
    expected = losses.rdm_loss(own, rdm, distance="cosine")
    np.testing.assert_allclose(loss, 2 * expected, rtol=1e-6)
    with pytest.raises(InputError, match="rdm: needs companions, and this stage has"):
        terms.build(spec, teacher=True)


def test_an_absent_term_is_left_out():
    spec = {"cross_entropy": {"weight": 1.0}, "kd": None, "amd": {"weight": 0}}
    assert set(terms.build(spec, teacher=False)) == {"cross_entropy"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "config.losses: no term with a weight"),
        ({"kd": {}}, "config.losses.kd.weight: missing"),
        ({"eskd": {"weight": 1.0}}, "config.losses.eskd.stop_step: missing"),
        ({"kd": {"weight": 1.0, "temprature": 1.0}}, "did you mean 'temperature'"),
    ],
)
def test_wrong_losses_are_named(spec, message):
    with pytest.raises(InputError, match=message):
        terms.build(spec, teacher=True)


def test_unknown_layer_is_named():
    known = r"the student: unknown name 'group3', there are group1 \[.*\], group2 \["
    with pytest.raises(InputError, match=known):
        total({"amd": {"weight": 1.0, "layers": ["group3"]}})


def test_the_larger_map_of_a_pair_is_averaged_to_the_smaller():
    """8 steps against 4, by hand; either may be the teacher's."""
    long, short = STUDENT.features["group1"], TEACHER.features["group2"]
    halved = long.reshape(5, 4, 2, 6).mean(2)
    spec = {"attention_transfer": {"weight": 1.0, "layers": {"group1": "group2"}}}
    expected = losses.attention_transfer_loss(halved, short)
    np.testing.assert_allclose(total(spec)[0], expected, rtol=1e-5)
    spec = {"attention_transfer": {"weight": 1.0, "layers": {"group2": "group1"}}}
    theirs = TEACHER.features["group1"].reshape(5, 4, 2, 9).mean(2)
    expected = losses.attention_transfer_loss(STUDENT.features["group2"], theirs)
    np.testing.assert_allclose(total(spec)[0], expected, rtol=1e-5)


def test_images_are_averaged_along_both_axes():
    x = jax.random.normal(KEYS[0], (2, 6, 9, 3))
    maps = {"student_features": x, "teacher_features": x[:, :2, :6]}
    found = terms._alike(maps)
    # 6 rows to 2 of three; 9 columns to 6 bins of two, which overlap: PyTorch's
    share = np.kron(np.eye(3), [[1, 1, 0], [0, 1, 1]]) / 2
    expected = np.einsum(
        "nrcx,wc->nrwx", np.asarray(x).reshape(2, 2, 3, 9, 3).mean(2), share
    )
    np.testing.assert_allclose(found["student_features"], expected, atol=1e-6)
    assert found["teacher_features"] is maps["teacher_features"]


def test_a_recurrent_student_is_taught_by_a_convolutional_teachers_maps():
    waves = {"name": "synthetic_wearable", "windows": 4, "samples": 16, "subjects": 5}
    model = {"name": "wide_resnet", "depth": 10, "width": 1}
    teacher = {"model": model, "data": waves, "seed": 0}
    task = fine_tuned(
        data=waves,
        model={"name": "lstm", "units": 4},
        losses={"amd": {"weight": 1.0, "layers": {"steps": "group2"}}},
        teacher={"folder": "untrained", "config": teacher},
    )
    assert task.data["train"].size > 0
    with pytest.raises(InputError, match=r"layers of the teacher: .*'group9'"):
        fine_tuned(
            data=waves,
            model={"name": "lstm", "units": 4},
            losses={"amd": {"weight": 1.0, "layers": {"steps": "group9"}}},
            teacher={"folder": "untrained", "config": teacher},
        )


def test_layers_of_different_names_are_paired():
    """The student's `group1` with what the teacher calls `other`."""
    other = TEACHER._replace(features={"other": TEACHER.features["group1"]})
    spec = {"attention_transfer": {"weight": 1.0, "layers": {"group1": "other"}}}
    built = terms.build(spec, teacher=True)
    found, _ = terms.total(built, STUDENT, other, LABELS, jnp.int32(0))
    alike = {"attention_transfer": {"weight": 1.0, "layers": ["group1"]}}
    assert found == total(alike)[0]
    built = terms.build(alike, teacher=True)
    with pytest.raises(InputError, match=r"the teacher: unknown name 'group1', there"):
        terms.total(built, STUDENT, other, LABELS, jnp.int32(0))


@pytest.mark.parametrize("layers", ["group1", {"group1": 2}, {}, [], [1], 3])
def test_layers_are_names_or_pairs_of_them(layers):
    spec = {"amd": {"weight": 1.0, "layers": layers}}
    with pytest.raises(InputError, match=r"amd.layers: expected names of feature maps"):
        terms.build(spec, teacher=True)


def wearable(folder, **changes):
    sections = {
        "data": {"name": "synthetic_wearable", "samples": 32},
        "model": {"name": "mlp", "widths": [16]},
        "training": Training(epochs=1, batch_size=8),
        "optimizer": {"name": "sgd", "schedule": {"name": "constant", "value": 0.01}},
        "losses": {"cross_entropy": {"weight": 1.0}},
        "seed": 0,
    }
    return distill.make(**(sections | changes))


def test_splits_do_not_share_rows_and_batches_cover_them(tmp_path):
    task = wearable(tmp_path)
    seen = {}
    for split, source in task.data.items():
        batches = list(source.batches(7, epoch=None))
        rows = np.concatenate([b["index"][b["mask"] > 0] for b in batches])
        assert len(rows) == len(set(rows.tolist())) == source.size
        seen[split] = set(rows.tolist())
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    x = task.constants()["x"]
    assert set.union(*seen.values()) == set(range(len(x)))


def test_an_epoch_is_a_permutation_of_the_training_rows(tmp_path):
    source = wearable(tmp_path).data["train"]
    first, again, second = (
        np.concatenate([b["index"] for b in source.batches(8, epoch=epoch)])
        for epoch in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert sorted(first) == sorted(second) == list(range(source.size))
    assert first.tolist() != second.tolist()


@pytest.fixture(scope="module")
def companion_stage(tmp_path_factory):
    """A section that names a stage which left dissimilarities: those of its classes."""
    folder = tmp_path_factory.mktemp("companions")
    fields = {"name": "synthetic_wearable", "samples": 32}
    made = data.load("synthetic_wearable", seed=0, samples=32)
    parts = made.train, made.validation
    key, y = (np.concatenate([getattr(p, n) for p in parts]) for n in ("key", "y"))
    write_rdm(folder / FILE, key=key, rdm=category_rdm(y))
    config = {"data": fields, "seed": 0}
    return {"folder": str(folder), "config": config, "examples": 16}


def test_companions_become_as_unlike_as_they_are_said_to_be(tmp_path, companion_stage):
    both = {
        "cross_entropy": {"weight": 1.0},
        "rdm": {"weight": 1.0, "layers": ["hidden1"]},
    }
    training = Training(epochs=12, batch_size=8)
    task = wearable(
        tmp_path, losses=both, companions=companion_stage, training=training
    )
    run = {"seed": 0, "devices": parallel.make("pmap", devices=1), "label": "test"}
    loop.run(task, training, folder=tmp_path, **run)
    rows = [row for row in metrics.read_log(tmp_path / "metrics.jsonl")]
    found = [row["rdm"] for row in rows if row["kind"] == "train"]
    assert found[-1] < 0.6 * found[0]


def test_companions_leave_the_running_statistics_as_they_are(tmp_path, companion_stage):
    """A step with companions of weight all but 0 is the step without."""

    def step(**changes):
        model = {"name": "convnet", "widths": [4], "windows": [3], "strides": [2]}
        task = wearable(tmp_path, model=model, **changes)
        batch = next(iter(task.data["train"].batches(8, epoch=1)))
        constants = jax.tree.map(jnp.asarray, task.constants())
        one = jax.tree.map(lambda x: x[None], batch)
        taken = jax.vmap(
            lambda b: task.step(
                task.init(jax.random.key(0)), b, constants, jax.random.key(1)
            ),
            axis_name=parallel.AXIS,
        )
        state, _ = taken(one)
        return jax.tree.leaves((state.params, state.model_state))

    both = {
        "cross_entropy": {"weight": 1.0},
        "rdm": {"weight": 1e-30, "layers": ["pooled"]},
    }
    with_them = step(losses=both, companions=companion_stage)
    for a, b in zip(with_them, step(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_a_teacher_from_another_folder(tmp_path):
    """A trained stage's folder serves as a teacher in any other experiment."""
    from kdjax import files

    teacher = tmp_path / "teacher"
    config = {
        "data": {"name": "synthetic_wearable", "samples": 32},
        "model": {"name": "mlp", "widths": [16]},
        "seed": 0,
    }
    run = {"seed": 0, "devices": parallel.make("pmap", devices=1), "label": "test"}
    training = Training(epochs=1, batch_size=8)
    loop.run(wearable(teacher), training, folder=teacher, **run)
    files.write_json(teacher / "config.json", config)
    kd = {"kd": {"weight": 1.0}}
    with pytest.raises(InputError, match=r"teacher: a run of kdjax 0\.1"):
        wearable(tmp_path, losses=kd, teacher={"folder": str(teacher)})
    data = batches.fingerprint(config["data"], 0)
    model = {"config.model": config["model"]}
    record = {"format": 2, "fingerprint": data, "settings": model}
    for name in ("record", "results"):
        files.write_json(teacher / f"{name}.json", record)
    task = wearable(tmp_path, losses=kd, teacher={"folder": str(teacher)})
    found = task.constants()["teacher"]["params"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    with pytest.raises(InputError, match="no stage here"):
        wearable(tmp_path, losses=kd, teacher={"folder": str(tmp_path / "none")})
    with pytest.raises(InputError, match=r"'chekpoint' .*'checkpoint'"):
        wearable(
            tmp_path, losses=kd, teacher={"folder": str(teacher), "chekpoint": "last"}
        )


def test_one_epoch_learns_uci_har(shared_data, tmp_path):
    """Six activities of subjects that were never trained on: chance is .17."""
    training = Training(epochs=1, batch_size=64)
    task = wearable(
        tmp_path,
        data={"name": "uci_har", "root": str(shared_data / "uci_har")},
        model={"name": "wide_resnet", "depth": 10, "width": 1},
        optimizer={"name": "sgd", "schedule": {"name": "constant", "value": 0.05}},
        augment={"name": "mix1"},
        training=training,
    )
    assert task.about["examples"]["test"] == 2893
    assert task.about["data"] == "UCI HAR (rebuilt)"
    reached = loop.run(
        task,
        training,
        folder=tmp_path,
        seed=0,
        devices=parallel.make("pmap", devices=1),
        label="test",
    )
    assert reached["last"]["test"]["accuracy"] > 0.6
    assert reached["last"]["test"]["examples"] == 2893


# --- few labels, and starting from another stage -------------------------------------

CONSTANT = {"name": "constant", "value": 0.1}
FEW = {"name": "digits", "label_fraction": 0.05}
ENCODER = {"name": "mlp", "widths": [16]}
HEAD = {"hidden": [12, 12], "outputs": 8}


def fine_tuned(**changes):
    sections = {
        "data": FEW,
        "model": ENCODER | {"projection": HEAD | {"keep": 1}},
        "training": Training(epochs=1, batch_size=16),
        "optimizer": {"name": "sgd", "schedule": CONSTANT},
        "losses": {"cross_entropy": {"weight": 1.0}},
        "seed": 0,
    }
    return distill.make(**(sections | changes))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_leaves_out_the_unlabelled(smoothing):
    spec = {"cross_entropy": {"weight": 1.0, "label_smoothing": smoothing}}
    built = terms.build(spec, teacher=False)
    labels = jnp.array([0, UNLABELLED, 2, UNLABELLED, 1])

    def loss(logits):
        student = Outputs(logits, STUDENT.features)
        return terms.total(built, student, None, labels, jnp.int32(0))[0]

    value, gradient = jax.value_and_grad(loss)(STUDENT.logits)
    known = np.array([0, 2, 4])
    mean = losses.cross_entropy(
        STUDENT.logits[known], labels[known], label_smoothing=smoothing
    )
    np.testing.assert_allclose(value, mean * 3 / 5, rtol=1e-6)
    moved = np.abs(gradient).max(axis=1)
    np.testing.assert_array_equal(moved > 0, [True, False, True, False, True])


def test_teacher_free_leaves_out_the_unlabelled_and_divides_by_the_batch():
    spec = {"teacher_free": {"weight": 1.0, "temperature": 2.0, "correct": 0.9}}
    built = terms.build(spec, teacher=False)
    labels = jnp.array([0, UNLABELLED, 2, UNLABELLED, 1])

    def loss(logits):
        student = Outputs(logits, STUDENT.features)
        return terms.total(built, student, None, labels, jnp.int32(0))[0]

    value, gradient = jax.value_and_grad(loss)(STUDENT.logits)
    known = np.array([0, 2, 4])
    mean = losses.teacher_free_loss(
        STUDENT.logits[known], labels[known], temperature=2.0, correct=0.9
    )
    np.testing.assert_allclose(value, mean * 3 / 5, rtol=1e-6)
    moved = np.abs(gradient).max(axis=1)
    np.testing.assert_array_equal(moved > 0, [True, False, True, False, True])


@pytest.mark.parametrize("term", ["cross_entropy", "teacher_free"])
def test_without_any_label_the_loss_is_zero(term):
    built = terms.build({term: {"weight": 1.0}}, teacher=False)
    none = jnp.full(5, UNLABELLED)
    value, _ = terms.total(built, STUDENT, None, none, jnp.int32(0))
    assert value == 0


@pytest.mark.parametrize("unlabelled", [False, True])
def test_unlabelled_chooses_the_rows(unlabelled):
    task = fine_tuned(unlabelled=unlabelled)
    source, y = task.data["train"], task.constants()["y"]
    rows = np.arange(task.about["examples"]["train"])
    whole = len(batches.load(FEW, 0).train.y)
    if not unlabelled:
        rows = np.flatnonzero(y[:whole] != UNLABELLED)
        assert len(rows) == task.about["examples"]["labelled"] < whole / 10
    assert source.size == len(rows) == (whole if unlabelled else len(rows))
    drawn = [b["index"] for b in source.batches(16, epoch=1)]
    assert len(drawn) == len(rows) // 16
    drawn = np.concatenate(drawn)
    assert len(set(drawn.tolist())) == len(drawn)
    assert set(drawn.tolist()) <= set(rows.tolist())
    assert (y[drawn] == UNLABELLED).any() == unlabelled


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """({"folder", "config", "checkpoint"}, the model there) of a projection network."""
    folder = tmp_path_factory.mktemp("experiment") / "pretrain"
    model = ENCODER | {"projection": HEAD}
    init = fine_tuned(model=model).init
    state = init(jax.random.key(7))
    # as after training: nothing is what a new network has
    state = state._replace(
        model_state=jax.tree.map(lambda leaf: leaf + 0.5, state.model_state)
    )
    found = parallel.to_host(model_of(state))
    checkpoints, progress = Checkpoints(folder), Progress(1, 1, 0.5, 1, 1)
    checkpoints.save_best(found, progress)
    checkpoints.save_last(state, progress, found)
    checkpoints.close()
    config = {"data": {"name": "digits"}, "model": model, "seed": 0}
    return {"folder": folder, "config": config, "checkpoint": "last"}, found


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_start_copies_the_encoder_and_the_layers_that_are_kept(pretrained, keep):
    spec, expected = pretrained
    model = ENCODER | {"projection": HEAD | {"keep": keep}}
    task, fresh = fine_tuned(model=model, start=spec), fine_tuned(model=model)
    rng = jax.random.key(3)
    found = parallel.to_host(model_of(task.init(rng)))
    new = parallel.to_host(model_of(fresh.init(rng)))
    equal = np.testing.assert_array_equal
    jax.tree.map(equal, found["params"]["encoder"], dict(expected["params"]["encoder"]))
    names = {f"{part}{i + 1}" for i in range(keep) for part in ("layer", "norm")}
    assert set(found["params"]["head"]) == {"classes"} | names
    for name in names:
        jax.tree.map(
            equal, found["params"]["head"][name], expected["params"]["head"][name]
        )
    for i in range(keep):
        jax.tree.map(
            equal,
            found["model_state"]["batch_stats"]["head"][f"norm{i + 1}"],
            expected["model_state"]["batch_stats"]["head"][f"norm{i + 1}"],
        )
    jax.tree.map(
        equal, found["params"]["head"]["classes"], new["params"]["head"]["classes"]
    )
    kernels = [tree["params"]["encoder"]["Dense_0"]["kernel"] for tree in (found, new)]
    assert (kernels[0] != kernels[1]).mean() > 0.9


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"widths": [24]}, r"encoder.*: expected .*24.*config.model, found .*16"),
        ({"widths": [16, 16]}, "that stage's network has no .*encoder"),
        ({"name": "wide_resnet", "depth": 10, "width": 1}, "network has no .*encoder"),
    ],
    ids=["wider", "deeper", "another"],
)
def test_a_start_from_another_encoder_is_refused(pretrained, model, message):
    name = model.get("name", "mlp")
    with pytest.raises(InputError, match=f"config.start: .*{message}"):
        fine_tuned(model={"name": name} | model, start=pretrained[0])


def test_a_start_on_other_data_or_without_a_checkpoint(pretrained, tmp_path):
    spec, _ = pretrained
    waves = {"name": "synthetic_wearable", "samples": 32, "windows": 8}
    with pytest.raises(InputError, match=r"config.start: the start takes examples"):
        fine_tuned(data=waves, start=spec)
    task = fine_tuned(start=spec | {"folder": tmp_path})
    with pytest.raises(InputError, match="no checkpoint here"):
        task.init(jax.random.key(0))


def test_logged_accuracy_of_few_labels_does_not_depend_on_the_devices():
    """One of 8 devices has all the known labels; it once counted for an eighth."""
    task = fine_tuned(unlabelled=True, training=Training(epochs=1, batch_size=16))
    constants = jax.tree.map(jnp.asarray, task.constants())
    y, state = np.asarray(constants["y"]), task.init(jax.random.key(0))
    known, unknown = np.flatnonzero(y != UNLABELLED), np.flatnonzero(y == UNLABELLED)
    index = np.concatenate([known[:2], unknown[:14]]).astype(np.int32)

    def step(state, batch):
        return task.step(state, batch, constants, jax.random.key(1))[1]["accuracy"]

    logged = []
    for devices in (1, 2, 8):
        batch = {"index": jnp.asarray(index).reshape(devices, -1)}
        mapped = jax.vmap(step, in_axes=(None, 0), axis_name=parallel.AXIS)
        logged += np.unique(jax.jit(mapped)(state, batch)).tolist()
    assert logged == [logged[0]] * 3
