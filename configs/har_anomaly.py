"""Anomalies in motion on UCI HAR: learn one activity, tell the other five from it.

    bash launch/local.sh configs/har_anomaly.py --config.data.root=FOLDER_OR_ZIP
    bash launch/local.sh configs/har_anomaly.py:smoke --config.data.root=FOLDER_OR_ZIP
    bash launch/local.sh configs/har_anomaly.py --config.data.root=... \
        --config.data.normal=standing --workdir=runs/har_standing

Windows of 2.56 s in 9 channels. Every detector learns `normal` from 17 subjects, and
sees no other activity; 4 subjects, drawn by seed, validate, by their normal windows
alone; the official 9 are tested. The autoencoders reconstruct through a code of 16
numbers, PCA through as many as leave 5 % of the normal validation windows' variance.
Seven seeds are the fewest with which three comparisons can be significant.

Read the table by activity. A window in which nobody moves is easier to reconstruct than
walking, so that sitting and standing score below what was learnt, not above.

Cost: 10 minutes of two CPU cores.
"""

from ml_collections import ConfigDict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=7)
    config.task = "autoencoder"
    config.losses = None
    config.data = {
        "name": "uci_har",
        "root": "data/uci_har",
        "validation_groups": 4,
        "normal": "walking",
    }
    config.training = {
        "epochs": 1 if smoke else 60,
        "batch_size": 32,
        "checkpoint_epochs": 1 if smoke else 20,
        "select": "loss",
    }
    config.optimizer = {
        "name": "adam",
        "schedule": {"name": "cosine", "value": 1e-3},
    }
    dense = {"name": "dense_autoencoder", "latent": 16, "widths": (256, 64)}
    conv = {"name": "conv_autoencoder", "latent": 16, "widths": (32, 64, 128)}
    config.stages = {
        "dense": {"model": dense},
        "conv": {"model": conv},
        "pca": common.PCA,
        "isolation_forest": common.SOLVED | {"detector": {"name": "isolation_forest"}},
    }
    config.report = {
        "order": ("dense", "conv", "pca", "isolation_forest"),
        "comparisons": (
            ("dense", "pca"),
            ("conv", "pca"),
            ("isolation_forest", "pca"),
        ),
    }
    return config
