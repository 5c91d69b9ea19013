"""Teachers: a stage's network, or its soft labels joined by the examples' keys."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import data, experiment
from kdjax.data.soft_labels import FILE, write_rows
from kdjax.data.stored_attention import FILE as ATTENTION
from kdjax.data.stored_attention import write_attention
from kdjax.errors import InputError
from kdjax.stages import controls, networks, taught
from kdjax.stages.record import read_stage
from tests import small

pytestmark = pytest.mark.usefixtures("undrawn")

DATASET = data.load("synthetic_wearable", seed=0, samples=16, windows=12)
CLASSES = len(DATASET.classes)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(len(DATASET.train.y), CLASSES)).astype(np.float32)


def stored(folder, *, rows=None, spec=None, **changes):
    """A teacher whose file has soft labels for the training examples."""
    train = DATASET.train
    arrays = {
        "key": train.key,
        "label": train.y,
        "split": np.full(len(train.y), "train"),
        "fold": np.zeros(len(train.y)),
        "logits": LOGITS,
    } | changes
    if rows is not None:
        arrays = {name: array[rows] for name, array in arrays.items()}
    write_rows(folder / FILE, **arrays, header={})
    section = {"folder": str(folder), "stored": True} | (spec or {})
    return taught.build(section, DATASET, seed=5)


def test_a_batch_is_given_its_examples_soft_labels(tmp_path):
    teacher = stored(tmp_path)
    index = jnp.array([3, 0, 7])
    x = jnp.zeros((3, 16, 2))
    found = teacher.outputs(teacher.load(), {"index": index}, x, x, jax.random.key(0))
    np.testing.assert_array_equal(found.logits, LOGITS[index])
    assert not found.features


def test_rows_are_found_by_key(tmp_path):
    """Permuting the file changes nothing, and other examples in it are no matter."""
    rows = RNG.permutation(len(LOGITS))
    np.testing.assert_array_equal(stored(tmp_path, rows=rows).load().logits, LOGITS)
    train, test = DATASET.train, DATASET.test
    more = {
        "key": np.concatenate([test.key, train.key]),
        "label": np.concatenate([test.y, train.y]),
        "split": np.full(len(test.y) + len(train.y), "train"),
        "fold": np.zeros(len(test.y) + len(train.y)),
        "logits": np.concatenate([np.ones((len(test.y), CLASSES)), LOGITS]),
    }
    np.testing.assert_array_equal(stored(tmp_path, **more).load().logits, LOGITS)


def changed(array, row, value):
    copy = array.copy()
    copy[row] = value
    return copy


WRONG = [
    ({"rows": np.arange(1, len(LOGITS))}, f"key: .*none for 1 of {len(LOGITS)}, such"),
    (
        {"key": changed(DATASET.train.key, 1, DATASET.train.key[0])},
        f"key: expected each once, found {str(DATASET.train.key[0])!r} 2 times",
    ),
    (
        {"label": changed(DATASET.train.y, 2, (DATASET.train.y[2] + 1) % CLASSES)},
        f"label: expected {DATASET.train.y[2]} for {str(DATASET.train.key[2])!r}",
    ),
    ({"logits": changed(LOGITS, 4, np.nan)}, "NaN or Inf in "),
    ({"logits": LOGITS[:, 1:]}, r"logits: expected shape \(\d+, \d\), found"),
    (
        {"fold": changed(np.zeros(len(LOGITS)), 5, -1)},
        f"found 1 of {len(LOGITS)} examples that it learnt from, such as "
        f"{str(DATASET.train.key[5])!r}; config.teacher.in_sample = True",
    ),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_soft_labels_that_do_not_fit_are_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=rf"soft_labels\.npz: .*{message}"):
        stored(tmp_path, **changes).load()


def test_in_sample_soft_labels_are_used_if_named(tmp_path):
    teacher = stored(tmp_path, fold=np.full(len(LOGITS), -1), spec={"in_sample": True})
    np.testing.assert_array_equal(teacher.load().logits, LOGITS)


@pytest.mark.parametrize("name", controls.CONTROLS)
def test_a_control_is_made_of_the_rows_by_key_seed_and_label(tmp_path, name):
    rows = RNG.permutation(len(LOGITS))
    found = stored(tmp_path, rows=rows, spec={"control": name}).load().logits
    train = DATASET.train
    expected = controls.apply(
        controls.CONTROLS[name], LOGITS, train.y, 5, key=train.key
    )
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(expected, LOGITS)
    section = {"folder": str(tmp_path), "stored": True, "control": name}
    other = taught.build(section, DATASET, seed=6).load().logits
    drawn = name not in ("class_mean", "matched_smoothing")
    assert np.array_equal(found, other) != drawn


def test_a_control_reads_the_label_that_the_example_has_not(tmp_path):
    """With few labels an example may have none of its own; the file's serves."""
    stored(tmp_path)
    few = DATASET.train.y.copy()
    few[::2] = -1
    section = {"folder": str(tmp_path), "stored": True, "control": "class_mean"}
    dataset = DATASET._replace(train=DATASET.train._replace(y=few))
    expected = taught.build(section, DATASET, seed=0).load().logits
    found = taught.build(section, dataset, seed=0).load().logits
    np.testing.assert_array_equal(found, expected)


def test_no_control_is_the_teacher(tmp_path):
    np.testing.assert_array_equal(
        stored(tmp_path, spec={"control": None}).load().logits, LOGITS
    )


MAPS = RNG.dirichlet(np.ones(6), size=len(LOGITS)).reshape(-1, 3, 2)


def with_maps(folder, *, rows=None, fold=0, **spec):
    """A stored teacher whose folder has a map for each training example, too."""
    rows = np.arange(len(LOGITS)) if rows is None else rows
    key, maps = DATASET.train.key[rows], MAPS[rows]
    folds = np.full(len(rows), fold)
    write_attention(folder / ATTENTION, key=key, fold=folds, maps=maps, header={})
    return stored(folder, spec={"attention": True} | spec)


def test_maps_are_a_feature_by_key(tmp_path):
    teacher = with_maps(tmp_path, rows=RNG.permutation(len(LOGITS)))
    loaded = teacher.load()
    np.testing.assert_allclose(loaded.features["attention"][..., 0], MAPS, rtol=1e-5)
    index = jnp.array([3, 0, 7])
    x = jnp.zeros((3, 16, 2))
    found = teacher.outputs(loaded, {"index": index}, x, x, jax.random.key(0))
    np.testing.assert_array_equal(found.logits, LOGITS[index])
    np.testing.assert_allclose(
        found.features["attention"][..., 0], MAPS[index], rtol=1e-5
    )
    like = teacher.like(x[:1])
    assert like.features["attention"].ndim == 4


def test_a_shuffle_moves_a_row_s_map_with_its_logits(tmp_path):
    for name in ("within_class_shuffle", "across_class_shuffle"):
        found = with_maps(tmp_path, control=name).load()
        source = [
            np.flatnonzero((row == LOGITS).all(1))[0]
            for row in np.asarray(found.logits)
        ]
        assert sorted(source) == list(range(len(LOGITS)))
        assert source != sorted(source)
        maps = found.features["attention"][..., 0]
        np.testing.assert_allclose(maps, MAPS[source], rtol=1e-5)


def test_a_class_s_mean_map_is_the_mean_of_its_maps(tmp_path):
    found = with_maps(tmp_path, control="class_mean").load()
    maps = np.asarray(found.features["attention"][..., 0])
    for label in range(CLASSES):
        rows = DATASET.train.y == label
        expected = np.broadcast_to(MAPS[rows].mean(axis=0), maps[rows].shape)
        np.testing.assert_allclose(maps[rows], expected, rtol=1e-5)


def test_maps_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(InputError, match=r"control: expected one that maps have, too"):
        with_maps(tmp_path, control="matched_random")
    with pytest.raises(InputError, match=r"attention\.npz: fold: expected maps from"):
        with_maps(tmp_path, fold=-1).load()
    with_maps(tmp_path, fold=-1, in_sample=True).load()
    with pytest.raises(InputError, match=r"attention\.npz: key: .*none for 1 of"):
        with_maps(tmp_path, rows=np.arange(1, len(LOGITS))).load()
    other = tmp_path / "other"
    with pytest.raises(InputError, match=r"attention\.npz: .*no such file"):
        stored(other, spec={"attention": True}).load()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"attention": 1}, "config.teacher.attention: expected True or False, found 1"),
        (
            {"control": "clas_mean"},
            r"teacher\.control: unknown name 'clas_mean' \(did you mean 'class_mean",
        ),
        ({"control": 1}, "config.teacher.control: unknown name 1"),
        (
            {"control": "random", "stored": False},
            r"teacher\.control: expected stored = True beside it, .* found 'random'",
        ),
        ({"stored": 1}, "config.teacher.stored: expected True or False, found 1"),
        ({"in_sample": "yes"}, "config.teacher.in_sample: expected True or False"),
        ({"augment": None}, "config.teacher: unknown name 'augment'"),
    ],
)
def test_a_section_that_does_not_fit_is_named(tmp_path, spec, message):
    with pytest.raises(InputError, match=message):
        stored(tmp_path, spec=spec)


def test_no_stored_soft_labels_are_said(tmp_path):
    section = {"folder": str(tmp_path), "stored": True}
    with pytest.raises(InputError, match=r"soft_labels\.npz: .*no such file"):
        taught.build(section, DATASET, seed=0).load()


def test_stored_soft_labels_teach_as_the_network_does(tmp_path):
    """The same student from a teacher that sees the examples, and from its logits."""
    config = json.loads(small.get_config().to_json())
    config["training"] |= {"epochs": 2}
    kd = {"losses": config["stages"]["eskd"]["losses"]}
    model = {"name": "convnet", "widths": (4, 8), "windows": (3, 3), "strides": (2, 2)}
    maps = {"model": model} | {
        "losses": kd["losses"]
        | {
            "attention_transfer": {"weight": 10.0, "layers": ("layer1", "layer2")},
            "pkt": {"weight": 100.0},
        }
    }
    of_maps = {"stage": "of_maps", "augment": None}
    kept = of_maps | {"keep": ("pooled", "layer2", "layer1")}
    soft = {"cross_entropy": {"weight": 0.3}, "soft_target": {"weight": 0.7}}
    reads = {"stage": "teacher"}
    by_file = reads | {"stored": True, "in_sample": True}
    config["stages"] = {
        "teacher": config["stages"]["teacher"],
        "network": kd | {"teacher": reads | {"augment": None}},
        "kept": kd | {"teacher": reads | {"augment": None, "keep": True}},
        "stored": kd | {"teacher": by_file},
        "probabilities": {"losses": soft, "teacher": by_file},
        "control": kd | {"teacher": by_file | {"control": "within_class_shuffle"}},
        "of_maps": {"model": model},
        "maps": maps | {"teacher": of_maps},
        "kept_maps": maps | {"teacher": kept},
    }
    config["report"] = {}
    experiment.run(config, tmp_path)
    folder = tmp_path / "seed_0"
    for names in (("network", "stored", "kept"), ("maps", "kept_maps")):
        models = [load_last(folder / name) for name in names]
        for one, *others in zip(*map(jax.tree.leaves, models), strict=True):
            for other in others:
                np.testing.assert_allclose(one, other, atol=1e-6)
    network = jax.tree.leaves(load_last(folder / "network"))
    for name in ("probabilities", "control"):
        other = jax.tree.leaves(load_last(folder / name))
        assert any(
            np.abs(a - b).max() > 1e-3 for a, b in zip(network, other, strict=True)
        )
    with pytest.raises(InputError, match=r"fold: expected soft labels from outside"):
        experiment.run(
            config | {"stages": config["stages"] | {"refused": refused(kd)}}, tmp_path
        )
    assert not (folder / "refused" / "results.json").exists()


@pytest.mark.parametrize(
    ("teacher", "losses", "message"),
    [
        ({"keep": True}, {}, "config.teacher.keep: expected augment = None beside it"),
        ({"augment": {"name": "removal"}, "keep": True}, {}, "views that change"),
        ({"augment": None, "keep": 1}, {}, "config.teacher.keep: expected"),
        ({"augment": None, "keep": True}, {"attention": {"weight": 1.0}}, "attention"),
        ({"augment": None, "keep": ("hidden1", "hiden")}, {}, "'hiden' (did you mean"),
        ({"augment": None, "keep": ()}, {}, "expected True, False or names"),
        (
            {"augment": None, "keep": ("hidden1",)},
            {"attention_transfer": {"weight": 1.0, "layers": {"hidden1": "hidden2"}}},
            "unknown name 'hidden2', there are hidden1",
        ),
    ],
)
def test_what_cannot_be_kept(tmp_path, teacher, losses, message):
    config = json.loads(small.get_config().to_json())
    eskd = config["stages"]["eskd"]
    eskd["teacher"] |= teacher
    eskd["losses"] |= losses
    with pytest.raises(InputError, match=re.escape(message)):
        experiment.run(config, tmp_path)
    assert not list(tmp_path.iterdir())


def refused(kd):
    return kd | {"teacher": {"stage": "teacher", "stored": True}}


def load_last(folder):
    stage = read_stage(folder)
    module = networks.build(stage.section("model"), tuple(stage.record["classes"]))
    return networks.model_of_stage(stage, "last", module)
