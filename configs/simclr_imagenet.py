"""SimCLR on ImageNet, the published setting: batch 4096, ResNet-50, LARS, 100 epochs.

    bash launch/local.sh configs/simclr_imagenet.py --config.data.root=FOLDER
    bash launch/local.sh configs/simclr_imagenet.py:smoke --config.data.root=FOLDER

FOLDER has train/<class>/*.JPEG and val/<class>/*.JPEG. These are the defaults of the
authors' code, whose README reports about 64.5 % top-1 for the linear probe (Chen et al.
2020), after 6 hours on 32 TPU v3. It has not been run here; `:smoke` takes a few small
steps of the same program. A device of P holds 4096 / P images, two views of each: with
few devices set `--config.stages.pretrain.contrast.microbatches`.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=1)
    batch = 16 if smoke else 4096
    config.data = {
        "name": "image_folder",
        "root": "data/imagenet",
        "size": 32 if smoke else 224,
    }
    config.model = {
        "name": "resnet",
        "depth": 50,
        "stem": "imagenet",
        "dtype": "bfloat16",
        "projection": {"hidden": (2048,), "outputs": 128},
    }
    config.training = {
        "epochs": 1 if smoke else 90,
        "batch_size": batch,
        "eval_batch_size": batch if smoke else 1024,
    }
    # of the linear probe
    config.optimizer = common.sgd(
        weight_decay=1e-6,
        schedule={"name": "cosine", "value": 0.1, "scaling": "linear"},
    )
    pretrain = common.pretrain(
        augment={"name": "simclr_image", "strength": 1.0},
        training={"epochs": 1 if smoke else 100},
        optimizer=common.lars(value=0.3, scaling="linear"),
        temperature=0.1,
    )
    pretrain["contrast"] |= {"ring": False, "microbatches": 1}
    config.stages = {
        "pretrain": pretrain,
        **common.probes("pretrain", names=("linear",)),
    }
    config.report = {"order": ("pretrain", "linear"), "checkpoint": "last"}
    return config
