"""The distillation task: its terms are the losses, and it learns real data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.errors import InputError
from kdjax.models import Outputs
from kdjax.tasks import distill, terms
from kdjax.training import loop, parallel

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
    with pytest.raises(InputError, match=r"'group3' \(did you mean 'group"):
        total({"amd": {"weight": 1.0, "layers": ["group3"]}})


def wearable(folder, **changes):
    sections = {
        "data": {"name": "synthetic_wearable", "samples": 32},
        "model": {"name": "mlp", "widths": [16]},
        "training": loop.Training(epochs=1, batch_size=8),
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
    training = loop.Training(epochs=1, batch_size=8)
    loop.run(wearable(teacher), training, folder=teacher, **run)
    files.write_json(teacher / "config.json", config)
    kd = {"kd": {"weight": 1.0}}
    task = wearable(tmp_path, losses=kd, teacher={"folder": str(teacher)})
    found = task.constants()["teacher"]["params"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert task.about["teacher"] == {"stage": "teacher", "checkpoint": "best"}
    with pytest.raises(InputError, match="no such file"):
        wearable(tmp_path, losses=kd, teacher={"folder": str(tmp_path / "none")})
    with pytest.raises(InputError, match=r"'chekpoint' .*'checkpoint'"):
        wearable(
            tmp_path, losses=kd, teacher={"folder": str(teacher), "chekpoint": "last"}
        )


def test_one_epoch_learns_uci_har(shared_data, tmp_path):
    """Six activities of subjects that were never trained on: chance is .17."""
    training = loop.Training(epochs=1, batch_size=64)
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
    figures = loop.run(
        task,
        training,
        folder=tmp_path,
        seed=0,
        devices=parallel.make("pmap", devices=1),
        label="test",
    )
    assert figures["last"]["test"]["accuracy"] > 0.6
    assert figures["last"]["test"]["examples"] == 2893
