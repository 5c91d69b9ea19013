"""BeatGAN on MIT-BIH: learn normal heartbeats, find abnormal ones, on unseen patients.

    bash launch/local.sh configs/beatgan_ecg.py --config.data.root=MITDB_FOLDER
    bash launch/local.sh configs/beatgan_ecg.py:smoke --config.data.root=MITDB_FOLDER

Of three records, a patient each for training, validation and test:

    bash launch/local.sh configs/beatgan_ecg.py --config.data.root=MITDB_FOLDER \\
        --config.data.records=100,103,119 --config.data.test_groups='("119",)' \\
        --config.data.validation_groups=1 --workdir=runs/three

With --config.losses.adversarial.weight=0.02 it finds more; see README.md here.
`autoencoder` is its generator trained alone, `pca` the simplest detector there is, and
`own_median` puts each beat beside its patient's usual one, `monitor` by the past alone.

--config.data.protocol=ds1_ds2 tests the records that the literature tests;
beatgan_paper.py has the paper's own protocol.

Moody & Mark 2001; Zhou et al., IJCAI 2019: Adam at 1e-4, batch 64, latent 50.

Cost: not measured as a whole.
"""

from ml_collections import ConfigDict, FieldReference

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    config.task = "beatgan"
    config.losses = {"adversarial": {"weight": 1.0}}
    config.data = {
        "name": "mitbih",
        "root": "data/mitdb",
        "records": (),  # all but the paced
        "protocol": "patient",
        "fold": 0,
        "leads": ("MLII",),
        "strict": False,
        "r_peak": None,  # as the protocol has it
        "window": "standard",
        # patients: how many are drawn, or which, such as ("119",)
        "validation_groups": FieldReference(8, field_type=object),
        "test_groups": FieldReference(11, field_type=object),
    }
    config.model = {"name": "beatgan", "latent": 50, "width": 2 if smoke else 32}
    config.training = {
        "epochs": 1 if smoke else 10,
        "batch_size": 512 if smoke else 64,
        "select": "loss",
    }
    config.optimizer = common.beatgan_adam()
    config.stages = {
        "beatgan": {},
        "autoencoder": {"task": "autoencoder", "losses": None},
        "pca": common.PCA,
        "own_median": common.OWN_MEDIAN,
        "monitor": common.OWN_MEDIAN | {"detector": {"causal": True}},
    }
    config.report = {
        "order": ("beatgan", "autoencoder", "pca", "own_median", "monitor"),
        "comparisons": (
            ("beatgan", "autoencoder"),
            ("beatgan", "pca"),
            ("beatgan", "own_median"),
        ),
    }
    return config
