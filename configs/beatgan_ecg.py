"""BeatGAN on MIT-BIH: learn normal heartbeats, find abnormal ones, on unseen patients.

    bash launch/local.sh configs/beatgan_ecg.py --config.data.root=MITDB_FOLDER
    bash launch/local.sh configs/beatgan_ecg.py:smoke --config.data.root=MITDB_FOLDER

With --config.losses.adversarial.weight=0.02 it finds more (see the README's figures).

As published, for comparison with the paper's figures only, since each patient's beats
are in training and test alike and the epoch is chosen on labelled anomalies:

    bash launch/local.sh configs/beatgan_ecg.py --config.data.root=MITDB_FOLDER \\
        --config.data.protocol=paper --config.training.select=auc \\
        --workdir=runs/beatgan_ecg_paper

Moody & Mark 2001; Zhou et al., IJCAI 2019: Adam at 1e-4, batch 64, latent 50.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=3)
    common.ecg(config, smoke, epochs=10)
    config.stages = {"beatgan": {}}
    return config
