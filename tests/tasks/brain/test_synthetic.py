"""A made-up brain from voxels to students: found when there, not found when not.

Seeds are fixed, so that each test is of the same figures every time; an interval covers
what it should 95 times in 100 only.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import data, losses
from kdjax.data.soft_labels import FILE, Keyed, read_for
from kdjax.files import read_arrays, read_json
from kdjax.report.statistics import mean_interval
from kdjax.stages import methods
from kdjax.tasks.brain import decode
from kdjax.training.task import Training

SEEDS = range(5)
REGIONS = {
    "loc": {},
    "v1": {"roi": "ROI_V1"},
    "null": {"roi": "ROI_NULL"},
    "low_noise": {"signal": [0.5, 0.5]},
    "silent": {"signal": [0.0, 0.0]},
}
STUDENTS = ("hard", "low_noise", "null", "silent")


def decoded(folder, seed, *, region, **fields):
    """Runs a decoder as its stage does; its accuracy, and soft labels in `folder`."""
    task = decode.make(
        data={"name": "synthetic_fmri", "images_a_run": 240} | region,
        decoder={"name": "ridge", "penalties": [300]},
        calibration=2,
        training=Training(epochs=0, batch_size=96),
        seed=seed,
        **fields,
    )
    logits = task.init(jax.random.key(0)).params["logits"]
    folder.mkdir(parents=True)
    task.finish({}, folder)
    return float(np.mean(np.argmax(logits, 1) == task.constants()["y"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("brain")


@pytest.fixture(scope="module")
def accuracy(folder):
    """{region: accuracies of its decoder, one a seed}."""
    found = [
        [decoded(folder / f"{s}" / n, s, region=r) for n, r in REGIONS.items()]
        for s in SEEDS
    ]
    return dict(zip(REGIONS, np.array(found).T, strict=True))


@jax.jit
@jax.vmap
def learn(x, y, taught, teacher, x_test):
    """A softmax regression of 10 labels a class and of all soft labels, if taught."""

    def loss(weights):
        logits = x @ weights
        evidence = losses.marginal_likelihood_loss(logits, jax.nn.softmax(teacher))
        return 9.59 * methods.cross_entropy(logits, y) + taught * evidence

    adam = optax.adam(0.05)

    def step(state, _):
        weights, memory = state
        update, memory = adam.update(jax.grad(loss)(weights), memory)
        return (weights + update, memory), None

    start = jnp.zeros((x.shape[1], 10))
    (weights, _), _ = jax.lax.scan(step, (start, adam.init(start)), length=150)
    return jnp.argmax(x_test @ weights, axis=-1)


@pytest.fixture(scope="module")
def gain(folder, accuracy):
    """{teacher: its student's accuracy less that of labels alone, one a seed}."""
    del accuracy  # which leaves the soft labels
    rows, truth = [], []
    for seed in SEEDS:
        digits = data.load("digits", seed=seed, labels_per_class=10)
        x, x_test = (s.x.reshape(len(s.y), -1) for s in (digits.train, digits.test))
        for name in STUDENTS:
            soft = np.zeros((len(x), 10), np.float32)
            if name != "hard":
                path = folder / f"{seed}" / name / FILE
                soft = read_for(path, digits.train, 10).logits
            taught = np.float32(name != "hard")
            rows.append((x, digits.train.y, taught, soft, x_test))
            truth.append(digits.test.y)
    said = learn(*(np.stack(column) for column in zip(*rows, strict=True)))
    right = np.mean(np.asarray(said) == np.stack(truth), axis=1)
    hard, *others = right.reshape(len(SEEDS), len(STUDENTS)).T
    assert hard.min() > 0.8
    return {n: a - hard for n, a in zip(STUDENTS[1:], others, strict=True)}


def covers(values, expected, *, of=1):
    """Whether the 95 % interval, of so many intervals together, has it in it."""
    interval = mean_interval(values, confidence=1 - 0.05 / of)
    return interval.low <= expected <= interval.high


def test_the_class_is_decoded_best_where_it_is_known(accuracy):
    assert mean_interval(accuracy["loc"] - accuracy["v1"]).low > 0.1
    assert mean_interval(accuracy["v1"]).low > 0.15
    assert accuracy["low_noise"].min() > 0.99


def test_where_nothing_is_known_nothing_is_decoded(accuracy):
    for region in ("null", "silent"):
        assert covers(accuracy[region], 0.1, of=2), region


def test_a_low_noise_teacher_helps(gain):
    assert mean_interval(gain["low_noise"]).low > 0.02


def test_a_teacher_that_knows_nothing_does_not(gain):
    for teacher in ("null", "silent"):
        assert covers(gain[teacher], 0, of=2), teacher
        assert abs(gain[teacher].mean()) < 0.01, teacher


def test_permuted_labels_teach_nothing_and_look_perfect_in_sample(tmp_path):
    """As many voxels as images, fitted to them: any labels are remembered."""
    wide = {"scale": 0.25, "roi": "ROI_VC", "images_a_run": 320}
    fields = {"region": wide, "permuted_labels": True}
    honest = decoded(tmp_path / "out_of_fold", 0, **fields)
    seen = decoded(tmp_path / "seen", 0, protocol="in_sample", **fields)
    assert abs(honest - 0.1) < 0.03
    assert abs(seen - 0.1) < 0.03, "against the true labels, which it never saw"
    learnt = {
        name: read_json(tmp_path / name / decode.DECODER)[decode.LEARNT]
        for name in ("out_of_fold", "seen")
    }
    assert abs(learnt["out_of_fold"] - 0.1) < 0.03
    assert learnt["seen"] > 0.95
    stored = read_arrays(tmp_path / "seen" / FILE, Keyed)
    true = read_arrays(tmp_path / "out_of_fold" / FILE, Keyed)
    np.testing.assert_array_equal(stored.label, true.label)
    assert (stored.fold == -1).all()
