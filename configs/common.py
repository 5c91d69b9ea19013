"""What the experiments share; found from the repository's root (launch/local.sh)."""

from typing import Any

from ml_collections import ConfigDict, config_dict

KD = {"cross_entropy": {"weight": 0.3}, "kd": {"weight": 0.7, "temperature": 4.0}}
ORDER = ("teacher", "scratch", "label_smoothing", "full_kd", "eskd")
COMPARISONS = (
    ("label_smoothing", "scratch"),
    ("full_kd", "scratch"),
    ("eskd", "scratch"),
    ("eskd", "label_smoothing"),
    ("eskd", "full_kd"),
)


def start(arg: str, *, seeds: int) -> tuple[ConfigDict, bool]:
    """(a config with the fields of every experiment, whether it is a smoke run)."""
    if arg not in ("", "smoke"):
        raise ValueError(f"expected no argument or 'smoke', got {arg!r}")
    smoke = arg == "smoke"
    config = ConfigDict()
    config.seeds = (0,) if smoke else tuple(range(seeds))
    config.parallel = "pmap"
    config.devices = config_dict.placeholder(int)  # all there are
    config.task = "distill"
    config.losses = {"cross_entropy": {"weight": 1.0, "label_smoothing": 0.0}}
    return config, smoke


def sgd(*, weight_decay: float, schedule: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "sgd",
        "momentum": 0.9,
        "weight_decay": weight_decay,
        "schedule": schedule,
    }


def stages(teacher: dict[str, Any]) -> dict[str, Any]:
    """A teacher, its controls, and the student of its last and of its best epoch."""
    return {
        "teacher": teacher | {"soft_labels": True},
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
