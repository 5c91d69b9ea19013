"""Judging: corruptions, and cross-entropy to a reference, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from kdjax import augment, data
from kdjax.data.soft_labels import FILE, write_rows
from kdjax.errors import InputError
from kdjax.stages import batches, networks
from kdjax.tasks.distillation import evaluation
from kdjax.training.parallel import AXIS

DATASET = data.load("synthetic_wearable", seed=0, samples=16, windows=12)
CLASSES = len(DATASET.classes)
MODULE = networks.build({"name": "mlp", "widths": [8]}, DATASET.classes)
VARIABLES = MODULE.init(jax.random.key(1), batches.first(DATASET), train=False)
MODEL = {"params": VARIABLES["params"], "model_state": {}}
SPLITS = batches.splits(DATASET)


def judged(split, *, corruptions=None, reference=None):
    made = evaluation.build(MODULE, DATASET, corruptions, reference)
    sources, load = batches.inputs(DATASET, 0)
    constants = jax.tree.map(jnp.asarray, load() | made.constants())
    (batch,) = sources[split].batches(len(SPLITS[split].y) + 3, epoch=None)
    one = {name: array[None] for name, array in batch.items()}
    sums = jax.vmap(
        lambda batch: made.evaluate(MODEL, batch, constants), axis_name=AXIS
    )(one)
    total = jax.tree.map(lambda x: np.asarray(x)[0], sums)
    return evaluation.summarize(total), batch, constants


def logits_of(x):
    return np.asarray(networks.predict(MODULE, MODEL, jnp.asarray(x)).logits)


def test_accuracy_on_corrupted_examples():
    specs = {"noisy": {"name": "noise"}, "cut": {"name": "removal"}}
    found, batch, constants = judged("test", corruptions=specs)
    rows = batch["index"][batch["mask"] > 0]
    keys = augment.example_keys(jax.random.key(0), jnp.asarray(rows))
    right = {}
    for name, spec in specs.items():
        x = augment.build(spec)(keys, constants["x"][rows])
        hits = logits_of(x).argmax(1) == np.asarray(constants["y"][rows])
        right[name] = float(np.mean(hits))
    assert found["corrupted"] == pytest.approx(right)
    assert found["corrupted_accuracy"] == pytest.approx(np.mean([*right.values()]))
    assert "reference_loss" not in found


@pytest.fixture
def reference(tmp_path):
    """Soft labels of half of the validation examples, and of no test example."""
    some = SPLITS["validation"].key[::2]
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(len(some), CLASSES)).astype(np.float32)
    write_rows(
        tmp_path / FILE,
        key=some,
        label=SPLITS["validation"].y[::2],
        split=np.full(len(some), "validation"),
        fold=np.zeros(len(some)),
        logits=logits,
        header={},
    )
    return {"folder": str(tmp_path)}, logits


def test_cross_entropy_to_a_reference_where_it_has_soft_labels(reference):
    section, logits = reference
    found = judged("validation", reference=section)[0]
    log_q = log_softmax(logits_of(SPLITS["validation"].x[::2]), axis=1)
    expected = -np.mean(np.sum(softmax(logits, axis=1) * log_q, axis=1))
    assert found["reference_loss"] == pytest.approx(expected, rel=1e-5)
    assert "reference_loss" not in judged("test", reference=section)[0]
    # what every classifier has is the same
    alone = judged("validation")[0]
    assert found == alone | {"reference_loss": found["reference_loss"]}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"corruptions": {"a": {"name": "nois"}}},
            r"corruptions\.a\.name.*'nois'.*'noise'",
        ),
        ({"corruptions": {"a": {"name": "flip"}}}, r"corruptions\.a: flip takes"),
        ({"reference": {}}, "config.reference.stage: missing"),
        ({"reference": {"folder": "a", "b": 1}}, "config.reference: unknown name 'b'"),
    ],
)
def test_what_does_not_fit_is_said(sections, message):
    whole = {"corruptions": None, "reference": None} | sections
    with pytest.raises(InputError, match=message):
        evaluation.build(MODULE, DATASET, **whole)


def test_an_absent_file_is_said(tmp_path):
    made = evaluation.build(MODULE, DATASET, None, {"folder": str(tmp_path)})
    with pytest.raises(InputError, match=r"soft_labels\.npz: .*no such file"):
        made.constants()
