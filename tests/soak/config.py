"""What run.py kills: a small ESKD, a BeatGAN and a CTRNN, saved within their epochs.

`:short` is the ESKD and the CTRNN with fewer epochs, as the default tests run it.
"""

from typing import Any

from ml_collections import ConfigDict, config_dict

ADAM = {"name": "adam", "schedule": {"name": "constant", "value": 0.01}}
DISTILL: dict[str, Any] = {
    "task": "distill",
    "data": {
        "name": "synthetic_wearable",
        "samples": 32,
        "windows": 48,
        "noise": 0.2,
    },
    "model": {"name": "mlp", "widths": (16,)},
    "optimizer": {"name": "sgd", "schedule": {"name": "cosine", "value": 0.05}},
    "losses": {"cross_entropy": {"weight": 1.0}},
    "augment": {"name": "removal"},
    "training": {
        "epochs": 8,
        "batch_size": 32,
        "log_steps": 5,
        "checkpoint_epochs": 3,
    },
}


def get_config(size: str = "whole") -> ConfigDict:
    config = ConfigDict()
    config.seeds = (0,)
    config.parallel = "shard_map"
    config.devices = config_dict.placeholder(int)  # all there are
    config.training = {"checkpoint_steps": 7}
    config.stages = {
        "teacher": DISTILL | {"model": {"name": "mlp", "widths": (64,)}},
        "eskd": DISTILL
        | {
            "teacher": {"stage": "teacher", "checkpoint": "best"},
            "losses": {
                "cross_entropy": {"weight": 0.3},
                "kd": {"weight": 0.7, "temperature": 4.0},
            },
        },
        "beatgan": {
            "task": "beatgan",
            "data": {
                "name": "synthetic_ecg",
                "patients": 8,
                "beats": 21,
                "abnormal": 0.2,
            },
            "model": {"name": "beatgan", "latent": 3, "width": 2},
            "optimizer": ADAM,
            "losses": {"adversarial": {"weight": 1.0}},
            "training": {
                "epochs": 8,
                "batch_size": 16,
                "select": "loss",
                "log_steps": 4,
                "checkpoint_epochs": 3,
            },
        },
        "ctrnn": {
            "task": "cognitive",
            "trials": {"name": "perceptual_decision", "dt": 100.0, "stimulus": 400.0},
            "model": {
                "name": "ctrnn",
                "units": 8,
                "tau": 200.0,
                "recurrent_noise": 0.05,
            },
            "examples": {"train": 160, "validation": 24, "test": 40},
            "optimizer": ADAM,
            "losses": {"squared_error": {"weight": 1.0}},
            "analysis": {"trials": 0, "rates": 0, "starts": 0},
            "training": {
                "epochs": 6,
                "batch_size": 16,
                "eval_batch_size": 16,
                "select": "loss",
                "log_steps": 3,
                "checkpoint_epochs": 4,
            },
        },
    }
    if size == "short":
        del config.stages["beatgan"]  # longest to compile
        for stage in config.stages.values():
            stage.training.epochs = 6
    return config
