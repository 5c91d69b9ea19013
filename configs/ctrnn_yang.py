"""Twenty cognitive tasks in one network of 256 units (Yang et al. 2019).

    bash launch/local.sh configs/ctrnn_yang.py
    bash launch/local.sh configs/ctrnn_yang.py:smoke

Each trial of a batch is of one of the twenty tasks. 25,000 steps of 64 trials. Stimuli
to compare differ much at first: among the authors' own ones the network does not find
out which modality counts. What came out:
configs/RESULTS.md.

Cost: 2 hours of a CPU core.
"""

from ml_collections import ConfigDict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=1)
    config.task = "cognitive"
    config.trials = {"name": "yang"}
    config.model = {
        "name": "ctrnn",
        "units": 32 if smoke else 256,
        "activation": "softplus",
        "start": "orthogonal",
        "spectral_radius": 0.5,
        "recurrent_noise": 0.05,
        "output_activation": "sigmoid",
    }
    config.examples = {
        "train": 640 if smoke else 16_000,
        "validation": 200 if smoke else 2_000,
        "test": 400 if smoke else 10_000,
    }
    config.training = {
        "epochs": 1 if smoke else 100,
        "batch_size": 64,
        "eval_batch_size": 200 if smoke else 500,
        "steps_per_call": 10 if smoke else 25,
        "select": "correct",
    }
    config.optimizer = {
        "name": "adam",
        "schedule": {"name": "cosine", "value": 2e-3, "warmup": 0.02},
    }
    config.losses = {"squared_error": {"weight": 1.0}}
    config.curriculum = {
        "levels": (
            {
                "coherences": (0.16, 0.32, 0.48, 0.64),
                "delayed_coherences": (0.24, 0.48, 0.64),
            },
            {
                "coherences": (0.08, 0.16, 0.24, 0.32),
                "delayed_coherences": (0.16, 0.32, 0.48),
            },
            {"coherences": (0.04, 0.08, 0.12, 0.16)},
        ),
        "criterion": 0.92,
        "window": 100,
    }
    # 1,152 conditions: how many of each
    config.analysis = {
        "trials": 2 if smoke else 20,
        "rates": 1 if smoke else 4,
        "starts": 10 if smoke else 50,  # of each rule
    }
    config.stages = {"ctrnn": {}}
    return config
