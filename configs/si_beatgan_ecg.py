"""Self-improving BeatGAN on MIT-BIH, its controls and the usual baselines.

    bash launch/local.sh configs/si_beatgan_ecg.py --config.data.root=MITDB_FOLDER
    bash launch/local.sh configs/si_beatgan_ecg.py:smoke --config.data.root=MITDB_FOLDER

Patients are disjoint, and the epoch is chosen by how well normal beats are
reconstructed. All that goes on from `baseline` trains as long again: `retrained`
without any new term is the control of the others. `si` lets the discriminator teach
itself (FRSKD) and the generator learn from the baseline's reconstructions;
`si_simclr_2` adds the contrast of two views to that sum, and `si_simclr_1` also takes
the encoder from `pretrain`, which has learnt by contrast alone. Its features are read
by nearest neighbours (`simclr_knn`), beside those of the same encoder untrained
(`untrained_knn`) and the beats themselves (`beats_knn`).

Cost: not measured as a whole.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import beatgan_ecg, common

# What tells beats apart, the width and the time of their waves, is left as it is.
VIEWS = {"name": "simclr_series", "crop_fraction": 0.0, "warp": 0.05, "segments": 1}


def get_config(arg: str = "") -> ConfigDict:
    config = beatgan_ecg.get_config(arg)
    smoke = arg == "smoke"
    config.losses.adversarial.weight = 0.02
    config.training.epochs = 1 if smoke else 3
    config.data.normal_only = True
    last = {"checkpoint": "last"}
    self_teacher = {"width": 16 if smoke else 64}
    projection = {"hidden": (256,), "outputs": 128}
    teach = {"temperature": 4.0, "alpha": 1.0, "beta": 10.0}
    contrast = {"augment": VIEWS, "weight": 0.1, "temperature": 0.1}
    si: dict[str, Any] = {
        "model": {"self_teacher": self_teacher},
        "losses": {"self_distillation": teach, "reconstruction": {"weight": 1.0}},
        "start": {"stage": "baseline"} | last,
        "teacher": {"stage": "baseline"} | last,
    }
    simclr_2 = si | {
        "model": {"self_teacher": self_teacher, "projection": projection},
        "losses": si["losses"] | {"contrastive": contrast},
    }
    simclr_1 = simclr_2 | {"encoder": {"stage": "pretrain"} | last}
    width = 2 if smoke else 32
    pretrain = common.pretrain(
        augment=VIEWS,
        training={"batch_size": 256, "eval_batch_size": 256},
        optimizer={"name": "adam", "schedule": {"name": "cosine", "value": 1e-3}},
        temperature=0.1,
    ) | {"model": {"name": "beat_encoder", "width": width, "projection": projection}}
    of_beats = common.SOLVED | {"detector": {"name": "knn"}}
    untrained = {"training": pretrain["training"] | {"epochs": 0}}
    config.stages = {
        "baseline": {},
        "retrained": {"start": {"stage": "baseline"} | last},
        "si": si,
        "si_simclr_1": simclr_1,
        "si_simclr_2": simclr_2,
        "autoencoder": {"task": "autoencoder", "losses": None},
        "pretrain": pretrain,
        "untrained": pretrain | untrained,
        "simclr_knn": of_beats | {"encoder": {"stage": "pretrain"} | last},
        "untrained_knn": of_beats | {"encoder": {"stage": "untrained"} | last},
        "beats_knn": of_beats,
        "own_median": common.OWN_MEDIAN,
        "pca": common.PCA,
        "pca_10": common.SOLVED | {"detector": {"name": "pca", "components": 10}},
        "isolation_forest": common.SOLVED | {"detector": {"name": "isolation_forest"}},
        "one_class_svm": common.SOLVED | {"detector": {"name": "one_class_svm"}},
    }
    stages = ("retrained", "si", "si_simclr_1", "si_simclr_2")
    config.report = {
        "order": (
            *("baseline", *stages, "autoencoder", "pretrain"),
            *("simclr_knn", "untrained_knn", "beats_knn", "own_median"),
            *("pca", "pca_10", "isolation_forest", "one_class_svm"),
        ),
        "checkpoint": "last",
        "comparisons": (
            *((stage, "retrained") for stage in stages[1:]),
            *(("baseline", other) for other in ("autoencoder", "pca", "own_median")),
            *(("simclr_knn", other) for other in ("untrained_knn", "beats_knn")),
        ),
    }
    return config
