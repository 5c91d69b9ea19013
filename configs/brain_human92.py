"""What brains find alike as the teacher of an image network: human92, and its controls.

    bash launch/local.sh configs/brain_human92.py --config.data.root=CIFAR10 \\
        --config.stages.human_it.data.root=HUMAN92
    bash launch/local.sh configs/brain_human92.py:smoke ...

HUMAN92 holds 92 photographs and how unlike each other four people's inferior temporal
cortex (IT), a monkey's, and 16 observers find them; CIFAR10 the official binary files.
A network learns CIFAR-10, and beside it that the photographs be as unlike as the
teacher says (representational distance learning). It is judged on photographs and a
subject that neither it nor its teacher saw: the seed's. 92 images cannot train a
network from nothing, so that all learn the same CIFAR-10 images. The weight .1 is the
larger of 1 and .1 that leaves CIFAR-10's validation accuracy (seed 0, taught by IT)
near that without a teacher: at 1 it falls from 54 to 36 %.

Cost: an hour of two CPU cores.
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference

from kdjax.configs import common

SUBJECTS = ("BE", "KO", "SN", "TI")
# What teaches, by the name of its student.
TEACHERS = {
    "it": {"source": "human_it", "subject": "others"},
    "permuted": {"source": "human_it", "subject": "others", "permuted": True},
    "one_subject": {"source": "human_it", "subject": "another"},
    "monkey": {"source": "monkey_it"},
    "observers": {"source": "observers"},
    "category": {"source": "category"},
    "pixels": {"source": "pixels"},
}
# Decoded beside these: all subjects' mean, each subject, animate or not.
DECODED: dict[str, Any] = {
    "human_it": {"rdm": {"source": "human_it"}},
    "animate": {"rdm": {"source": "human_it"}, "data": {"animate": True}},
    **{
        f"subject_{name.lower()}": {"rdm": {"source": "human_it", "subject": name}}
        for name in SUBJECTS
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    config.data = {"name": "cifar10", "root": "data/cifar10"}
    config.model = common.CONVNET
    config.training = {
        "epochs": 1 if smoke else 10,
        "batch_size": 64,
        "checkpoint_epochs": 1 if smoke else 5,
    }
    config.optimizer = common.sgd(
        weight_decay=5e-4, schedule={"name": "cosine", "value": 0.05}
    )
    config.augment = common.CROP_AND_FLIP
    root = FieldReference("data/human92")
    photographs = {"name": "human92", "root": root, "folds": 5}
    untrained = {
        **dict.fromkeys(("losses", "model", "optimizer", "augment")),
        "data": photographs,
        "training": {"epochs": 0, "select": "loss"},
    }
    decoded = {"task": "rdm", "permutations": 20 if smoke else 1000}
    teachers = dict(list(TEACHERS.items())[:2]) if smoke else TEACHERS
    students = ("none", *teachers)
    config.stages = {
        **{
            name: untrained
            | decoded
            | own
            | {"data": photographs | own.get("data", {})}
            for name, own in DECODED.items()
        },
        **{
            f"rdm_{name}": untrained | decoded | {"rdm": own}
            for name, own in teachers.items()
        },
        "none": {},
        **{
            name: {
                "companions": {"stage": f"rdm_{name}", "examples": 32},
                "losses": {"rdm": {"weight": 0.1, "layers": ("pooled",)}},
            }
            for name in teachers
        },
        **{
            f"{name}_judged": untrained
            | {
                "task": "similarity",
                "encoder": {"stage": name, "checkpoint": "last"},
            }
            for name in students
        },
        "untrained_judged": {k: v for k, v in untrained.items() if k != "model"}
        | {"task": "similarity"},
    }
    judged = [f"{name}_judged" for name in students]
    config.report = {
        "order": (*DECODED, *students, *judged, "untrained_judged"),
        "checkpoint": "last",
        "metric": "it",
        "confusion": ("human_it", "none"),
        "comparisons": (
            *((name, "none_judged") for name in judged[1:]),
            *((judged[1], name) for name in judged[2:]),
        ),
    }
    return config
