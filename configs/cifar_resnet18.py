"""CIFAR-10: ResNet-18 with the small stem, as course notes train it, and its student.

    bash launch/local.sh configs/cifar_resnet18.py --config.data.root=CIFAR10_FOLDER
    bash launch/local.sh configs/cifar_resnet18.py:smoke \\
        --config.data.root=CIFAR10_FOLDER

Adam at a constant 5e-4, batches of 64, 20 epochs: the notes' run, which chose its epoch
on the test images; here a validation split does. It teaches a small convolutional
network, beside that alone and with label smoothing. The figures are of whatever part
of CIFAR-10 the folder holds.

Cost: not yet run here.
"""

from ml_collections import ConfigDict

from kdjax.configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    config.data = {"name": "cifar10", "root": "data/cifar10"}
    config.model = common.CONVNET
    config.training = {"epochs": 1 if smoke else 20, "batch_size": 64}
    config.augment = common.CROP_AND_FLIP
    config.optimizer = {
        "name": "adam",
        "schedule": {"name": "constant", "value": 5e-4},
    }
    network = {
        "name": "resnet",
        "depth": 18,
        "stem": "cifar",
        "width": 0.125 if smoke else 1.0,
    }
    config.stages = common.stages({"model": network})
    config.report = {
        "order": common.ORDER,
        "checkpoint": "best",
        "confusion": ("teacher", "eskd"),
        "comparisons": common.COMPARISONS,
    }
    return config
