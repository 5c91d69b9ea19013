"""CIFAR-10: what angular margin distillation (AMD) adds to what it is made of.

    bash launch/local.sh configs/cifar_amd.py --config.data.root=CIFAR10_FOLDER
    bash launch/local.sh configs/cifar_amd.py:smoke --config.data.root=CIFAR10_FOLDER

WRN16-3 teaches WRN16-1 by distillation (`kd`), and beside it by attention transfer,
similarity, AMD and local AMD, with the weights of Jeon et al. 2023: .1 of the
cross-entropy, .9 of the distillation at T = 4, 5000 of AMD. Their figures are of all of
CIFAR-10, other networks and 200 epochs; on a part of it none of them is claimed.

Cost: not yet run here.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import common

KD: dict[str, Any] = {
    "cross_entropy": {"weight": 0.1},
    "kd": {"weight": 0.9, "temperature": 4.0},
}
BESIDE: dict[str, dict[str, Any]] = {
    "attention": {"attention_transfer": {"weight": 1000.0}},
    "similarity": {"similarity": {"weight": 3000.0, "layers": ("group3",)}},
    "amd": {"amd": {"weight": 5000.0}},
    "amd_local": {"amd": {"weight": 5000.0, "local": True}},
}


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    config.data = {"name": "cifar10", "root": "data/cifar10"}
    config.model = {"name": "wide_resnet", "depth": 10 if smoke else 16, "width": 1}
    config.training = {"epochs": 1 if smoke else 20, "batch_size": 128}
    config.augment = common.CROP_AND_FLIP
    config.optimizer = common.sgd(
        weight_decay=5e-4, schedule={"name": "cosine", "value": 0.1}
    )
    taught = {"teacher": {"stage": "teacher", "checkpoint": "best"}}
    config.stages = {
        "teacher": {"model": {"width": 3}},
        "scratch": {},
        "kd": taught | {"losses": KD},
        **{name: taught | {"losses": KD | term} for name, term in BESIDE.items()},
    }
    config.report = {
        "order": ("teacher", "scratch", "kd", *BESIDE),
        "checkpoint": "best",
        "comparisons": (
            ("kd", "scratch"),
            *((name, "kd") for name in BESIDE),
            ("amd_local", "amd"),
        ),
    }
    return config
