"""ESKD on your own arrays: one .npz with x, y and, if you have them, group and key.

    bash launch/local.sh configs/own_data.py --config.data.path=mine.npz

x is [n, time, channels] or [n, height, width, channels]. The rest is `own_eskd` of
configs/common.py: WRN16-3 teaches WRN16-1. For plain features [n, d] set `config.model`
to {"name": "mlp", "widths": (32,)} here, and the teacher's likewise.

Cost: the data's.
"""

from ml_collections import ConfigDict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config = common.own_eskd(arg)
    config.data = {"name": "arrays", "path": "data.npz"}
    return config
