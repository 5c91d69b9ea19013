"""Quick start: does a teacher help a student with few labels? Real handwritten digits.

    bash launch/local.sh                              # this config
    python -m kdjax --config=configs/digits_eskd.py --workdir=runs/digits_eskd
    python -m kdjax --config=configs/digits_eskd.py:smoke --workdir=/tmp/smoke

scikit-learn's 1,797 digits of 8 x 8 pixels (Alpaydin & Kaynak 1998), a third of them
the test set. The teacher, an MLP of 2 x 256 units, has some 95 labels a class; the
student, of 16 units, has 10 and, when distilled, what the teacher says of those 100.
"""

from ml_collections import ConfigDict

KD = {"cross_entropy": {"weight": 0.3}, "kd": {"weight": 0.7, "temperature": 4.0}}


def get_config(arg: str = "") -> ConfigDict:
    if arg not in ("", "smoke"):
        raise ValueError(f"expected no argument or 'smoke', got {arg!r}")
    smoke = arg == "smoke"
    config = ConfigDict()
    config.seeds = (0,) if smoke else tuple(range(8))
    config.parallel = "pmap"
    config.task = "distill"
    config.data = {"name": "digits", "labels_per_class": 10}
    config.model = {"name": "mlp", "widths": (16,)}
    config.training = {
        "epochs": 4 if smoke else 100,
        "batch_size": 50,
        "eval_epochs": 2,
        "checkpoint_epochs": 50,
    }
    config.optimizer = {
        "name": "sgd",
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "schedule": {"name": "cosine", "value": 0.1},
    }
    config.losses = {"cross_entropy": {"weight": 1.0, "label_smoothing": 0.0}}
    config.stages = {
        "teacher": {
            "data": {"labels_per_class": None},
            "model": {"widths": (256, 256)},
            "soft_labels": True,
        },
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
        "checkpoint": "last",
        "confusion": ("scratch", "eskd"),
        "comparisons": (
            ("label_smoothing", "scratch"),
            ("full_kd", "scratch"),
            ("eskd", "scratch"),
            ("eskd", "label_smoothing"),
            ("eskd", "full_kd"),
        ),
    }
    return config
