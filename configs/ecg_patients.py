"""Detectors of abnormal heart beats that need no training, on patients never seen.

    bash launch/local.sh configs/ecg_patients.py --config.data.root=MITDB_FOLDER
    bash launch/local.sh configs/ecg_patients.py:smoke --config.data.root=MITDB_FOLDER

`own_median` puts each beat beside its patient's usual one, from the whole recording,
`monitor` from the past alone; `pca_10` and `neighbours` know other patients' normal
beats alone. The report's table on patients has each with the rhythm of the beats, too,
and sensitivities at a rate of false alarms. A seed draws the validation patients. On
the records that the literature tests:

    bash launch/local.sh configs/ecg_patients.py --config.data.root=MITDB_FOLDER \\
        --config.data.protocol=ds1_ds2 --workdir=runs/ecg_ds2

Cost: 5 minutes of a CPU core.
"""

from ml_collections import ConfigDict

from kdjax.configs import beatgan_ecg, common


def get_config(arg: str = "") -> ConfigDict:
    config = beatgan_ecg.get_config(arg)
    config.stages = {
        "own_median": common.OWN_MEDIAN,
        "monitor": common.OWN_MEDIAN | {"detector": {"causal": True}},
        "pca_10": common.SOLVED | {"detector": {"name": "pca", "components": 10}},
        "neighbours": common.SOLVED | {"detector": {"name": "knn"}},
    }
    # No comparisons: seeds draw the same patients for test, and these are what differ.
    config.report = {"order": ("own_median", "monitor", "pca_10", "neighbours")}
    return config
