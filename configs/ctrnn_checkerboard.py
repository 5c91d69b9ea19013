"""One network on the checkerboard task, as a blog has it, beside two monkeys.

    bash launch/local.sh configs/ctrnn_checkerboard.py --config.analysis.animals=CSV
    bash launch/local.sh configs/ctrnn_checkerboard.py:smoke

128 ReLU units, 4,000 steps of 128 trials of 2 s, Adam; L1 of all rates and all
parameters, as sums. CSV is a file of animals' behaviour by coherence
(kdjax.tasks.cognitive.animals.read_animals); without it the report has none. What came
out: configs/RESULTS.md.

Cost: 10 minutes of two CPU cores.
"""

from ml_collections import ConfigDict, config_dict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    common.cognitive(config, smoke=smoke, steps=4000)
    config.trials = {"name": "checkerboard"}
    config.model = {"name": "ctrnn", "units": 32 if smoke else 128}
    config.losses = common.BLOG_COSTS
    config.analysis.animals = config_dict.placeholder(str)
    config.analysis.held = (
        "cue 0, coherence -0.32",
        "cue 0, coherence 0",
        "cue 0, coherence 0.32",
        "cue 1, coherence -0.32",
        "cue 1, coherence 0",
        "cue 1, coherence 0.32",
    )
    config.analysis.decode = ("choice", "cue", "coherence")
    config.stages = {"ctrnn": {}}
    return config
