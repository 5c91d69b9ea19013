"""SimCLR on UCI HAR: pretrain without labels, fine-tune with 1 % and 10 % of them.

    bash launch/local.sh configs/simclr_har.py --config.data.root=FOLDER_OR_ZIP
    bash launch/local.sh configs/simclr_har.py:smoke --config.data.root=FOLDER_OR_ZIP

Train on 17 subjects, validate on 4 (drawn by seed), test on the official 9. The fine-
tuned network starts from the first layer of the projection head (SimCLR v2) and, with
10 %, teaches a small one by what it says of all windows.

Cost: not measured as a whole.
"""

from ml_collections import ConfigDict

from kdjax.configs import common

PROBES = ("linear", "knn", "ridge")


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    config.data = {"name": "uci_har", "root": "data/uci_har", "validation_groups": 4}
    config.model = {
        "name": "convnet",
        "widths": (32, 64, 128, 256),
        "windows": (7, 5, 5, 3),
        "strides": (2, 2, 2, 2),
        "projection": {"hidden": (256, 256), "outputs": 128},
    }
    config.training = {"epochs": 1 if smoke else 20, "batch_size": 64}
    config.optimizer = common.sgd(
        weight_decay=1e-3, schedule={"name": "cosine", "value": 0.05}
    )

    def few(epochs: int) -> dict[str, int]:
        return {"batch_size": 32, "epochs": 2 if smoke else epochs, "eval_epochs": 10}

    student = {"name": "wide_resnet", "depth": 10, "width": 1}
    config.stages = {
        "pretrain": common.pretrain(
            augment={"name": "simclr_series", "rotation": 45.0},
            training={"batch_size": 256, "epochs": 1 if smoke else 60},
            optimizer=common.lars(value=0.3, scaling="linear"),
            temperature=0.1,
        ),
        **common.probes("pretrain", names=PROBES),
        **common.probes(None, "random_", names=PROBES),
        **common.fine_tune(1, keep=1, training=few(200)),
        **common.fine_tune(10, keep=1, training=few(40)),
        **common.distill(10, student=student, training=few(40)),
    }
    pairs = [(name, f"random_{name}") for name in PROBES]
    config.report = {
        "order": (
            "pretrain",
            *(name for pair in pairs for name in pair),
            *("fine_tune_1", "scratch_1", "fine_tune_10", "scratch_10"),
            *("distill_10", "student_10"),
        ),
        "checkpoint": "last",
        "confusion": ("fine_tune_1", "scratch_1", "fine_tune_10", "distill_10"),
        "comparisons": (
            *pairs,
            ("fine_tune_1", "scratch_1"),
            ("fine_tune_10", "scratch_10"),
            ("distill_10", "student_10"),
        ),
    }
    return config
