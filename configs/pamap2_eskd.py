"""Wearable ESKD on PAMAP2: the stages of har_papers.py, one subject left out.

    bash launch/local.sh configs/pamap2_eskd.py --config.data.root=FOLDER
    bash launch/local.sh configs/pamap2_eskd.py --config.data.root=... \
        --config.data.test_subject=105 --workdir=runs/pamap2_105

FOLDER holds Protocol/subject101.dat to subject109.dat (Reiss & Stricker 2012).
12 activities, windows of 100 samples (3 s) and 40 channels. The papers leave each of
the subjects out in turn: one run and one workdir for each. Optimiser, batch and epochs
are the wearable papers' (Jeon et al. 2021): a GPU's work, or days of two cores.

Cost: a GPU's work, or days of two CPU cores, for each subject.
"""

from ml_collections import ConfigDict

from kdjax.configs import common, har_papers


def get_config(arg: str = "") -> ConfigDict:
    config = har_papers.get_config(arg)
    config.data = {
        "name": "pamap2",
        "root": "data/PAMAP2_Dataset",
        "test_subject": 101,
        "validation_groups": 2,
    }
    config.training.epochs = 1 if arg == "smoke" else 200
    config.optimizer = common.sgd(
        weight_decay=1e-4,
        schedule={
            "name": "steps",
            "values": (0.05, 0.01, 0.001, 0.0001),
            "boundaries": (0.055, 1 / 3, 2 / 3),
        },
    )
    return config
