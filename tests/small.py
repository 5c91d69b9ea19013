"""A whole experiment, small enough for tests: a teacher and a student of waves."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seeds = (0,)
    config.parallel = "pmap"
    config.task = "distill"
    config.data = {
        "name": "synthetic_wearable",
        "samples": 32,
        "windows": 48,
        "noise": 0.2,
    }
    config.model = {"name": "mlp", "widths": (16,)}
    config.training = {"epochs": 10, "batch_size": 32, "log_steps": 2}
    config.optimizer = {
        "name": "sgd",
        "momentum": 0.9,
        "schedule": {"name": "constant", "value": 0.05},
    }
    config.losses = {"cross_entropy": {"weight": 1.0}}
    config.augment = {"name": "removal"}
    config.stages = {
        "teacher": {"model": {"widths": (64,)}, "soft_labels": True},
        "scratch": {},
        "eskd": {
            "teacher": {"stage": "teacher", "checkpoint": "best"},
            "losses": {"cross_entropy": {"weight": 0.3}, "kd": {"weight": 0.7}},
        },
    }
    config.report = {"order": ("teacher", "scratch", "eskd")}
    return config
