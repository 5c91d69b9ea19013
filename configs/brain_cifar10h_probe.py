"""People's votes as the teacher of a linear probe: SimCLR's features, frozen.

    bash launch/local.sh configs/brain_cifar10h_probe.py --config.data.root=CIFAR10 \\
        --config.stages.votes.votes.path=CIFAR10H
    bash launch/local.sh configs/brain_cifar10h_probe.py:smoke ...

The folders, images and folds of brain_cifar10h.py. An encoder learns by contrast,
without labels, from the 1,600 training images; on its frozen features linear
classifiers learn labels, votes, and controls of the votes, all with the same start,
order and number of steps. The primary outcome is the cross-entropy on the 10,000 test
images; nothing was tuned.

Cost: an hour of two CPU cores.
"""

from ml_collections import ConfigDict

from kdjax.configs import common

CONTROLS = ("matched_smoothing", "within_class_shuffle", "across_class_shuffle")


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=10)
    common.voted_cifar10(config, smoke=smoke)
    config.model = common.CONVNET | {"projection": {"hidden": (128,), "outputs": 64}}
    votes = {"stage": "votes", "stored": True}
    taught = {"losses": common.SOFT_TARGET}
    students = {
        "hard": {},
        "label_smoothing": {"losses": common.SMOOTHED},
        "human": taught | {"teacher": votes},
        **{name: taught | {"teacher": votes | {"control": name}} for name in CONTROLS},
    }
    (probe,) = common.probes("pretrain", names=("linear",)).values()
    config.stages = {
        "votes": {
            "task": "votes",
            "votes": {"path": "data/cifar10h"},
            "training": {"epochs": 0},
            **dict.fromkeys(("losses", "model", "optimizer")),
        },
        "pretrain": common.pretrain(
            augment={"name": "simclr_image", "strength": 0.5, "blur": 0.0},
            training={"epochs": 2 if smoke else 100, "batch_size": 256},
            optimizer=common.lars(value=1.0, scaling="linear"),
            temperature=0.5,
        ),
        **{
            name: probe | own | {"soft_labels": "last", "embeddings": False}
            for name, own in students.items()
        },
    }
    others = tuple(name for name in students if name not in ("hard", "human"))
    config.report = {
        "order": ("votes", "pretrain", *students),
        "checkpoint": "last",
        "metric": "loss",
        "confusion": ("votes", "hard", "human"),
        "comparisons": (
            *((name, "hard") for name in students if name != "hard"),
            *(("human", name) for name in others),
        ),
    }
    return config
