"""ESKD on your own recordings: CSV files with a row a time, cut into windows.

    bash launch/local.sh configs/own_recordings.py \
        --config.data.path='recordings/*.csv' --config.data.time_unit=s

Columns time, subject, activity, and numbers; help(kdjax.data.series) has all fields.

Cost: the data's.
"""

from ml_collections import ConfigDict, config_dict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config = common.own_eskd(arg)
    config.data = {
        "name": "series",
        "path": "recordings.csv",
        "delimiter": ",",
        "decimal": ".",
        "time": "time",
        "time_unit": config_dict.placeholder(str),  # dates; "s", "ms", "us" or "ns"
        "group": "subject",
        "label": "activity",
        "rule": "majority",
        "window": 100,
        "step": 50,
        "split": config_dict.placeholder(str),  # whole groups; or "time"
    }
    return config
