"""BeatGAN on motion capture: learn walking, find jogging, jumping and dancing.

    bash launch/local.sh configs/beatgan_mocap.py --config.data.root=FOLDER
    bash launch/local.sh configs/beatgan_mocap.py:smoke --config.data.root=FOLDER

CMU's motion capture in four joint angles, windows of 64 steps (mocap.cs.cmu.edu; the
files of BeatGAN's code). Dense networks, as published: Adam at 1e-4, batch 64, weight
0.01 of the features. `pca` is the simplest detector there is.

The classes of these files are different persons: every walk and run is subject 35,
`other` is subject 49. The AUC of `other` partly tells persons apart; that of `run`, in
the report's table by class, does not.

Cost: not measured as a whole.
"""

from ml_collections import ConfigDict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    config.task = "beatgan"
    config.losses = {"adversarial": {"weight": 0.01}}
    config.data = {"name": "mocap", "root": "data/mocap"}
    config.model = {"name": "motion_beatgan", "latent": 10}
    config.training = {
        "epochs": 1 if smoke else 50,
        "batch_size": 64,
        "select": "loss",
    }
    config.optimizer = common.beatgan_adam()
    config.stages = {"beatgan": {}, "pca": common.PCA}
    config.report = {
        "order": ("beatgan", "pca"),
        "comparisons": (("beatgan", "pca"),),
    }
    return config
