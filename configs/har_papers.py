"""har_eskd.py with feature losses, and with the student's or both's data augmented.

    bash launch/local.sh configs/har_papers.py --config.data.root=FOLDER_OR_ZIP
    bash launch/local.sh configs/har_papers.py:smoke --config.data.root=FOLDER_OR_ZIP

The weights of the losses are the wearable papers' (Jeon et al. 2021, 2022, 2023):
attention transfer (`eskd_at`), angular margin distillation (`eskd_amd`), and each
augmentation twice.

Cost: 35 minutes of a CPU core for each seed.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import common, har_eskd

AUGMENTATIONS = ("removal", "noise", "shift", "mix1", "mix2")


def get_config(arg: str = "") -> ConfigDict:
    config = har_eskd.get_config(arg)
    config.seeds = config.seeds[:3]
    config.stages = stages()
    both = [f"eskd_{name}_both" for name in AUGMENTATIONS]
    config.report.order = (
        *common.ORDER,
        "eskd_at",
        "eskd_amd",
        *(f"eskd_{name}" for name in AUGMENTATIONS),
        *(f"teacher_{name}" for name in AUGMENTATIONS),
        *both,
    )
    config.report.comparisons = (
        *common.COMPARISONS,
        ("eskd_at", "eskd"),
        ("eskd_amd", "eskd"),
        *((f"eskd_{name}", "eskd") for name in AUGMENTATIONS),
        *((name, name.removesuffix("_both")) for name in both),
    )
    return config


def stages() -> dict[str, Any]:
    """The common stages, two feature losses, and each augmentation twice."""
    every = common.stages({"model": {"width": 3}})
    eskd = every["eskd"]
    at, amd = {"attention_transfer": {"weight": 1000.0}}, {"amd": {"weight": 5000.0}}
    every["eskd_at"] = eskd | {"losses": common.KD | at}
    every["eskd_amd"] = eskd | {"losses": common.KD | amd}
    for name in AUGMENTATIONS:
        augment = {"augment": {"name": name}}
        teacher = f"teacher_{name}"
        every[teacher] = {"model": {"width": 3}} | augment
        # The student's data alone are augmented; then the teacher's were too.
        every[f"eskd_{name}"] = eskd | augment
        every[f"eskd_{name}_both"] = (
            eskd | augment | {"teacher": {"stage": teacher, "checkpoint": "best"}}
        )
    return every
