"""How large a teacher should be, on WISDM's watch: five of them, and one small student.

    bash launch/local.sh configs/wisdm_teacher_size.py --config.data.root=FOLDER_OR_ZIP
    bash launch/local.sh configs/wisdm_teacher_size.py:smoke \\
        --config.data.root=FOLDER_OR_ZIP

The student and its training are those of wisdm_methods.py. `kd_<teacher>` learns from
the teacher's best epoch on validation subjects, `full_<teacher>` from its last.

Cost: not yet run here.
"""

from typing import Any

from ml_collections import ConfigDict

from kdjax.configs import common, wisdm_methods

SIZES = {f"{d}_{w}": (d, w) for d, w in ((16, 1), (16, 3), (16, 8), (28, 1), (28, 3))}


def get_config(arg: str = "") -> ConfigDict:
    config = wisdm_methods.get_config(arg)
    smoke = arg == "smoke"
    config.seeds = config.seeds[:5]
    sizes = dict(list(SIZES.items())[:2]) if smoke else SIZES
    stages: dict[str, Any] = {"scratch": {}}
    for name, (depth, width) in sizes.items():
        model = {"name": "wide_resnet", "depth": depth, "width": width}
        teacher = f"wrn_{name}"
        epochs = {"training": {"epochs": 1 if smoke else 5}}
        stages[teacher] = {"model": model} | epochs
        for prefix, checkpoint in (("kd", "best"), ("full", "last")):
            stages[f"{prefix}_{name}"] = wisdm_methods.taught(
                common.KD, teacher, checkpoint
            )
    config.stages = stages
    taught = [name for name in stages if name.startswith(("kd_", "full_"))]
    config.report.order = tuple(stages)
    config.report.comparisons = (
        *((name, "scratch") for name in taught),
        *((f"kd_{name}", f"full_{name}") for name in sizes),
    )
    return config
