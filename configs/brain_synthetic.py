"""Quick start of the brain system: do a made-up brain's soft labels teach a student?

    bash launch/local.sh configs/brain_synthetic.py
    bash launch/local.sh configs/brain_synthetic.py:smoke

Needs no file. A synthetic subject looks at the 959 training images of scikit-learn's
digits, one trial each; ridge regression decodes each trial from the other runs; a small
network, the student of digits_eskd.py, has 10 labels a class and what was decoded of
all its training images. The truth is known: V1 to V4 see the image, LOC knows the class
and nothing else about the image, NULL nothing. So **what a student gains from LOC is
labels**, be they noisy, and a control that keeps the labels must teach as much. Signal
is 3 to 5 % of a voxel's variance, as in real single trials, or half of it (low_noise).

The students learn by `marginal_likelihood`, which reads soft labels as evidence of the
class and does nothing where they are even. `soft_target` draws the student towards even
predictions instead, so that a teacher which knows nothing does harm (the last two
stages). Every student has the same budget and settings, which were not tuned here.

Cost: 2 minutes of two CPU cores.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import common

NOT_OF_DECODERS = (
    *("model", "losses", "optimizer"),
    *("unlabelled", "soft_labels", "together"),
)
FMRI = {"name": "synthetic_fmri", "images_a_run": 96}  # 10 runs
DECODERS: dict[str, dict[str, Any]] = {
    "loc": {},
    "v1": {"data": {"roi": "ROI_V1"}},
    "null": {"data": {"roi": "ROI_NULL"}},
    "permuted": {"permuted_labels": True},
    "low_noise": {"data": {"signal": (0.5, 0.5)}},
}
# What stands in the place of a teacher's soft labels, by the name of its student.
CONTROLS = {
    "loc_within_class": ("loc", "within_class_shuffle"),
    "loc_class_mean": ("loc", "class_mean"),
    "loc_matched_random": ("loc", "matched_random"),
    "loc_matched_smoothing": ("loc", "matched_smoothing"),
    "loc_shuffled": ("loc", "across_class_shuffle"),
    "low_noise_shuffled": ("low_noise", "across_class_shuffle"),
}


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=10)
    config.data = {"name": "digits", "labels_per_class": 10}
    config.model = {"name": "mlp", "widths": (16,)}
    config.training = {
        "epochs": 2 if smoke else 40,
        "batch_size": 96,
        "eval_epochs": 10,
        "checkpoint_epochs": 40,
        "steps_per_call": 9,  # an epoch
    }
    config.optimizer = common.sgd(
        weight_decay=1e-4, schedule={"name": "cosine", "value": 0.1}
    )
    config.soft_labels = "last"  # predictions, to compare students image by image
    config.together = True
    config.unlabelled = True  # of all students: as many steps, the same batches
    # A term is a mean over the batch, of which 100 in 959 have a label.
    config.losses = {"cross_entropy": {"weight": 9.59}}
    evidence = {"marginal_likelihood": {"weight": 1.0}}
    soft_target = {"soft_target": {"weight": 1.0}}

    decoders = dict(list(DECODERS.items())[:3]) if smoke else DECODERS
    controls = {} if smoke else CONTROLS
    stages = {
        **{f"decode_{name}": _decoder(own) for name, own in decoders.items()},
        "hard": {},
        "label_smoothing": {"losses": {"cross_entropy": {"label_smoothing": 0.1}}},
        **{name: _taught(name, evidence) for name in decoders},
        **{
            name: _taught(teacher, evidence, control=control)
            for name, (teacher, control) in controls.items()
        },
        "loc_soft_target": _taught("loc", soft_target),
        "null_soft_target": _taught("null", soft_target),
    }
    config.stages = stages
    taught = [*decoders, "loc_soft_target", "null_soft_target"]
    config.report = {
        "metric": "accuracy",
        "temperature": 1.0,
        "order": tuple(stages),
        "confusion": ("hard", "loc"),
        "comparisons": (
            *((name, "hard") for name in ("label_smoothing", *taught)),
            *((teacher, name) for name, (teacher, _) in controls.items()),
        ),
    }
    return config


def _decoder(own: dict[str, Any]) -> dict[str, Any]:
    """A stage that decodes; `own` says what differs from LOC's."""
    return {
        "task": "decode",
        "decoder": {"name": "ridge"},
        "training": {"epochs": 0},
        **dict.fromkeys(NOT_OF_DECODERS),
        **own,
        "data": FMRI | own.get("data", {}),
    }


def _taught(
    teacher: str, losses: dict[str, Any], *, control: str | None = None
) -> dict[str, Any]:
    """A student of what was decoded, or of a control of it."""
    stage = {"stage": f"decode_{teacher}", "stored": True, "control": control}
    return {"teacher": stage, "losses": losses}
