"""LSTM and GRU on the checkerboard task, beside a CTRNN of as many units.

    bash launch/local.sh configs/lstm_checkerboard.py
    bash launch/local.sh configs/lstm_checkerboard.py:smoke

The blog's first part has gated networks. The same trials and steps for all three, and
no cost but the squared error.

Cost: not measured as a whole.
"""

from ml_collections import ConfigDict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    common.cognitive(config, smoke=smoke, steps=1000)
    config.trials = {"name": "checkerboard"}
    units = 16 if smoke else 64
    config.analysis.starts = 0
    config.stages = {
        name: {"model": {"name": name, "units": units}}
        for name in ("ctrnn", "gru", "lstm")
    }
    config.report = {"comparisons": (("gru", "ctrnn"), ("lstm", "ctrnn"))}
    return config
