"""A subject's fMRI of ImageNet's images as the teacher of an image network (GOD).

    bash launch/local.sh configs/brain_god.py --config.data.root=IMAGES \\
        --config.stages.decode_vc.data.paths=Subject1.h5
    bash launch/local.sh configs/brain_god.py:smoke ...

The file is one of Generic Object Decoding's five subjects (Horikawa & Kamitani 2017);
IMAGES has train/<WordNet id>/, the 1,200 images of 150 classes that its training runs
showed, and val/<WordNet id>/, other images of the same classes, as ImageNet's for
validation, to test on. Responses meet their image by name: n01443537_22563. Each was
seen once; decoders leave out a run. Not run here, where there are no such files: the
same code is tested on made-up ones.

Cost: not run here.
"""

from ml_collections import ConfigDict, FieldReference

from kdjax.configs import common

REGIONS = ("VC", "V1", "V2", "V3", "V4", "LOC", "FFA", "PPA")
CONTROLS = (
    *("matched_smoothing", "class_mean", "within_class_shuffle"),
    *("matched_random", "across_class_shuffle", "random"),
)
NOT_OF_DECODERS = ("model", "losses", "optimizer", "augment", "soft_labels")


def get_config(arg: str = "") -> ConfigDict:
    config, smoke = common.start(arg, seeds=5)
    root, path = FieldReference("data/god"), FieldReference("data/Subject1.h5")
    config.data = {"name": "image_folder", "root": root, "size": 64, "validation": 0.1}
    config.model = {"name": "resnet", "depth": 18, "stem": "cifar"}
    config.training = {
        "epochs": 1 if smoke else 60,
        "batch_size": 16 if smoke else 64,
        "select": "loss",
    }
    config.optimizer = common.sgd(
        weight_decay=5e-4, schedule={"name": "cosine", "value": 0.05}
    )
    config.augment = common.CROP_AND_FLIP
    config.soft_labels = "last"
    responses = {
        "name": "bdata",
        "paths": path,
        "images": root,
        "lag": 0,  # a volume is the mean of its trial's already
        "test": (24,),  # a dataset has a test split; the decoders leave out every run
    }
    regions = REGIONS[:2] if smoke else REGIONS
    decoders = {
        f"decode_{name.lower()}": {
            "task": "decode",
            "decoder": {"name": "ridge", "voxels": 500},
            "training": {"epochs": 0},
            **dict.fromkeys(NOT_OF_DECODERS),
            "data": responses | {"roi": f"ROI_{name}"},
        }
        for name in regions
    }
    decoders["decode_permuted"] = decoders["decode_vc"] | {"permuted_labels": True}
    teachers = {name.removeprefix("decode_"): name for name in decoders}
    of_vc = {"stage": "decode_vc", "stored": True}
    config.stages = {
        **decoders,
        "hard": {},
        "label_smoothing": {"losses": common.SMOOTHED},
        "teacher_free": {"losses": common.TEACHER_FREE},
        **{
            name: {
                "teacher": {"stage": decoder, "stored": True},
                "losses": common.SOFT_TARGET,
            }
            for name, decoder in teachers.items()
        },
        **{
            name: {"teacher": of_vc | {"control": name}, "losses": common.SOFT_TARGET}
            for name in CONTROLS
        },
    }
    students = ("label_smoothing", "teacher_free", *teachers, *CONTROLS)
    config.report = {
        "order": (*decoders, "hard", *students),
        "checkpoint": "last",
        "metric": "accuracy",
        "comparisons": (
            *((name, "hard") for name in students),
            *(("vc", name) for name in CONTROLS),
        ),
    }
    return config
