"""ESKD on your own arrays: one .npz with x, y and, if you have them, group and key.

    bash launch/local.sh configs/own_data.py --config.data.path=mine.npz

x is [n, time, channels] or [n, height, width, channels]. For plain features [n, d]
change `model` to {"name": "mlp", "widths": (32,)} and the teacher's likewise.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config = common.own_eskd(arg)
    config.data = {"name": "arrays", "path": "data.npz"}
    return config
