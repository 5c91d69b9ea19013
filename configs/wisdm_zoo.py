"""Every family of networks for series on WISDM's watch: alone, and taught by the best.

    bash launch/local.sh configs/wisdm_zoo.py --config.data.root=FOLDER_OR_ZIP
    bash launch/local.sh configs/wisdm_zoo.py:smoke --config.data.root=FOLDER_OR_ZIP

18 activities by accelerometer and gyroscope on the wrist, 20 Hz, windows of 5 s without
overlap; 10 subjects for test, the same for every seed, 6 for validation. All have one
optimiser and 5 epochs, about which nothing was tried: this is what a family gives as it
comes, not the most that it can. `<family>_kd` is taught by TEACHER, the family that is
best alone on the validation subjects, mean of five seeds; `teacher` stores its logits
on the training windows. Beside them MiniRocket, which trains no network.

Cost: 12 to 19 hours of a CPU core, by what its steps take; not run to its end.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import common

TEACHER = "resnet_time"
STORED = ("inception_time",)  # the next best, whose logits are stored too
# As published, without dropout, but for those whose width or depth says otherwise: a
# CPU's.
FAMILIES: dict[str, dict[str, Any]] = {
    "convnet": common.CONVNET,
    "wide_resnet": {"name": "wide_resnet", "depth": 16, "width": 1},
    "wide_resnet_3": {"name": "wide_resnet", "depth": 16, "width": 3},
    "se_resnet": {"name": "resnet", "depth": 18, "width": 0.25, "se": 16},
    "fcn": {"name": "fcn"},
    "resnet_time": {"name": "resnet_time"},
    "inception_time": {"name": "inception_time"},
    "xception_time": {"name": "xception_time"},
    "xception": {"name": "xception", "width": 0.25},
    "densenet": {"name": "densenet", "depth": 40},
    "mobilenet_v2": {"name": "mobilenet_v2", "width": 0.25},
    "lstm": {"name": "lstm"},
    "gru": {"name": "gru"},
    "lstm_fcn": {"name": "lstm_fcn"},
    "transformer": {
        "name": "transformer",
        "width": 64,
        "layers": 2,
        "heads": 4,
        "hidden": 128,
        "positions": "sines",
        "norm": "layer",
        "pooling": "mean",
        "bias": True,
    },
}


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    config.data = {
        "name": "wisdm",
        "root": "data/wisdm",
        "step": 1000 if smoke else 100,
    }
    families = FAMILIES
    if smoke:
        families = {name: FAMILIES[name] for name in ("convnet", "lstm")}
    teacher = "convnet" if smoke else TEACHER
    config.training = {"epochs": 1 if smoke else 5, "batch_size": 64}
    config.optimizer = {
        "name": "adamw",
        "weight_decay": 1e-2,
        "schedule": {"name": "cosine", "value": 1e-3, "warmup": 0.1},
    }
    of_teacher = {"stage": "teacher", "stored": True, "in_sample": True}
    stages: dict[str, Any] = {
        "teacher": {
            "model": families[teacher],
            "start": {"stage": teacher, "checkpoint": "best"},
            "training": {"epochs": 0},
            "soft_labels": True,
        }
    }
    for name, model in families.items():
        stages[name] = {"model": model, "soft_labels": name in STORED}
        stages[f"{name}_kd"] = {
            "model": model,
            "teacher": of_teacher,
            "losses": common.KD,
        }
    stages["minirocket"] = common.MINIROCKET | {"features": 840 if smoke else 9_996}
    config.stages = stages
    config.report = {
        "order": tuple(name for name in stages if name != "teacher"),
        "checkpoint": "best",
        "confusion": (teacher,),
        "comparisons": tuple((f"{name}_kd", name) for name in families),
    }
    return config
