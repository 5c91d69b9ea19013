"""People's votes as the teacher of an image network: CIFAR-10H, and its controls.

    bash launch/local.sh configs/brain_cifar10h.py --config.data.root=CIFAR10 \\
        --config.stages.votes.votes.path=CIFAR10H
    bash launch/local.sh configs/brain_cifar10h.py:smoke ...

CIFAR10 holds the official binary files, CIFAR10H the votes of some 51 people on each
image of test_batch.bin. Those images train, one in five of them held out by turns: by
the seed. data_batch_*.bin test. Every student has the same network, images, order and
number of steps; what differs is what it is told beside the labels. The primary outcome
is the cross-entropy on the test images; nothing was tuned.

Cost: 80 minutes of two CPU cores.
"""

from ml_collections import ConfigDict

from kdjax.configs import common

CONTROLS = (
    "matched_smoothing",
    "class_mean",
    "within_class_shuffle",
    "matched_random",
    "across_class_shuffle",
)


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=10)
    common.voted_cifar10(config, smoke=smoke)
    config.model = common.CONVNET
    config.augment = common.CROP_AND_FLIP
    config.corruptions = {
        name: {"name": name}
        for name in ("gaussian_noise", "gaussian_blur", "contrast", "pixelate")
    }
    config.reference = {"stage": "votes"}
    config.soft_labels = "last"
    votes = {"stage": "votes", "stored": True}
    config.stages = {
        "votes": {
            "task": "votes",
            "votes": {"path": "data/cifar10h"},
            "training": {"epochs": 0},
            **dict.fromkeys(
                ("losses", "model", "optimizer", "augment", "corruptions", "reference")
            ),
            "soft_labels": None,
        },
        "hard": {},
        "label_smoothing": {"losses": common.SMOOTHED},
        "teacher_free": {"losses": common.TEACHER_FREE},
        "cnn": {"model": {"widths": (64, 128, 256)}},
        "cnn_taught": {
            "teacher": {"stage": "cnn", "checkpoint": "last"},
            "losses": {
                "cross_entropy": {"weight": 0.5},
                "kd": {"weight": 0.5, "temperature": 4.0},
            },
        },
        "human": {"teacher": votes, "losses": common.SOFT_TARGET},
        **{
            name: {"teacher": votes | {"control": name}, "losses": common.SOFT_TARGET}
            for name in CONTROLS
        },
    }
    students = ("human", *CONTROLS, "label_smoothing", "teacher_free", "cnn_taught")
    config.report = {
        "order": ("votes", "cnn", "hard", *students),
        "checkpoint": "last",
        "metric": "loss",
        "confusion": ("votes", "hard", "human"),
        "comparisons": (
            *((name, "hard") for name in students),
            *(("human", name) for name in students[1:]),
        ),
    }
    return config
