"""Quick start: does a teacher help a student with few labels? Real handwritten digits.

    bash launch/local.sh                              # this config
    kdjax --config=digits_eskd                        # where kdjax is installed
    kdjax --config=digits_eskd:smoke --workdir=/tmp/smoke

scikit-learn's 1,797 digits of 8 x 8 pixels (Alpaydin & Kaynak 1998), a third of them
the test set. The teacher, an MLP of 2 x 256 units, has some 95 labels a class; the
student, of 16 units, has 10 and, when distilled, what the teacher says of those 100.
Expect 87 % from scratch and 92 % distilled.

Cost: a minute of two CPU cores.
"""

from ml_collections import ConfigDict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=8)
    config.data = {"name": "digits", "labels_per_class": 10}
    config.model = {"name": "mlp", "widths": (16,)}
    config.training = {
        "epochs": 4 if smoke else 100,
        "batch_size": 48,  # on 1 to 8 devices alike
        "eval_epochs": 2,
        "checkpoint_epochs": 50,
    }
    config.optimizer = common.sgd(
        weight_decay=1e-4, schedule={"name": "cosine", "value": 0.1}
    )
    config.stages = common.stages(
        {"data": {"labels_per_class": None}, "model": {"widths": (256, 256)}}
    )
    config.report = {
        "order": common.ORDER,
        "checkpoint": "last",
        "confusion": ("scratch", "eskd"),
        "comparisons": common.COMPARISONS,
    }
    return config
