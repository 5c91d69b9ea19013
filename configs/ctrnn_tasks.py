"""A network for each of seven cognitive tasks, with the fixed points it finds.

    bash launch/local.sh configs/ctrnn_tasks.py
    bash launch/local.sh configs/ctrnn_tasks.py:smoke

The answer weighs five times as much as what is before it. With equal weights, units
that saturate (retanh) and half the learning rate, mante and match_to_sample stayed at
chance in as many steps; parametric_working_memory still compares no more than its
second stimulus. What came out: configs/RESULTS.md.

Cost: not measured as a whole.
"""

from ml_collections import ConfigDict

from kdjax.configs import common

TASKS = (
    "checkerboard",
    "flip_flop",
    "go_nogo",
    "mante",
    "match_to_sample",
    "parametric_working_memory",
    "perceptual_decision",
)


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=1)
    common.cognitive(config, smoke=smoke, steps=2000, batch_size=64)
    config.model = {
        "name": "ctrnn",
        "units": 16 if smoke else 100,
        "activation": "relu",
        "start": "orthogonal",
        "spectral_radius": 1.0,
        "recurrent_noise": 0.05,
    }
    config.optimizer.schedule = {"name": "cosine", "value": 2e-3, "warmup": 0.02}
    config.analysis.starts = 10 if smoke else 50  # under each of up to 26 held inputs
    config.stages = {
        name: {"trials": {"name": name, "weight": 5.0}}
        for name in TASKS
        if name != "flip_flop"
    }
    # its outputs have either sign, and its states are corners of a cube
    config.stages.flip_flop = {
        "trials": {"name": "flip_flop"},
        "model": {"activation": "tanh"},
        "analysis": {"starts": 10 if smoke else 300},
    }
    return config
