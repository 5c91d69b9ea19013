"""One small network in the place of an ensemble that finds abnormal heart beats.

    bash launch/local.sh configs/ecg_distilled.py --config.data.root=MITDB_FOLDER
    bash launch/local.sh configs/ecg_distilled.py:smoke --config.data.root=MITDB_FOLDER

`ensemble` is the mean of what the patient's usual beat and BeatGAN say of a beat, and
its rhythm; `usual` is the same without BeatGAN. `distilled` is
an MLP of 90,625 parameters that learns the ensemble's scores of the training patients'
beats, without a label; `monitor` is one that learns those of an ensemble that looks
back alone. kdjax score and kdjax export take both:

    kdjax score --checkpoint=runs/ecg_distilled/seed_0/distilled --input=RECORD \\
        --output=scores.csv
    kdjax export runs/ecg_distilled/seed_0/distilled --format=onnx --checkpoint=last

Cost: an hour and a half of a CPU core, beside other processes.
"""

from ml_collections import ConfigDict

from kdjax.configs import beatgan_ecg, common

ENSEMBLE = common.SOLVED | {"task": "ensemble"}


def get_config(arg: str = "") -> ConfigDict:
    config = beatgan_ecg.get_config(arg)
    smoke = arg == "smoke"
    config.losses.adversarial.weight = 0.02
    config.training.epochs = 1 if smoke else 3
    members = {"beatgan": {"stage": "beatgan", "checkpoint": "last"}}
    student = {
        "task": "regressor",
        "losses": None,
        "model": {"name": "mlp", "widths": (128, 64)},
        "training": {"epochs": 1 if smoke else 10, "batch_size": 256},
        "optimizer": {
            "name": "adamw",
            "weight_decay": 1e-2,
            "schedule": {"name": "cosine", "value": 1e-3, "warmup": 0.05},
        },
    }
    causal = {"detector": {"causal": True}, "rhythm": "past"}
    config.stages = {
        "beatgan": {},
        "own_median": common.OWN_MEDIAN,
        "pca_10": common.SOLVED | {"detector": {"name": "pca", "components": 10}},
        "usual": ENSEMBLE,
        "ensemble": ENSEMBLE | {"members": members},
        "distilled": student | {"teacher": {"stage": "ensemble"}},
        "past": ENSEMBLE | causal | {"members": members},
        "monitor": student | {"teacher": {"stage": "past"}},
    }
    config.report = {
        "order": (
            *("beatgan", "own_median", "pca_10"),
            *("usual", "ensemble", "distilled", "past", "monitor"),
        ),
        "checkpoint": "last",
        "comparisons": (
            ("ensemble", "usual"),
            ("distilled", "ensemble"),
            ("monitor", "past"),
        ),
    }
    return config
