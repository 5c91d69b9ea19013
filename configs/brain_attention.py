"""Does a student gain from where a made-up brain's decoder looked in the image?

    bash launch/local.sh configs/brain_attention.py
    bash launch/local.sh configs/brain_attention.py:smoke

Needs no file: the synthetic subject and the digits of brain_synthetic.py. Beside its
soft labels, which are not used here, each decoder leaves a map of every training image:
how much each voxel speaks for the class that was decoded, projected into the image by
ridge encoding weights of the same training runs. A small convolutional network of 10
labels a class is drawn to look there, on all training images, by attention transfer
(`stored_attention`). V1 sees the image, LOC the class alone, NULL nothing.

    stage             where the student is drawn to look
    hard              nowhere
    v1, loc, null     where that region's decoder looked
    v1_within_class   where V1's looked in another image of the class
    v1_class_mean     where it looked in all images of the class, on average
    v1_shuffled       where it looked in any other image
    image             where the image itself has contrast: no brain

**A gain from looking must be larger than that of `image`**, which costs no scanner, and
than that of a shuffle, which need not know which image it is. The weight is attention
transfer's published 1000, of maps of 32 x 32, made that of 4 x 4 (the loss is a mean
over places of maps of length 1); nothing was tuned.

Cost: 6 minutes of two CPU cores.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import common
from kdjax.configs.brain_synthetic import FMRI, NOT_OF_DECODERS

ATTENTION = {"data": {"name": "digits"}, "grid": (4, 4)}
LOOK = {"stored_attention": {"weight": 1000 * (4 / 32) ** 2, "layers": ("layer2",)}}
REGIONS = {"v1": "ROI_V1", "loc": "ROI_LOC", "null": "ROI_NULL"}
CONTROLS = {
    "v1_within_class": "within_class_shuffle",
    "v1_class_mean": "class_mean",
    "v1_shuffled": "across_class_shuffle",
}


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=10)
    config.data = {"name": "digits", "labels_per_class": 10}
    config.model = {
        "name": "convnet",
        "widths": (16, 32),
        "windows": (3, 3),
        "strides": (1, 2),  # layer2 is 4 x 4
    }
    config.training = {
        "epochs": 2 if smoke else 40,
        "batch_size": 96,
        "eval_epochs": 10,
        "checkpoint_epochs": 40,
    }
    config.optimizer = common.sgd(
        weight_decay=1e-4, schedule={"name": "cosine", "value": 0.1}
    )
    config.soft_labels = "last"  # predictions, to compare students image by image
    config.unlabelled = True  # of all students: as many steps, the same batches
    # A term is a mean over the batch, of which 100 in 959 have a label.
    config.losses = {"cross_entropy": {"weight": 9.59}}
    decoders = {name: _decoder(roi) for name, roi in REGIONS.items()}
    decoders["image"] = _decoder("ROI_NULL", source="contrast")
    students = {
        "hard": {},
        **{name: _drawn(name) for name in decoders},
        **{name: _drawn("v1", control=control) for name, control in CONTROLS.items()},
    }
    if smoke:
        students = {name: students[name] for name in ("hard", "v1", "v1_shuffled")}
        decoders = {"v1": decoders["v1"]}
    looks = {f"look_{name}": stage for name, stage in decoders.items()}
    config.stages = looks | students
    drawn = [name for name in students if name != "hard"]
    config.report = {
        "metric": "accuracy",
        "temperature": 1.0,
        "order": (*looks, *students),
        "confusion": ("hard", "v1"),
        "comparisons": (
            *((name, "hard") for name in drawn),
            *(("v1", name) for name in drawn if name != "v1"),
        ),
    }
    return config


def _decoder(roi: str, **attention: Any) -> dict[str, Any]:
    """A stage that decodes a region, and says where in the images it looked."""
    return {
        "task": "decode",
        "decoder": {"name": "ridge"},
        "training": {"epochs": 0},
        **dict.fromkeys(NOT_OF_DECODERS),
        "data": FMRI | {"roi": roi},
        "attention": ATTENTION | attention,
    }


def _drawn(decoder: str, *, control: str | None = None) -> dict[str, Any]:
    """A student drawn to look where a decoder did, or where a control of it says."""
    stage = {"stage": f"look_{decoder}", "stored": True, "attention": True}
    return {"teacher": stage | {"control": control}, "losses": LOOK}
