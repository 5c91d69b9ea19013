"""ESKD on your own arrays: one .npz with x, y and, if you have them, group and key.

    bash launch/local.sh configs/own_data.py --config.data.path=mine.npz

x is [n, time, channels] or [n, height, width, channels]. For plain features [n, d]
change `model` to {"name": "mlp", "widths": (32,)} and the teacher's likewise.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=6)
    config.data = {"name": "arrays", "path": "data.npz"}
    config.model = {"name": "wide_resnet", "depth": 10 if smoke else 16, "width": 1}
    config.training = {"epochs": 1 if smoke else 30, "batch_size": 32}
    config.optimizer = common.sgd(
        weight_decay=1e-4, schedule={"name": "cosine", "value": 0.05}
    )
    config.stages = common.stages({"model": {"width": 3}})
    config.report = {
        "order": common.ORDER,
        "confusion": ("scratch", "eskd"),
        "comparisons": common.COMPARISONS,
    }
    return config
