"""Students of one program, which differ in data and stored teachers alone."""

import numpy as np
import pytest

from kdjax import data
from kdjax.data.soft_labels import FILE, write_rows
from kdjax.errors import InputError
from kdjax.tasks.distillation import distill
from kdjax.training import loop, parallel
from kdjax.training.task import Training

TRAINING = Training(epochs=2, batch_size=96, steps_per_call=3, checkpoint_epochs=2)
TAUGHT = {"cross_entropy": {"weight": 1.0}, "soft_target": {"weight": 1.0}}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Folders with soft labels of all digits, which know nothing of them."""
    folders = [tmp_path_factory.mktemp(f"teacher_{k}") for k in range(2)]
    splits = data.load("digits", seed=0)
    key, y = (
        np.concatenate([getattr(s, name) for s in splits[2:5]]) for name in ("key", "y")
    )
    for k, folder in enumerate(folders):
        logits = np.random.default_rng(k).normal(size=(len(key), 10))
        fold = split = np.zeros(len(key), int)
        write_rows(
            folder / FILE,
            key=key,
            label=y,
            split=split.astype(str),
            fold=fold,
            logits=logits,
            header={},
        )
    return [{"folder": str(folder), "stored": True} for folder in folders]


def make(teacher=None, *, seed=0, **changes):
    fields = {
        "data": {"name": "digits", "labels_per_class": 10},
        "model": {"name": "mlp", "widths": [8]},
        "training": TRAINING,
        "optimizer": {"name": "adam", "schedule": {"name": "cosine", "value": 0.01}},
        "losses": TAUGHT if teacher else {"cross_entropy": {"weight": 1.0}},
        "unlabelled": True,
        "together": True,
    }
    return distill.make(teacher=teacher, seed=seed, **fields | changes)


def test_what_is_in_the_constants_is_no_other_program(teachers):
    first = make(teachers[0])
    assert first.program is not None
    for other in (
        make(teachers[1]),
        make(teachers[0], seed=1),
        make(teachers[0] | {"control": "class_mean"}),
        make(teachers[0], data={"name": "digits", "labels_per_class": 5}),
    ):
        assert other.program == first.program
    assert make(teachers[0], together=False).program is None


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": None},
        {"model": {"name": "mlp", "widths": [9]}},
        {"losses": TAUGHT | {"soft_target": {"weight": 0.5}}},
        {"optimizer": {"name": "sgd", "schedule": {"name": "constant", "value": 0.1}}},
        {"augment": {"name": "gaussian_noise"}},
        {"corruptions": {"noisy": {"name": "gaussian_noise"}}},
        {"data": {"name": "digits", "validation": 0.3, "labels_per_class": 10}},
    ],
)
def test_what_is_compiled_in_is_another(teachers, changes):
    given = {"teacher": teachers[0]} | changes
    assert make(**given).program != make(teachers[0]).program


def test_together_each_ends_as_alone(teachers, tmp_path):
    device = parallel.make("pmap", devices=1)

    def members(folder):
        return [
            loop.Member(
                make(teacher, seed=seed), tmp_path / folder / f"{seed}", seed, ""
            )
            for seed, teacher in enumerate(teachers)
        ]

    together = loop.run_together(members("together"), TRAINING, devices=device)
    alone = [
        loop.run_together([member], TRAINING, devices=device)[0]
        for member in members("alone")
    ]
    assert together == alone
    first, second = (found["last"]["test"]["loss"] for found in alone)
    assert first != second


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": {"folder": "x"}},
        {"reference": {"folder": "x"}},
        {"companions": {"folder": "x"}},
    ],
)
def test_stages_that_read_more_are_refused(changes):
    with pytest.raises(InputError, match=r"config\.together: expected a stage with"):
        make(**changes)
