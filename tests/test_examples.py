"""The notebook in examples/ runs, and what it shows is what it gave."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "npz_to_device.ipynb"
# Shorter than the notebook's own run, whose outputs are in it.
SHORT = {
    r"epochs = 60": "epochs = 2",
    r"\nconfig.data.path": "\nconfig.seeds = (0,)\\g<0>",
}


@pytest.fixture(scope="module")
def cells():
    every = json.loads(NOTEBOOK.read_text())["cells"]
    return [cell for cell in every if cell["cell_type"] == "code"]


def test_it_was_run_to_its_end(cells):
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    last = "".join(cells[-1]["outputs"][-1]["data"]["text/plain"])
    assert last == "np.True_"


def test_it_runs(cells, tmp_path, monkeypatch):
    pytest.importorskip("jax2onnx", reason="the export's tools are not installed")
    pytest.importorskip("onnxruntime", reason="the export's tools are not installed")
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in cells[:-1]:
        code = "".join(cell["source"])
        for pattern, changed in SHORT.items():
            code = re.sub(pattern, changed, code)
        exec(code, names)
    *most, last = "".join(cells[-1]["source"]).splitlines()
    exec("\n".join(most), names)
    assert eval(last, names)
    assert (tmp_path / "runs/mine/seed_0/eskd/export/model_card.md").exists()
