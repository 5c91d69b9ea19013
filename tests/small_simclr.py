"""A whole contrastive experiment, small enough for tests: real digits and an MLP."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seeds = (0,)
    config.parallel = "pmap"
    config.task = "distill"
    config.data = {"name": "digits"}
    config.model = {
        "name": "mlp",
        "widths": (32,),
        "projection": {"hidden": (32,), "outputs": 16},
    }
    config.training = {"epochs": 2, "batch_size": 64}
    config.optimizer = {
        "name": "sgd",
        "momentum": 0.9,
        "schedule": {"name": "constant", "value": 0.05},
    }
    config.losses = {"cross_entropy": {"weight": 1.0}}
    last = {"checkpoint": "last"}
    probe = {"task": "probe", "losses": None, "model": None}
    probe |= {"encoder": {"stage": "pretrain"} | last}
    solved = probe | {"training": {"epochs": 0}, "optimizer": None}
    few = {
        "data": {"label_fraction": 0.05},
        "model": {"projection": {"keep": 0}},
        # the stream of `fine_tune`, which goes on from another: so of `scratch` too
        "training": {"epochs": 5, "batch_size": 16, "stream": 1},
    }
    config.stages = {
        "pretrain": {
            "task": "simclr",
            "losses": None,
            "augment": {"name": "flip"},  # compiles fast
            "training": {"epochs": 3, "select": "loss"},
            "contrast": {"temperature": 0.2},
        },
        "linear": probe
        | {
            "probe": {"name": "linear"},
            "training": {"epochs": 6, "select": "ece"},  # best is not last
        },
        "knn": solved | {"probe": {"name": "knn"}, "embeddings": True},
        "ridge": solved | {"probe": {"name": "ridge"}},
        "fine_tune": few | {"start": {"stage": "pretrain"} | last},
        "scratch": few,
        "distill": {
            "data": {"label_fraction": 0.05},
            "model": {"projection": None},
            "teacher": {"stage": "fine_tune"} | last,
            "unlabelled": True,
            "training": {"epochs": 5},
            "losses": {"cross_entropy": {"weight": 0.0}, "kd": {"weight": 1.0}},
        },
    }
    config.stages.random_knn = {
        "task": "probe",
        "losses": None,
        "probe": {"name": "knn"},
        "training": {"epochs": 0},
        "optimizer": None,
        "embeddings": True,
    }
    config.report = {
        "order": ("pretrain", "linear", "knn", "random_knn"),
        "comparisons": (("knn", "random_knn"), ("fine_tune", "scratch")),
    }
    return config
