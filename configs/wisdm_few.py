"""wisdm_methods.py where few are labelled: the student's labels are of four subjects.

    bash launch/local.sh configs/wisdm_few.py --config.data.root=FOLDER_OR_ZIP
    bash launch/local.sh configs/wisdm_few.py:smoke --config.data.root=FOLDER_OR_ZIP

The teacher has the labels of all training subjects. A student sees the four subjects'
windows alone, drawn by seed; `kd_all` is `kd` on the windows of all, of which those of
the others have no label.

Cost: not yet run here.
"""

from ml_collections import ConfigDict

from kdjax.configs import wisdm_methods


def get_config(arg: str = "") -> ConfigDict:
    config = wisdm_methods.get_config(arg)
    config.data.labelled_groups = 4
    smoke = arg == "smoke"
    config.training.epochs = 1 if smoke else 80  # as many steps as with 30 subjects
    config.stages.teacher.data = {"labelled_groups": None}
    everyone = {"unlabelled": True, "training": {"epochs": 1 if smoke else 20}}
    config.stages.kd_all = config.stages.kd.to_dict() | everyone
    config.report.order += ("kd_all",)
    config.report.comparisons += (("kd_all", "kd"),)
    return config
