"""Whose data to augment on UCI HAR: the teacher's, the student's or both.

    bash launch/local.sh configs/har_augmentation.py --config.data.root=FOLDER_OR_ZIP
    bash launch/local.sh configs/har_augmentation.py:smoke \\
        --config.data.root=FOLDER_OR_ZIP

Each of five augmentations by each of these three, taught by the teacher's last epoch
(`full_kd_...`) and by its best on validation subjects (`eskd_...`), beside both without
augmentation and beside the student alone with the same data (`scratch_...`). Networks,
data and weights are those of har_eskd.py.

Cost: not yet run here.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import common, har_eskd
from kdjax.configs.har_papers import AUGMENTATIONS

WHOSE = ("teacher", "student", "both")
PLAIN = ("full_kd", "eskd")


def get_config(arg: str = "") -> ConfigDict:
    config = har_eskd.get_config(arg)
    names = AUGMENTATIONS[:1] if arg == "smoke" else AUGMENTATIONS
    every = common.stages({"model": {"width": 3}})
    comparisons = [("eskd", "full_kd")]
    for name in names:
        augment = {"augment": {"name": name}}
        every[f"teacher_{name}"] = {"model": {"width": 3}} | augment
        every[f"scratch_{name}"] = augment
        for plain in PLAIN:
            for whose in WHOSE:
                stage: dict[str, Any] = dict(every[plain])
                if whose != "student":
                    theirs = {"stage": f"teacher_{name}"}
                    stage["teacher"] = stage["teacher"] | theirs
                if whose != "teacher":
                    stage |= augment
                every[f"{plain}_{name}_{whose}"] = stage
                comparisons.append((f"{plain}_{name}_{whose}", plain))
    config.stages = every
    config.report.order = tuple(every)
    config.report.comparisons = tuple(comparisons)
    return config
