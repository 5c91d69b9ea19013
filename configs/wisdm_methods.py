"""Every method of distillation on WISDM's watch: WRN16-3 teaches a tiny network.

    bash launch/local.sh configs/wisdm_methods.py --config.data.root=FOLDER_OR_ZIP
    bash launch/local.sh configs/wisdm_methods.py:smoke --config.data.root=FOLDER_OR_ZIP

18 activities, windows of 5 s; 10 subjects for test, the same for every seed, 6 for
validation. The student, three convolutions of 2,770 parameters, has maps of the length
of its teacher's three groups, which are paired. Weights are each paper's, or those that
RepDistiller's users have; none was tried here. Beside them `scratch`, and what needs no
teacher: label smoothing, and FRSKD, where a pyramid refines the student's own maps.
With ten seeds 16 comparisons can be told from chance by Holm's correction, with nine
none. What came out: configs/RESULTS.md.

wisdm_few.py is the same where four subjects are labelled.

Cost: 5 hours of a CPU core.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import common

TEACHER = {"name": "wide_resnet", "depth": 16, "width": 3}
STUDENT = {
    "name": "convnet",
    "widths": (8, 16, 32),
    "windows": (3, 3, 3),
    "strides": (1, 2, 2),
}
LAYERS = {"layer1": "group1", "layer2": "group2", "layer3": "group3"}
LAST = {"layer3": "group3"}
MIDDLE = {"layer2": "group2"}


def _soft(weight: float, hard: float, **kd: Any) -> dict[str, Any]:
    return {"cross_entropy": {"weight": hard}, "kd": {"weight": weight, **kd}}


def _beside(name: str, weight: Any, **fields: Any) -> dict[str, Any]:
    """A term beside the whole cross-entropy."""
    return {name: {"weight": weight, **fields}}


# Zhao et al. let it rise over the first 20 of 240 epochs.
RISING = {"name": "linear", "end": 1.0, "over": 1 / 12}
METHODS: dict[str, dict[str, Any]] = {
    "kd": _soft(0.9, 0.1, temperature=4.0),
    "kd_standardised": _soft(9.0, 0.1, temperature=2.0, standardise=True),
    "decoupled": _beside("decoupled", RISING),
    "dist": _beside("dist", 1.0),
    "fitnet": _beside("fitnet", 100.0, layers=MIDDLE),
    "variational": _beside("variational", 1.0, layers=LAYERS),
    "attention": _beside("attention_transfer", 1000.0, layers=LAYERS),
    "amd": _beside("amd", 5000.0, layers=LAYERS),
    "amd_local": _beside("amd", 5000.0, layers=LAYERS, local=True),
    "similarity": _beside("similarity", 3000.0, layers=LAST),
    "relational": _beside("relational", 1.0),
    "pkt": _beside("pkt", 30000.0),
    "correlation": _beside("correlation", 0.02),
    "contrastive": _beside("contrastive", 0.8),
}


FRSKD = {"cross_entropy": None, "frskd": {"weight": 1.0}}
# Those that take embeddings and no map.
EMBEDDING = ("relational", "pkt", "correlation", "contrastive")


def taught(
    terms: dict[str, Any], stage: str = "teacher", checkpoint: str = "best"
) -> dict[str, Any]:
    """A stage whose teacher says the same of a window each time: it is asked once."""
    maps = {
        theirs for term in terms.values() for theirs in term.get("layers", {}).values()
    }
    if not terms.keys().isdisjoint(EMBEDDING):
        maps.add("pooled")
    teacher = {"stage": stage, "checkpoint": checkpoint, "augment": None}
    return {
        "teacher": teacher | {"keep": tuple(sorted(maps)) or True},
        "losses": terms,
    }


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=10)
    config.data = {
        "name": "wisdm",
        "root": "data/wisdm",
        "step": 1000 if smoke else 100,
    }
    config.model = STUDENT
    config.training = {"epochs": 1 if smoke else 20, "batch_size": 64}
    config.optimizer = {
        "name": "adamw",
        "weight_decay": 1e-2,
        "schedule": {"name": "cosine", "value": 3e-3, "warmup": 0.1},
    }
    config.stages = {
        "teacher": {"model": TEACHER, "training": {"epochs": 1 if smoke else 5}},
        "scratch": {},
        "label_smoothing": {"losses": common.SMOOTHED},
        "frskd": {"losses": FRSKD},
        **{name: taught(terms) for name, terms in METHODS.items()},
    }
    untaught = ("label_smoothing", "frskd")
    config.report = {
        "order": ("teacher", "scratch", *untaught, *METHODS),
        "checkpoint": "best",
        "comparisons": tuple((name, "scratch") for name in (*untaught, *METHODS)),
    }
    return config
