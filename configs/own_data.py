"""ESKD on your own arrays: one .npz with x, y and, if you have them, group and key.

    bash launch/local.sh configs/own_data.py --config.data.path=mine.npz

The model is a WRN over time or images, by the rank of x; for features [n, d] add
`--config.model.name=mlp` to a copy of this file without depth and width.
"""

from ml_collections import ConfigDict

KD = {"cross_entropy": {"weight": 0.3}, "kd": {"weight": 0.7, "temperature": 4.0}}


def get_config(arg: str = "") -> ConfigDict:
    if arg not in ("", "smoke"):
        raise ValueError(f"expected no argument or 'smoke', got {arg!r}")
    smoke = arg == "smoke"
    config = ConfigDict()
    config.seeds = (0,) if smoke else tuple(range(6))
    config.parallel = "pmap"
    config.task = "distill"
    config.data = {"name": "arrays", "path": "data.npz"}
    config.model = {
        "name": "wide_resnet",
        "depth": 10 if smoke else 16,
        "width": 1,
    }
    config.training = {"epochs": 1 if smoke else 30, "batch_size": 32}
    config.optimizer = {
        "name": "sgd",
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "schedule": {"name": "cosine", "value": 0.05},
    }
    config.losses = {"cross_entropy": {"weight": 1.0, "label_smoothing": 0.0}}
    config.stages = {
        "teacher": {"model": {"width": 3}, "soft_labels": True},
        "scratch": {},
        "label_smoothing": {"losses": {"cross_entropy": {"label_smoothing": 0.1}}},
        "full_kd": {
            "teacher": {"stage": "teacher", "checkpoint": "last"},
            "losses": KD,
        },
        "eskd": {
            "teacher": {"stage": "teacher", "checkpoint": "best"},
            "losses": KD,
        },
    }
    config.report = {
        "order": ("teacher", "scratch", "label_smoothing", "full_kd", "eskd"),
        "confusion": ("scratch", "eskd"),
    }
    return config
