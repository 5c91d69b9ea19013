"""Eight classes of pictures decoded from one person's fMRI (Haxby et al. 2001).

    bash launch/local.sh configs/brain_haxby.py --config.data.paths=FILE
    bash launch/local.sh configs/brain_haxby.py:smoke --config.data.paths=FILE

FILE is a BData file of 12 runs, one block of each class in each run. Every block is
decoded by what was fitted to the other runs. Chance is .125.
"""

from ml_collections import ConfigDict, config_dict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=3)
    config.task = "decode"
    del config.losses
    config.data = {
        "name": "bdata",
        "paths": config_dict.placeholder(str),
        "lag": 2,  # volumes of 2.5 s: the response comes some 5 s after the picture
        "test": (12,),  # a dataset has a test split; the decoders leave out every run
    }
    config.training = {"epochs": 0, "batch_size": 16, "eval_batch_size": 96}
    halves = ("LEFT", "RIGHT", "POSTERIOR", "ANTERIOR")
    config.stages = {
        "ridge": {
            "decoder": {"name": "ridge"},
            "permutations": 20 if smoke else 1000,
        },
        "class_mean": {"decoder": {"name": "class_mean"}},
        "logistic": {"decoder": {"name": "logistic"}},
        "lda": {"decoder": {"name": "lda"}},
    }
    if smoke:
        del config.stages.lda, config.stages.logistic
    for half in halves[:1] if smoke else halves:
        config.stages[f"ridge_{half.lower()}"] = {
            "data": {"roi": f"ROI_{half}"},
            "decoder": {"name": "ridge"},
            "permutations": 20 if smoke else 1000,
        }
    return config
