"""The protocol of the first brain-to-image distillation study, fault by fault.

    bash launch/local.sh configs/brain_original.py
    bash launch/local.sh configs/brain_original.py:smoke

Needs no file: the synthetic subject and the digits of brain_synthetic.py, so that the
truth is known; 10 images a class to learn from, all labelled, and soft labels of those
100. Each stage departs from `honest` or `hard` in one thing, `all_faults` in all.
kdjax does none of these by itself: what it lacks is below.

    stage                 what the study did
    decode_in_sample      decoded the responses that the decoder had learnt
    decode_permuted       (that such a decoder is as right on labels at random)
    decode_row_order      took the class from the row, row // 7, not from the stimulus
    position              joined soft labels by row; rows are in order of time, so that
                          this is `across_class_shuffle`
    second_softmax        a softmax of probabilities at T = 0.1, weighted by T^2 = 0.01
    chosen_on_test        the epoch that is best on the test images
    crops_at_test         tested on random crops, as in training (see `crops`)
    random                compared with softmax(u / 0.01), surely wrong

Not shown: a student that had learnt the stimuli in ImageNet before. Digits have no such
network, and a stage that starts from one which saw its test images is refused.

Cost: 3 minutes of two CPU cores.
"""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import common
from kdjax.configs.brain_synthetic import NOT_OF_DECODERS

# More voxels than trials, as the study's: a decoder can remember every trial.
FMRI = {
    "name": "synthetic_fmri",
    "roi": "ROI_HVC",
    "scale": 0.8,
    "signal": (0.005, 0.009),
    "images_a_run": 240,
}
CROP = {"name": "random_resized_crop", "min_area": 0.5}
HERE = "kdjax.configs.brain_original"


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=10)
    config.data = {"name": "digits", "labels_per_class": 10}
    config.model = {"name": "mlp", "widths": (16,)}
    config.training = {
        "epochs": 4 if smoke else 100,
        "batch_size": 50,
        "eval_epochs": 2,
        "checkpoint_epochs": 100,
        "steps_per_call": 2,  # an epoch
    }
    config.optimizer = common.sgd(
        weight_decay=1e-4, schedule={"name": "cosine", "value": 0.1}
    )
    config.soft_labels = "best"
    config.together = True
    decoders: dict[str, Any] = {
        "honest": {},
        "in_sample": {"protocol": "in_sample"},
        "permuted": {"protocol": "in_sample", "permuted_labels": True},
        "row_order": {
            "protocol": "in_sample",
            "data": {"name": f"{HERE}:in_order_of_the_table"},
        },
    }
    half = {"weight": 0.5}
    soft = {"cross_entropy": half, "soft_target": half}
    softmaxed = {"function": f"{HERE}:second_softmax"} | half
    twice = {"cross_entropy": half, "second_softmax": softmaxed}
    crops = {"augment": CROP}
    chosen, cropped, both = (
        {"data": {"name": f"{HERE}:{name}", "labels_per_class": 10}}
        for name in ("chosen_on_test", "crops_at_test", "chosen_on_crops_at_test")
    )
    stages = {
        **{f"decode_{name}": _decoder(own) for name, own in decoders.items()},
        "hard": {},
        "label_smoothing": {"losses": {"cross_entropy": {"label_smoothing": 0.1}}},
        "honest": _taught("honest", soft),
        "in_sample": _taught("in_sample", soft),
        "permuted": _taught("permuted", soft),
        "row_order": _taught("row_order", soft),
        "position": _taught("honest", soft, "across_class_shuffle"),
        "second_softmax": _taught("honest", twice),
        "chosen_on_test": _taught("honest", soft) | chosen,
        "crops": _taught("honest", soft) | crops,
        "crops_at_test": _taught("honest", soft) | crops | cropped,
        "random": _taught("honest", soft, "random"),
        "all_faults": _taught("row_order", twice) | crops | both,
        "all_faults_random": _taught("row_order", twice, "random") | crops | both,
    }
    config.stages = stages
    config.report = {
        "metric": "accuracy",
        "checkpoint": "best",
        "temperature": 1.0,
        "order": tuple(stages),
        "confusion": (),
        "comparisons": (
            ("label_smoothing", "hard"),
            ("honest", "hard"),
            ("in_sample", "honest"),
            ("permuted", "hard"),
            ("row_order", "hard"),
            ("in_sample", "hard"),
            ("position", "honest"),
            ("second_softmax", "honest"),
            ("second_softmax", "hard"),
            ("chosen_on_test", "honest"),
            ("crops_at_test", "crops"),
            ("random", "hard"),
            ("honest", "random"),
            ("all_faults", "all_faults_random"),
        ),
    }
    return config


def _decoder(own: dict[str, Any]) -> dict[str, Any]:
    """A stage that decodes; `own` says what differs from the honest one."""
    return {
        "task": "decode",
        "decoder": {"name": "ridge", "penalties": (1000,)},
        "training": {"epochs": 0},
        **dict.fromkeys(NOT_OF_DECODERS),
        **own,
        "data": FMRI | own.get("data", {}),
    }


def _taught(
    teacher: str, losses: dict[str, Any], control: str | None = None
) -> dict[str, Any]:
    """A student of stored soft labels, even of those that are in-sample."""
    stage = {
        "stage": f"decode_{teacher}",
        "stored": True,
        "in_sample": teacher != "honest",
        "control": control,
    }
    return {"teacher": stage, "losses": losses}


# --- What kdjax does not do ----------------------------------------------------------
# Found by these names in a stage's config; what they need is imported when they run.


def in_order_of_the_table(
    *,
    seed: int,
    roi: str,
    scale: float,
    signal: Sequence[float],
    images_a_run: int,
) -> Any:
    """synthetic_fmri, its rows in order of time said to show the images in the table's.

    The table has the images class by class: so a row's class is its place divided by
    the images of a class, row // 7 in the study, and row k is joined with image k.
    """
    import numpy as np

    from kdjax import data

    fields: dict[str, Any] = {"roi": roi, "scale": scale, "signal": signal}
    found = data.load("synthetic_fmri", seed=seed, images_a_run=images_a_run, **fields)
    images = data.load("digits", seed=seed).train
    table = np.argsort(images.y, kind="stable")
    splits = {name: getattr(found, name) for name in ("train", "validation", "test")}
    run = np.concatenate([split.group for split in splits.values()])
    shown = table[np.argsort(np.argsort(run, kind="stable"))]
    ends = np.cumsum([len(split.y) for split in splits.values()])[:-1]
    return found._replace(
        **{
            name: split._replace(y=images.y[rows], key=images.key[rows])
            for (name, split), rows in zip(
                splits.items(), np.split(shown, ends), strict=True
            )
        }
    )


def chosen_on_test(*, seed: int) -> Any:
    """digits whose test images validate, too."""
    from kdjax import data

    found = data.load("digits", seed=seed)
    return found._replace(validation=found.test)


def crops_at_test(*, seed: int) -> Any:
    """digits whose test images are random crops, another for each seed."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from kdjax import augment, data

    found = data.load("digits", seed=seed)
    index = jnp.arange(len(found.test.y))
    keys = augment.example_keys(jax.random.key(seed), index)
    cropped = np.asarray(augment.build(CROP)(keys, jnp.asarray(found.test.x)))
    return found._replace(test=found.test._replace(x=cropped))


def chosen_on_crops_at_test(*, seed: int) -> Any:
    """Both: crops that validate, too."""
    found = crops_at_test(seed=seed)
    return found._replace(validation=found.test)


def second_softmax(
    student_logits: Any, teacher_probabilities: Any, *, temperature: float = 0.1
) -> Any:
    """A soft-target loss of softmax(p / T), p already a softmax, weighted by T^2."""
    import jax

    from kdjax import losses

    twice = jax.nn.softmax(teacher_probabilities / temperature)
    return losses.soft_target_loss(student_logits, twice, temperature=temperature)
