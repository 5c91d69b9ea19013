"""BeatGAN on synthetic heartbeats: nothing to download, no claim.

    bash launch/local.sh configs/beatgan_synthetic.py
    bash launch/local.sh configs/beatgan_synthetic.py:smoke

24 made-up patients, 12 to learn from (normal beats alone), 6 for validation and 6 to
test, whose early (S) and wide (V) beats are to be found.

Cost: two minutes of two CPU cores.
"""

from ml_collections import ConfigDict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=3)
    config.task = "beatgan"
    config.losses = {"adversarial": {"weight": 1.0}}
    config.data = {
        "name": "synthetic_ecg",
        "patients": 8 if smoke else 24,
        "beats": 20 if smoke else 100,
        "validation_groups": 2 if smoke else 6,
        "test_groups": 2 if smoke else 6,
    }
    config.model = {"name": "beatgan", "latent": 10, "width": 4}
    config.training = {
        "epochs": 1 if smoke else 20,
        "batch_size": 32,
        "select": "loss",
    }
    config.optimizer = common.beatgan_adam(1e-3)
    config.stages = {"beatgan": {}}
    return config
