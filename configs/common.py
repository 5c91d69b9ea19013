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

# Of simclr_image no more than its crop and its flip: supervised training's.
CROP_AND_FLIP: dict[str, Any] = {
    "name": "simclr_image",
    "min_area": 0.5,
    **dict.fromkeys(("strength", "jitter", "grayscale", "blur"), 0.0),
}
# Small enough for a CPU.
CONVNET: dict[str, Any] = {
    "name": "convnet",
    "widths": (32, 64, 128),
    "windows": (3, 3, 3),
    "strides": (2, 2, 2),
}


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


# A stage that is no network: MiniRocket's features and a ridge classifier.
MINIROCKET: dict[str, Any] = {
    "task": "minirocket",
    "losses": None,
    "model": None,
    "optimizer": None,
    "training": {"epochs": 0},
}


def own_eskd(arg: str) -> ConfigDict:
    """WRN16-3 teaches WRN16-1, of whatever `data` the config goes on to name."""
    config, smoke = start(arg, seeds=8)
    config.model = {"name": "wide_resnet", "depth": 10 if smoke else 16, "width": 1}
    config.training = {"epochs": 1 if smoke else 30, "batch_size": 32}
    config.optimizer = sgd(
        weight_decay=1e-4, schedule={"name": "cosine", "value": 0.05}
    )
    config.stages = stages({"model": {"width": 3}})
    config.report = {
        "order": ORDER,
        "confusion": ("scratch", "eskd"),
        "comparisons": COMPARISONS,
    }
    return config


# --- SimCLR --------------------------------------------------------------------------

LAST = {"checkpoint": "last"}


def lars(*, value: float, scaling: str, warmup: float = 0.1) -> dict[str, Any]:
    """SimCLR's optimiser: LARS, a rate scaled by the batch size, warm-up and cosine."""
    schedule = {
        "name": "cosine",
        "value": value,
        "scaling": scaling,
        "warmup": warmup,
    }
    return {"name": "lars", "weight_decay": 1e-6, "schedule": schedule}


def pretrain(
    *,
    augment: dict[str, Any],
    training: dict[str, Any],
    optimizer: dict[str, Any],
    temperature: float,
) -> dict[str, Any]:
    """A stage that trains the model and its whole projection head by contrast."""
    return {
        "task": "simclr",
        "losses": None,
        "augment": augment,
        "training": training | {"select": "loss"},
        "optimizer": optimizer,
        "contrast": {"temperature": temperature},
    }


def probes(
    encoder: str | None, prefix: str = "", names: tuple[str, ...] = ("linear", "knn")
) -> dict[str, Any]:
    """Stages that read a stage's representations, or an untrained network's (None)."""
    frozen = {"encoder": {"stage": encoder} | LAST, "model": None} if encoder else {}
    common = frozen | {"task": "probe", "losses": None, "augment": None}
    stages = {}
    for name in names:
        # What is not trained needs no epochs, and the map is the same for all probes.
        own: dict[str, Any] = {}
        if name != "linear":
            own = {"training": {"epochs": 0}, "optimizer": None}
        own["embeddings"] = name == "knn"
        stages[f"{prefix}{name}"] = common | {"probe": {"name": name}} | own
    return stages


def fine_tune(
    per_cent: int, *, keep: int, training: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """From `per_cent` of the labels: the pretrained network, and a new one."""
    common = {
        "data": {"label_fraction": per_cent / 100},
        "model": {"projection": {"keep": keep}},
        # A stage with `start` would have stream 1, one without 0. Both have 1 here: the
        # same order of examples and the same new head, so only the start differs.
        "training": training | {"stream": 1},
    }
    start = {"start": {"stage": "pretrain"} | LAST}
    return {f"fine_tune_{per_cent}": common | start, f"scratch_{per_cent}": common}


def distill(
    per_cent: int, *, student: dict[str, Any], training: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """`student` taught by the fine-tuned network on all examples; and on its own."""
    common = {"data": {"label_fraction": per_cent / 100}, "model": student}
    return {
        f"student_{per_cent}": common | {"training": training},
        f"distill_{per_cent}": common
        | {
            "teacher": {"stage": f"fine_tune_{per_cent}"} | LAST,
            "unlabelled": True,
            "losses": {
                "cross_entropy": {"weight": 0.0},
                "kd": {"weight": 1.0, "temperature": 1.0},
            },
        },
    }


# --- brains and people as teachers ---------------------------------------------------

# Half from the labels, half from a teacher's stored soft labels, or from no teacher.
SOFT_TARGET = {"cross_entropy": {"weight": 0.5}, "soft_target": {"weight": 0.5}}
TEACHER_FREE = {"cross_entropy": {"weight": 0.5}, "teacher_free": {"weight": 0.5}}
SMOOTHED = {"cross_entropy": {"label_smoothing": 0.1}}


def voted_cifar10(config: ConfigDict, *, smoke: bool) -> None:
    """The fields of students of CIFAR-10's test images, on which people voted."""
    config.data = {"name": "cifar10", "root": "data/cifar10", "swap": True, "folds": 5}
    config.training = {
        "epochs": 2 if smoke else 30,
        "batch_size": 64,
        "eval_epochs": 2 if smoke else 10,
        "checkpoint_epochs": 2 if smoke else 20,
        "select": "loss",
    }
    config.optimizer = sgd(
        weight_decay=5e-4, schedule={"name": "cosine", "value": 0.05}
    )


# --- anomaly detection ---------------------------------------------------------------

# A stage of a detector that is fitted, not trained; "detector" says which.
SOLVED: dict[str, Any] = {
    "task": "detector",
    "losses": None,
    "model": None,
    "optimizer": None,
    "training": {"epochs": 0},
}
PCA: dict[str, Any] = SOLVED | {"detector": {"name": "pca"}}
OWN_MEDIAN: dict[str, Any] = SOLVED | {"task": "own_median"}


def beatgan_adam(value: float = 1e-4) -> dict[str, Any]:
    """BeatGAN's Adam: a constant rate, and half the usual memory of the gradient."""
    schedule = {"name": "constant", "value": value}
    return {"name": "adam", "b1": 0.5, "schedule": schedule}


# --- cognitive tasks -----------------------------------------------------------------

# The checkerboard blog's: sums over all rates and all parameters.
BLOG_COSTS: dict[str, Any] = {
    "squared_error": {"weight": 1.0},
    "rate_l1": {"weight": 1e-6, "reduction": "sum"},
    "weight_l1": {"weight": 1e-4, "reduction": "sum"},
}


def cognitive(
    config: ConfigDict, *, smoke: bool, steps: int, batch_size: int = 128
) -> None:
    """The fields of a network that learns trials for so many steps; 100 an epoch."""
    config.task = "cognitive"
    config.losses = {"squared_error": {"weight": 1.0}}
    config.examples = {
        "train": 10 * batch_size if smoke else 100 * batch_size,
        "validation": 128 if smoke else 1024,
        "test": 128 if smoke else 4096,
    }
    config.training = {
        "epochs": 2 if smoke else steps // 100,
        "batch_size": batch_size,
        "eval_batch_size": 128 if smoke else 512,
        "steps_per_call": 10 if smoke else 50,
        "checkpoint_epochs": 2 if smoke else 5,
        "select": "correct",
    }
    config.optimizer = {
        "name": "adam",
        "schedule": {"name": "constant", "value": 1e-3},
    }
    config.analysis = {
        "trials": 5 if smoke else 200,
        "samples": 10 if smoke else 200,
        "rates": 2 if smoke else 20,
        "starts": 20 if smoke else 300,
    }
