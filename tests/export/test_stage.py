"""Artefacts of tiny stages: written, checked, described, and run without kdjax."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import kdjax
from kdjax import data
from kdjax.data.preprocessing import left_raw
from kdjax.errors import InputError
from kdjax.export import checking, tools
from kdjax.export.formats import FORMATS
from kdjax.export.stage import export
from kdjax.report import exported, runs

pytestmark = [
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
WHY = "needs kdjax/export/requirements.txt (launch/test.sh installs it)"


def has(name):
    try:
        for module in FORMATS[name].tools:
            tools.need(module, what=name)
    except InputError:
        return False
    return True


def needs(name):
    return pytest.mark.skipif(not has(name), reason=WHY)


def known(folder):
    return json.loads((folder / "export.json").read_text())


@pytest.fixture
def student(exportable):
    return exportable / "seed_0" / "student"


@pytest.fixture(scope="module")
def made(exportable, tmp_path_factory):
    """The student and the detector in every format that this machine has."""
    into = tmp_path_factory.mktemp("made")
    names = [name for name in FORMATS if has(name)]
    int8 = "int8" if {"onnx", "tflite"} & set(names) else None
    for stage in ("student", "detector"):
        folder = exportable / "seed_0" / stage
        export(folder, names, quantize=int8, into=into / stage)
    return into


def raw(stage):
    with left_raw():
        section = dict(stage["data"])
        return data.load(section.pop("name"), seed=stage["seed"], **section)


@pytest.mark.parametrize("name", ["stablehlo", "onnx", "tflite"])
@pytest.mark.parametrize("stage", ["student", "detector"])
def test_it_gives_what_the_predictor_gives(made, exportable, stage, name):
    if not has(name):
        pytest.skip(WHY)
    folder = exportable / "seed_0" / stage
    config = json.loads((folder / "config.json").read_text())
    x = raw(config).test.x[:7]
    found = FORMATS[name].run(made / stage / FORMATS[name].file)(x)
    # the student was trained in bfloat16, and is exported in float32
    atol = 0.05 if stage == "student" else 1e-5
    np.testing.assert_allclose(found, kdjax.load(folder)(x), atol=atol)
    entry = known(made / stage)["artefacts"][FORMATS[name].file]
    assert entry["difference"] <= 1e-5
    assert entry["batch"] == ("1" if name == "tflite" else "any")
    if stage == "student":
        assert entry["equal"] == entry["examples"]


@pytest.mark.parametrize("file", ["model_int8.onnx", "model_int8.tflite"])
def test_int8_is_smaller_and_says_what_it_loses(made, file):
    if not has(file.rpartition(".")[2]):
        pytest.skip(WHY)
    entry = known(made / "student")["artefacts"][file]
    assert entry["calibrated_on"] == 128  # all of the training split
    assert 0 <= entry["metric"]["value"] <= 1
    assert 0 < entry["difference"] < 0.5
    card = (made / "student" / "model_card.md").read_text()
    assert f"{file}: post-training, calibrated on 128 training examples" in card
    if file.endswith("tflite"):
        device = entry["device"]
        assert device["npu"] > device["cpu"]
        assert f"{device['sram_kib']:.1f} KiB SRAM" in card
        scale = entry["tensors"][0]["scale"]
        assert f"scale {scale:.6g}, zero point" in card


def test_npz_holds_the_arrays_and_the_record(made, student):
    with np.load(made / "student" / "model.npz", allow_pickle=False) as stored:
        record = json.loads(str(stored["record"]))
        names = [name for name in stored.files if name != "record"]
    assert record["preprocessing"][0]["name"] == "standardise"
    assert "params/head/classes/kernel" in names


def test_the_card_says_what_a_stranger_needs(made):
    card = (made / "student" / "model_card.md").read_text()
    for words in (
        "# student: convnet on synthetic wearable",
        "**Synthetic data**",
        "- 4 classes: class_0, class_1, class_2, class_3.",
        "test: groups (people, patients or files) 6, 7.",
        "mean of 2 seeds ± half the 95 % interval",
        "- Input `x`: float32 [batch, 32, 3]. Raw:",
        "- Done inside: `standardise`",
        "- Output `probabilities`: float32 [batch, 4]",
        "licence: none: synthetic",
        "JAX reads it for six months" if has("stablehlo") else "nothing in it runs",
        "- Exported: kdjax",
    ):
        assert words in card
    assert (
        "`range_of_example` is float32 here"
        in (made / "detector" / "model_card.md").read_text()
    )


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_script_beside_it_needs_no_kdjax(made, exportable, tmp_path, name):
    if not has(name):
        pytest.skip(WHY)
    folder = tmp_path / "elsewhere"
    shutil.copytree(made / "student", folder)
    stage = exportable / "seed_0" / "student"
    x = raw(json.loads((stage / "config.json").read_text())).test.x[:3]
    np.savez(tmp_path / "examples.npz", x=x)
    np.savetxt(tmp_path / "examples.csv", x.reshape(3, -1), delimiter=",")
    blocked = tmp_path / "kdjax.py"
    blocked.write_text("raise ImportError('kdjax is not to be used')")
    path = os.environ | {"PYTHONPATH": str(tmp_path)}
    inputs = [[]] if name == "npz" else [["examples.npz"], ["examples.csv"]]
    said = [
        subprocess.run(
            [sys.executable, folder / f"run_{name}.py", *given],
            cwd=tmp_path,
            env=path,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.splitlines()
        for given in inputs
    ]
    if name == "npz":
        assert any(line.startswith("params/head/classes/kernel") for line in said[0])
        return
    expected = kdjax.load(stage)(x)
    assert said[0] == said[1]
    for line, row in zip(said[0], expected, strict=True):
        answer, *numbers = line.split(",")
        assert answer == f"class_{row.argmax()}"
        np.testing.assert_allclose([*map(float, numbers)], row, atol=0.05)


def test_outputs_over_time_and_what_loops_cannot(exportable, tmp_path):
    if not has("onnx"):
        pytest.skip(WHY)
    folder = exportable / "ctrnn" / "seed_0" / "ctrnn"
    into = export(folder, ["onnx"], into=tmp_path)
    entry = known(into)["artefacts"]["model.onnx"]
    assert (entry["examples"], entry["metric"]) == (40, None)
    with pytest.raises(InputError, match="onnx: not to be had in int8"):
        export(folder, ["onnx"], quantize="int8", into=tmp_path)
    if has("tflite"):
        with pytest.raises(InputError, match=r"tflite: .*it writes no loops"):
            export(folder, ["tflite"], into=tmp_path)
        assert not (tmp_path / "model.tflite").exists()


def test_what_gives_something_else_is_not_left(student, tmp_path, monkeypatch):
    if not has("stablehlo"):
        pytest.skip(WHY)
    monkeypatch.setattr(checking, "CLOSE", -1.0)
    with pytest.raises(InputError, match=r"expected what kdjax gives .* is not left"):
        export(student, ["stablehlo"], into=tmp_path)
    assert not any(path.suffix == ".stablehlo" for path in tmp_path.iterdir())


def test_an_earlier_format_stays_in_the_card(student, tmp_path):
    if not has("stablehlo"):
        pytest.skip(WHY)
    export(student, ["npz"], into=tmp_path)
    export(student, ["stablehlo"], into=tmp_path)
    assert set(known(tmp_path)["artefacts"]) == {"model.npz", "model.stablehlo"}
    (tmp_path / "model.npz").unlink()
    export(student, ["stablehlo"], into=tmp_path)
    assert set(known(tmp_path)["artefacts"]) == {"model.stablehlo"}


@pytest.mark.parametrize(
    ("formats", "quantize", "words"),
    [
        (["onyx"], None, r"--format: unknown name 'onyx' \(did you mean 'onnx'"),
        (["npz"], "int4", "--quantize: unknown name 'int4'"),
        (["npz"], "int8", "--quantize: expected --format with onnx or tflite"),
    ],
)
def test_what_does_not_fit_is_named(student, tmp_path, formats, quantize, words):
    with pytest.raises(InputError, match=words):
        export(student, formats, quantize=quantize, into=tmp_path)
    with pytest.raises(InputError, match="no stage here"):
        export(tmp_path, ["npz"])


def test_data_that_changed_are_refused(student, tmp_path):
    stage = tmp_path / "student"
    shutil.copytree(student, stage)
    record = json.loads((stage / "record.json").read_text())
    record["fingerprint"] = "0" * 64
    (stage / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="changed since it was trained"):
        export(stage, ["npz"])


def test_the_report_has_what_a_stage_takes_on_a_device(exportable, monkeypatch):
    experiment = runs.read_experiment(exportable)
    students = runs.stage_runs(experiment, "student")
    folder = students[0].folder / "export"
    assert exported.said(students) == ""
    assert exported.cells(students) == ["-"] * 4
    device = {"accelerator": "ethos-u55-128"}
    device |= {"sram_kib": 9.34, "flash_kib": 67.19, "ms": 0.3295}
    entry = {"bytes": 105_592, "device": device}
    folder.mkdir()
    try:
        (folder / "export.json").write_text(json.dumps({"artefacts": {"a": entry}}))
        assert "estimate for ethos-u55-128" in exported.said(students)
        assert exported.cells(students) == ["103", "9.3", "67.2", "0.33"]
    finally:
        shutil.rmtree(folder)
