"""Eight classes of pictures decoded from one person's fMRI (Haxby et al. 2001).

    bash launch/local.sh configs/brain_haxby.py --config.data.paths=FILE
    bash launch/local.sh configs/brain_haxby.py:smoke --config.data.paths=FILE

FILE is a BData file of 12 runs, one block of each class in each run. Every block is
decoded by what was fitted to the other runs. Chance is .125. The networks' epochs were
set by the training loss alone. What came out: configs/RESULTS.md.

Cost: 8 minutes of two CPU cores.
"""

from typing import Any

from ml_collections import ConfigDict, config_dict

from kdjax.configs import common

HALVES = ("left", "right", "posterior", "anterior")


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=3)
    config.task = "decode"
    del config.losses
    config.data = {
        "name": "bdata",
        "paths": config_dict.placeholder(str),
        "lag": 2,  # volumes of 2.5 s: the response comes some 5 s after the picture
        "test": (12,),  # a dataset has a test split; the decoders leave out every run
    }
    config.training = {"epochs": 0, "batch_size": 16, "eval_batch_size": 96}
    ridge = {"decoder": {"name": "ridge"}, "permutations": 20 if smoke else 1000}
    stages = {
        "ridge": ridge,
        "logistic": {"decoder": {"name": "logistic"}},
        "lda": {"decoder": {"name": "lda"}},
        "class_mean": {"decoder": {"name": "class_mean"}},
        "mlp": network(1 if smoke else 100, {"name": "mlp", "widths": (256,)}),
        "resnet_1d": network(1 if smoke else 40, resnet_18(1 / 16 if smoke else 1 / 4)),
    }
    for half in HALVES:
        stages[f"ridge_{half}"] = ridge | {"data": {"roi": f"ROI_{half.upper()}"}}
    if smoke:
        for name in ("logistic", "lda", "ridge_right", "ridge_posterior"):
            del stages[name]
    config.stages = stages
    config.report = {"order": tuple(stages)}
    return config


def network(epochs: int, model: dict[str, Any]) -> dict[str, Any]:
    """A stage that trains a network for each fold, and three for its temperature."""
    fields = {
        "name": "network",
        "model": model,
        "epochs": epochs,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
    }
    return {"decoder": fields, "calibration": 3}


def resnet_18(width: float) -> dict[str, Any]:
    """ResNet18 along the voxels in the file's order, `width` times as wide."""
    return {"name": "resnet", "depth": 18, "width": width, "stem": "imagenet"}
