"""SimCLR on real handwritten digits: pretrain, probe, fine-tune, distil, in minutes.

    bash launch/local.sh configs/simclr_digits.py
    bash launch/local.sh configs/simclr_digits.py:smoke

scikit-learn's 1,797 digits of 8 x 8 pixels (Alpaydin & Kaynak 1998), a third of them
the test set. The encoder learns from 958 images without labels; then it is probed,
fine-tuned with 2 % of the labels (20 images), and taught to a small MLP by what it says
of the images that have none.

Cost: some minutes of two CPU cores.
"""

from ml_collections import ConfigDict

from kdjax.configs import common

COMPARISONS = (
    ("linear", "random_linear"),
    ("knn", "random_knn"),
    ("fine_tune_2", "scratch_2"),
    ("distill_2", "student_2"),
)


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=3)
    config.data = {"name": "digits"}
    config.model = {
        "name": "convnet",
        "widths": (32, 64, 128),
        "windows": (3, 3, 3),
        "strides": (1, 2, 2),
        "projection": {"hidden": (128, 128), "outputs": 64},
    }
    config.training = {"epochs": 2 if smoke else 50, "batch_size": 64}
    config.optimizer = common.sgd(
        weight_decay=1e-4, schedule={"name": "cosine", "value": 0.1}
    )
    few = {"batch_size": 16, "epochs": 2 if smoke else 100, "eval_epochs": 10}
    config.stages = {
        "pretrain": common.pretrain(
            augment={"name": "simclr_image", "min_area": 0.3, "flip": 0.0, "blur": 0.0},
            training={"batch_size": 256, "epochs": 2 if smoke else 100},
            optimizer=common.lars(value=0.3, scaling="linear"),
            temperature=0.2,
        ),
        **common.probes("pretrain"),
        **common.probes(None, "random_"),
        **common.fine_tune(2, keep=1, training=few),
        **common.distill(2, student={"name": "mlp", "widths": (32,)}, training=few),
    }
    config.report = {
        "order": (
            "pretrain",
            *("linear", "random_linear", "knn", "random_knn"),
            *("fine_tune_2", "scratch_2", "distill_2", "student_2"),
        ),
        "checkpoint": "last",
        "confusion": ("fine_tune_2", "distill_2"),
        "comparisons": COMPARISONS,
    }
    return config
