"""Probes of a frozen network: what they see, what they solve, what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import data
from kdjax.data.dataset import SPLITS
from kdjax.data.soft_labels import FILE, write_rows
from kdjax.errors import InputError
from kdjax.stages import networks, representations
from kdjax.tasks.contrastive import probes, readouts
from kdjax.training import loop, parallel
from kdjax.training.checkpoint import Checkpoints, Progress, model_of
from kdjax.training.task import Training

DIGITS = {"name": "digits"}
MODEL = {"name": "mlp", "widths": [32], "projection": {"hidden": [16], "outputs": 8}}
SGD = {"name": "sgd", "schedule": {"name": "constant", "value": 0.05}}
SOLVED = Training(epochs=0, batch_size=32)
CLASSES = ("a", "b", "c")


def make(name="knn", *, training=SOLVED, **changes):
    sections = {"data": DIGITS, "probe": {"name": name}, "model": MODEL, "seed": 0}
    return probes.make(training=training, **(sections | changes))


def run(task, training, folder):
    devices = parallel.make("pmap", devices=1)
    return loop.run(
        task, training, folder=folder, seed=0, devices=devices, label="test"
    )


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", seed=0)


@pytest.fixture(scope="module")
def features(digits):
    """The representations of all digits by the untrained network, [1797, 32]."""
    module = networks.build(MODEL, digits.classes)
    x = jnp.concatenate([digits.train.x, digits.validation.x, digits.test.x])
    variables = module.init(jax.random.key(0), x[:1], train=False)
    return np.asarray(module.apply(variables, x, train=False).features["hidden1"])


@pytest.fixture(scope="module")
def task():
    return make()


def test_features_are_those_of_the_network(task, features):
    np.testing.assert_allclose(task.constants()["x"], features, rtol=1e-5, atol=1e-6)


def test_labels_do_not_change_the_features(task):
    few = make(data=DIGITS | {"label_fraction": 0.05}).constants()
    np.testing.assert_array_equal(few["x"], task.constants()["x"])
    assert np.sum(few["y"] == data.UNLABELLED) > 900


def test_an_encoder_is_read_from_its_checkpoint(tmp_path, digits):
    config = {"data": DIGITS, "model": MODEL, "seed": 0}
    module = networks.build(MODEL, digits.classes)
    init = networks.fresh(module, jnp.asarray(digits.train.x[:1]), optax.sgd(0.1))
    state = init(jax.random.key(7))
    checkpoints, progress = Checkpoints(tmp_path), Progress(1, 1, 0.5, 1, 1)
    model = parallel.to_host(model_of(state))
    checkpoints.save_best(model, progress)
    checkpoints.save_last(state, progress, model)
    checkpoints.close()
    spec = {"folder": tmp_path, "config": config, "checkpoint": "last"}
    task = make(encoder=spec, model=None)
    variables = {"params": state.params, **state.model_state}
    expected = module.apply(variables, jnp.asarray(digits.test.x), train=False)
    np.testing.assert_allclose(
        task.constants()["x"][-len(digits.test.y) :],
        expected.features["hidden1"],
        rtol=1e-5,
        atol=1e-6,
    )
    read = task.about["encoder"]
    assert read["classes"] == digits.classes
    model = read["model"]  # with the defaults of what MODEL does not say
    assert (model["name"], model["widths"]) == (MODEL["name"], MODEL["widths"])
    assert MODEL["projection"].items() <= model["projection"].items()


def test_streamed_features_are_those_of_the_rows_and_begin_where_asked(task):
    features = representations.Features(
        np.arange(1797.0)[:, None], np.zeros(1797), slice(0), np.arange(0), slice(0)
    )
    source = representations.streamed(task.data["train"], lambda: features)
    every = list(source.own(32, epoch=1))
    for batch in every:
        np.testing.assert_array_equal(batch["x"][:, 0], batch["index"])
    rest = list(source.own(32, epoch=1, skip=len(every) - 2))
    assert len(rest) == 2
    for one, other in zip(every[-2:], rest, strict=True):
        np.testing.assert_array_equal(one["index"], other["index"])


# --- what they solve -----------------------------------------------------------------


def made_up(*, unlabelled=0):
    """60 training rows of three classes, then 30 of validation."""
    rng = np.random.default_rng(0)
    y = (np.arange(90) % 3).astype(np.int32)
    x = rng.normal(size=(90, 6)).astype(np.float32)
    x[np.arange(90), y] += 1.5
    y[:unlabelled] = data.UNLABELLED
    labelled = np.arange(unlabelled, 60)
    return representations.Features(x, y, slice(60), labelled, slice(60, 90))


def read(probe, known, x):
    """The probe's logits of representations x."""
    solved = jax.tree.map(jnp.asarray, probe.fit(known))
    return np.asarray(probe.logits({}, solved, jnp.asarray(x)))


def test_neighbours_vote_as_by_brute_force():
    known = made_up(unlabelled=15)
    probe = readouts.knn(classes=CLASSES, neighbours=7, temperature=0.5)
    read_off = read(probe, known, known.x[60:])
    unit = known.x / np.linalg.norm(known.x, axis=1, keepdims=True)
    for row, logits in zip(unit[60:], read_off, strict=True):
        cosine = unit[15:60] @ row
        votes = np.zeros(3)
        for i in np.argsort(-cosine)[:7]:
            votes[known.y[15 + i]] += np.exp(cosine[i] / 0.5)
        expected = np.maximum(votes / votes.sum(), 1e-6)
        np.testing.assert_allclose(np.exp(logits), expected, rtol=1e-4)


def test_fewer_labels_than_neighbours_all_vote():
    known = made_up(unlabelled=57)
    probe = readouts.knn(classes=CLASSES, neighbours=20)
    votes = np.exp(read(probe, known, known.x[60:]))
    np.testing.assert_allclose(votes.sum(axis=1), 1, rtol=1e-5)


def ridge_by_hand(known, penalty):
    """Logits of all rows: (X^T X + a I)^-1 X^T Y of the centred labelled rows."""
    train = known.x[known.train].astype(np.float64)
    x = (known.x - train.mean(0)) / train.std(0)
    rows, targets = x[known.labelled], np.eye(3)[known.y[known.labelled]]
    centre, bias = rows.mean(0), targets.mean(0)
    centred = rows - centre
    kernel = np.linalg.solve(
        centred.T @ centred + penalty * np.eye(x.shape[1]),
        centred.T @ (targets - bias),
    )
    return (x - centre) @ kernel + bias


@pytest.mark.parametrize("unlabelled", [0, 30])
def test_ridge_is_its_closed_form(unlabelled):
    known = made_up(unlabelled=unlabelled)
    probe = readouts.ridge(classes=CLASSES, penalties=(10.0,))
    logits = read(probe, known, known.x)
    expected = ridge_by_hand(known, 10.0)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-5)


def test_the_penalty_is_chosen_on_validation():
    """More directions than labels: too small a penalty fits the noise."""
    rng = np.random.default_rng(3)
    y = (np.arange(120) % 3).astype(np.int32)
    x = rng.normal(size=(120, 30)).astype(np.float32)
    x[np.arange(120), y] += 1.0
    known = representations.Features(x, y, slice(30), np.arange(30), slice(30, 120))
    penalties = (1e-3, 10.0, 1e6)
    right = [
        np.mean(ridge_by_hand(known, a)[known.validation].argmax(1) == y[30:])
        for a in penalties
    ]
    assert len(set(right)) == 3, "each penalty must have its own accuracy"
    best = penalties[int(np.argmax(right))]
    probe = readouts.ridge(classes=CLASSES, penalties=penalties)
    logits = read(probe, known, x)
    expected = ridge_by_hand(known, best)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-5)


# --- whole stages --------------------------------------------------------------------


def test_a_linear_probe_of_a_random_network_learns(tmp_path):
    """Ten digits: chance is .1."""
    training = Training(epochs=3, batch_size=32, eval_epochs=3)
    task = make("linear", training=training, optimizer=SGD)
    reached = run(task, training, tmp_path)["last"]["test"]
    assert reached["accuracy"] > 0.7
    assert reached["examples"] == task.data["test"].size
    assert not (tmp_path / "embeddings.npz").exists()


def test_a_linear_probe_is_the_student_of_stored_soft_labels(tmp_path, digits):
    """Of a teacher that names the next digit: by its word alone, the labels unread."""
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    train = digits.train
    order = np.random.default_rng(0).permutation(len(train.y))  # joined by key
    write_rows(
        teacher / FILE,
        key=train.key[order],
        label=train.y[order],
        split=np.full(len(order), "train"),
        fold=np.zeros(len(order)),
        logits=5 * np.eye(10)[(train.y[order] + 1) % 10],
        header={},
    )
    training = Training(epochs=3, batch_size=32, eval_epochs=3)
    task = make(
        "linear",
        training=training,
        optimizer=SGD,
        teacher={"folder": str(teacher), "stored": True},
        losses={"soft_target": {"weight": 1.0}},
        soft_labels="last",
    )
    reached = run(task, training, student)["last"]["test"]
    assert reached["accuracy"] < 0.1
    with np.load(student / FILE, allow_pickle=False) as stored:
        left = dict(stored)
    parts = [getattr(digits, name) for name in SPLITS]
    np.testing.assert_array_equal(left["key"], np.concatenate([p.key for p in parts]))
    np.testing.assert_array_equal(left["label"], np.concatenate([p.y for p in parts]))
    tested = left["split"] == "test"
    said = left["logits"][tested].argmax(axis=1)
    np.testing.assert_allclose(
        np.mean(said == digits.test.y), reached["accuracy"], rtol=1e-6
    )
    assert np.mean(said == (digits.test.y + 1) % 10) > 0.7
    assert set(left["fold"][left["split"] == "train"]) == {-1}


@pytest.mark.parametrize("name", ["knn", "linear", "ridge"])
def test_only_labelled_rows_are_used(name):
    training = Training(epochs=1 if name == "linear" else 0, batch_size=16)
    few = DIGITS | {"label_fraction": 0.05}
    task = make(name, training=training, optimizer=SGD, data=few)
    known = data.load("digits", seed=0, label_fraction=0.05).train.y
    rows = np.flatnonzero(known != data.UNLABELLED)
    batches = task.data["train"].batches(16, epoch=None)
    seen = np.concatenate([b["index"][b["mask"] > 0] for b in batches])
    np.testing.assert_array_equal(seen, rows)
    assert task.data["train"].size == task.about["examples"]["labelled"] == len(rows)
    if name == "knn":
        solved = task.constants()["solved"]
        assert solved["bank"].shape == (len(rows), 32)
        np.testing.assert_array_equal(solved["votes"].argmax(1), known[rows])


def test_embeddings_are_the_principal_components_of_the_test_split(
    tmp_path, digits, features
):
    reached = run(make(embeddings=True), SOLVED, tmp_path)
    assert reached["last"] == reached["best"]
    assert reached["last"]["test"]["accuracy"] > 0.7
    n = len(digits.train.y)
    with np.load(tmp_path / "embeddings.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["key"], digits.test.key)
        np.testing.assert_array_equal(stored["label"], digits.test.y)
        position, explained = stored["position"], stored["explained"]
    mean = features[:n].mean(axis=0)
    _, singular, axes = np.linalg.svd(features[:n] - mean, full_matrices=False)
    expected = (features[-len(digits.test.y) :] - mean) @ axes[:2].T
    for one, other in zip(position.T, expected.T, strict=True):
        np.testing.assert_allclose(one * np.sign(one @ other), other, atol=1e-3)
    fraction = np.square(singular) / np.sum(np.square(singular))
    np.testing.assert_allclose(explained, fraction[:2], rtol=1e-4)


# --- what is refused -----------------------------------------------------------------

WAVES = {"name": "synthetic_wearable", "samples": 32, "windows": 8}
OTHER = {"folder": "w/pretrain", "config": {"data": WAVES, "model": MODEL, "seed": 0}}


LINEAR = {"name": "linear", "optimizer": SGD}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "kn"}, r"config.probe.name: unknown name 'kn' .*'knn'"),
        ({"probe": {}}, "config.probe.name: missing"),
        ({"probe": {"name": "knn", "neighbors": 3}}, r"neighbors: .*'neighbours'"),
        ({"probe": {"name": "knn", "neighbours": 0}}, "neighbours: .*>= 1, found 0"),
        ({"probe": {"name": "knn", "neighbours": True}}, "neighbours: .*found True"),
        (
            {"probe": {"name": "knn", "temperature": -1.0}},
            "temperature: .*> 0, found -1",
        ),
        (
            {"training": Training(epochs=3, batch_size=32)},
            "config.training.epochs: expected 0, .*'knn' is not trained; found 3",
        ),
        (
            {"probe": {"name": "ridge", "penalties": [1, -1.0]}},
            r"config.probe.penalties\[1\]: expected a number >= 0, found -1.0",
        ),
        (
            {"probe": {"name": "ridge", "penalties": []}},
            "config.probe.penalties: expected one or more, found none",
        ),
        ({"encoder": OTHER}, r"config.encoder: the encoder takes .*\(32, 3\), .*\(8,"),
        ({"encoder": {"checkpoint": "last"}}, "config.encoder.stage: missing"),
        ({"encoder": {"folder": "none"}}, "none: no stage here"),
        ({"name": "linear"}, "config.optimizer.name: missing"),
        ({"model": {}}, "config.model.name: missing"),
        (
            {"losses": {"cross_entropy": {"weight": 1.0}}},
            r"""config.probe: expected "linear" beside losses .*; found 'knn'""",
        ),
        (
            LINEAR | {"teacher": {"folder": "w/pretrain"}},
            "config.teacher.stored: expected True, for a probe sees",
        ),
        (
            LINEAR | {"losses": {"kd": {"weight": 1.0}}},
            "config.losses.kd: needs a teacher, and this stage has none",
        ),
        (
            LINEAR | {"soft_labels": "lst"},
            "config.soft_labels: .*'lst'",
        ),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)


def test_best_is_chosen_by_one_of_its_own_metrics(task):
    training = Training(epochs=0, batch_size=32, select="loos")
    with pytest.raises(
        InputError, match=r"config\.training\.select: .*'loos' .*'loss'"
    ):
        training.check_metric(task.metrics)
