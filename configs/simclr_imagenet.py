"""SimCLR on ImageNet, near the published setting: 4096 images, ResNet-50, 100 epochs.

    bash launch/local.sh configs/simclr_imagenet.py --config.data.root=FOLDER
    bash launch/local.sh configs/simclr_imagenet.py:smoke --config.data.root=FOLDER

FOLDER has train/<class>/*.JPEG and val/<class>/*.JPEG. The sizes, rates and the
optimiser are those of the command in the authors' README (google-research/simclr),
which reports about 64.5 % top-1 for the linear probe (Chen et al. 2020), after 6 hours
on 32 TPU v3. It has not been run here; `:smoke` takes a few small steps of the same
program. A device of P holds 4096 / P images, two views of each: with few devices set
`--config.stages.pretrain.contrast.microbatches`.

The same as theirs: ResNet-50 with the stride in the window of 3 and the last scale of
each block 0 at first; batch norm over all devices, momentum .9, epsilon 1e-5; two
layers of projection, the last norm without bias; LARS with .3 * batch / 256, momentum
.9, decay 1e-6 and neither decay nor adaptation for biases and batch norm, 10 epochs of
warm-up and a cosine; temperature .1. Different from theirs:

- Crops are cut out of the image's centre square, once it has been resized to 224, and
  enlarged bilinearly; theirs are cut out of the whole image, then resized bicubically.
- The jitter's order is fixed and its hue turns in YIQ; blur repeats the edge.
- The probe reads standardised representations of the centre square, in training, too;
  theirs trains on crops and mirror images, not standardised, and tests on the middle
  87.5 %. Its layer starts at random, theirs at 0.
- Kernels start as He et al.'s, normal by fan out, those of the projection as LeCun's;
  theirs by fan in, and N(0, .01^2).
- The max-pool pads both sides; theirs (TensorFlow's SAME) the end alone.
- The encoder computes in bfloat16; theirs in float32.
- A hundredth of train/ is held out for validation; theirs trains on all.

Cost: 6 hours of 32 TPU v3 for their authors; not run here.
"""

from ml_collections import ConfigDict

from kdjax.configs import common


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
    ) | {"nesterov": True}
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
