"""The experiment on GOD's files at smoke size, with a made-up subject's file."""

import json

import numpy as np
import pytest
from PIL import Image

from kdjax import experiment
from kdjax.configs import brain_god
from kdjax.data.fmri.synthetic import synthetic_volumes
from kdjax.data.soft_labels import FILE, Keyed
from kdjax.errors import InputError
from kdjax.files import read_arrays

CLASSES = ("n01443537", "n02071294", "n04572121")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """36 images of three classes, each shown once in one of four runs."""
    from kdjax.data.fmri.writing import write_bdata

    folder = tmp_path_factory.mktemp("god")
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 12).astype(np.int32)
    images = rng.uniform(size=(36, 16, 16, 3)).astype(np.float32)
    keys = np.array([f"{CLASSES[label]}_{i}" for i, label in enumerate(y)])
    for part in ("train", "val"):
        for key, image in zip(keys, images, strict=True):
            path = folder / "images" / part / key.split("_")[0] / f"{part}_{key}.png"
            if part == "train":
                path = path.with_name(f"{key}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((255 * image).astype(np.uint8)).save(path)
    made = synthetic_volumes(
        images,
        y,
        keys,
        classes=CLASSES,
        parents=(0, 0, 1),
        test=np.zeros(36, bool),
        seed=0,
        scale=0.02,
        signal=(0.5, 0.5),
        images_a_run=9,
    )
    write_bdata(folder / "Subject1.h5", made)
    config = brain_god.get_config("smoke")
    config.data.root = str(folder / "images")
    config.stages.decode_vc.data.paths = str(folder / "Subject1.h5")
    whole = json.loads(config.to_json_best_effort())
    whole["model"] = {"name": "mlp", "widths": [4]}
    whole["data"] |= {"size": 16, "validation": 0.2}
    for name, stage in whole["stages"].items():
        if name.startswith("decode_"):
            stage["data"]["test"] = [4]
            stage["decoder"]["voxels"] = 12
    return whole


def test_it_ends_in_a_report(config, tmp_path):
    kept = ("decode_vc", "decode_permuted", "vc", "class_mean")
    stages = {name: config["stages"][name] for name in kept}
    report = {"comparisons": [["vc", "class_mean"]]}
    experiment.run(config | {"stages": stages, "report": report}, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "**Synthetic data**" in text
    assert "| vc | class_mean | 1 |" in text
    found, permuted = (
        read_arrays(tmp_path / "seed_0" / name / FILE, Keyed) for name in kept[:2]
    )
    assert set(found.key) >= {"train/n01443537/n01443537_0.png"}
    right = [np.mean(f.logits.argmax(axis=1) == f.label) for f in (found, permuted)]
    assert right[0] > 0.6 > right[1]


def test_an_image_without_its_file_is_named(config, tmp_path):
    changed = json.loads(json.dumps(config))
    stage = changed["stages"]["decode_vc"]
    stage["data"]["images"] = str(tmp_path)
    changed["stages"] = {"decode_vc": stage}
    with pytest.raises(InputError, match=r"key 'n0.*: expected an image, found none"):
        experiment.run(changed | {"report": {}}, tmp_path / "run")
