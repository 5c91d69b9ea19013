"""A cognitive task small enough for tests: ten steps of 100 ms, eight units."""

from kdjax.plan import merge
from kdjax.tasks.cognitive import task as cognitive
from kdjax.training.task import Training

CONFIG = {
    "seeds": [0],
    "task": "cognitive",
    "trials": {
        "name": "perceptual_decision",
        "dt": 100.0,
        "stimulus": 400.0,
        "coherences": [0.5],
        "noise": 0.2,
    },
    "model": {"name": "ctrnn", "units": 8, "tau": 200.0, "recurrent_noise": 0.05},
    "examples": {"train": 112, "validation": 24, "test": 40},
    "training": {
        "epochs": 2,
        "batch_size": 16,
        "eval_batch_size": 16,
        "log_steps": 2,
        "select": "loss",
    },
    "optimizer": {"name": "adam", "schedule": {"name": "constant", "value": 0.01}},
    "losses": {
        "squared_error": {"weight": 1.0},
        "rate_l1": {"weight": 1e-5, "reduction": "sum"},
        "weight_l1": {"weight": 1e-4},
    },
    "analysis": {"trials": 0, "rates": 0, "starts": 0},
    "stages": {"ctrnn": {}},
}


def config(**changes):
    return merge(CONFIG, changes)


def training(**changes):
    return Training(**CONFIG["training"] | changes)


def make(settings=None, *, seed=0, **changes):
    """The task of `config(**changes)`, to be trained by `settings`."""
    left_out = ("seeds", "task", "training", "stages", "report")
    fields = {k: v for k, v in config(**changes).items() if k not in left_out}
    return cognitive.make(training=settings or training(), seed=seed, **fields)
