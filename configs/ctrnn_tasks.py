"""A network for each of seven cognitive tasks, with the fixed points it finds.

bash launch/local.sh configs/ctrnn_tasks.py
bash launch/local.sh configs/ctrnn_tasks.py:smoke
"""

from ml_collections import ConfigDict

from configs import common

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
        "activation": "retanh",
        "start": "orthogonal",
        "spectral_radius": 1.0,
    }
    config.stages = {name: {"trials": {"name": name}} for name in TASKS}
    # the flip-flop's outputs have either sign, and its states are corners of a cube
    config.stages.flip_flop.model = {"activation": "tanh"}
    config.analysis.starts = 10 if smoke else 50  # under each of up to 26 held inputs
    config.stages.flip_flop.analysis = {"starts": 10 if smoke else 300}  # under one
    return config
