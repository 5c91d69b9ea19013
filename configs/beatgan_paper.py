"""BeatGAN on MIT-BIH as published: five folds of beats, the epoch chosen on labels.

    bash launch/local.sh configs/beatgan_paper.py --config.data.root=MITDB_FOLDER
    bash launch/local.sh configs/beatgan_paper.py:smoke --config.data.root=MITDB_FOLDER

For comparison with the paper's figures only: each patient's beats are in training and
test alike, and `best` is the epoch of 100 that tells labelled anomalies best, as in the
authors' code. Normal beats without an R peak near are dropped, and windows begin one
sample later, as there. A seed is a fold.

Zhou et al., IJCAI 2019: AUC .9447 and average precision .9108.

Cost: not measured as a whole.
"""

from ml_collections import ConfigDict

from kdjax.configs import beatgan_ecg, common


def get_config(arg: str = "") -> ConfigDict:
    config = beatgan_ecg.get_config(arg)
    smoke = arg == "smoke"
    config.seeds = (0,) if smoke else (0, 1, 2, 3, 4)
    config.data.protocol = "paper"
    config.data.window = "paper"
    config.data.fold = None  # the seed's
    config.training.select = "auc"
    config.training.epochs = 1 if smoke else 100
    config.stages = {
        "beatgan": {},
        "pca_10": common.SOLVED | {"detector": {"name": "pca", "components": 10}},
    }
    config.report = {
        "order": ("beatgan", "pca_10"),
        "checkpoint": "best",
        "comparisons": (("beatgan", "pca_10"),),
    }
    return config
