"""SimCLR on CIFAR-10: probes of the representations, beside supervised training.

    bash launch/local.sh configs/simclr_cifar.py --config.data.root=FOLDER
    bash launch/local.sh configs/simclr_cifar.py:smoke --config.data.root=FOLDER

FOLDER holds the official binary files (cifar-10-batches-bin), all five or fewer. The
encoder is small, so that a CPU can train it; `--config.model.name` and its fields may
name a ResNet. The supervised network has the same encoder, batch and number of steps.

Cost: not measured as a whole.
"""

from ml_collections import ConfigDict

from kdjax.configs import common

PROBES = ("linear", "knn")


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=3)
    config.data = {"name": "cifar10", "root": "data/cifar10"}
    config.model = {
        "name": "convnet",
        "widths": (64, 128, 256),
        "windows": (3, 3, 3),
        "strides": (2, 2, 2),
        "projection": {"hidden": (256,), "outputs": 128},
    }
    config.training = {
        "epochs": 1 if smoke else 40,
        "batch_size": 256,
        "eval_epochs": 1 if smoke else 5,
        "checkpoint_epochs": 5,
    }
    config.optimizer = common.sgd(
        weight_decay=5e-4, schedule={"name": "cosine", "value": 0.05}
    )
    # SimCLR's for CIFAR-10: no blur, half the colour distortion (appendix B.9)
    config.stages = {
        "pretrain": common.pretrain(
            augment={"name": "simclr_image", "strength": 0.5, "blur": 0.0},
            training={},
            optimizer=common.lars(value=1.0, scaling="linear"),
            temperature=0.5,
        ),
        "supervised": {
            "model": {"projection": {"keep": 0}},
            "augment": common.CROP_AND_FLIP,
        },
        **common.probes("pretrain", names=PROBES),
        **common.probes(None, "random_", names=PROBES),
        **common.probes("supervised", "supervised_", names=PROBES),
    }
    pairs = [
        (f"{a}{name}", f"{b}{name}")
        for name in PROBES
        for a, b in (("", "random_"), ("", "supervised_"))
    ]
    names = [
        f"{prefix}{name}"
        for name in PROBES
        for prefix in ("", "random_", "supervised_")
    ]
    config.report = {
        "order": ("pretrain", "supervised", *names),
        "checkpoint": "last",
        "confusion": ("linear", "supervised"),
        "comparisons": tuple(pairs),
    }
    return config
