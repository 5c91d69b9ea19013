"""What the report says of contrastive stages, from a fabricated workdir."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.report import document, runs
from kdjax.tasks.contrastive import report

HELPERS = runpy.run_path(
    str(Path(__file__).resolve().parents[2] / "report" / "test_document.py")
)
CLASSES = HELPERS["CLASSES"]
LOSS = {0: 4.0, 1: 4.5, 2: 5.0}


def contrasted(seed, *, collapsed=False):
    """The figures of one split of a contrastive stage."""
    return {
        "loss": LOSS[seed],
        "retrieval": 0.5,
        "alignment": 0.25 + seed / 100,
        "uniformity": -2.0,
        "rank": 12.0,
        "projection_rank": 1.1 if collapsed else 9.0,
        "collapsed": collapsed,
        "examples": 200,
    }


def fabricate(workdir, *, collapsed=()):
    """Two classifying stages and `pretrain`, three seeds of each."""
    stages = {"pretrain": 0.5, "knn": 0.9, "scratch": 0.8}
    HELPERS["fabricate"](workdir, stages=stages)
    for seed in LOSS:
        folder = workdir / f"seed_{seed}" / "pretrain"
        figures = contrasted(seed, collapsed=seed in collapsed)
        at = {"epoch": 6, "step": 240, "validation": figures, "test": figures}
        HELPERS["edit"](
            folder / "results.json",
            checkpoints={"last": at, "best": at},
            selection={"metric": "loss", "mode": "min"},
        )
        line = {"kind": "validation", "epoch": 6, "step": 240} | figures
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return workdir


def embeddings(folder, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "key": np.arange(80).astype(str),
        "label": (np.arange(80) % len(CLASSES)).astype(np.int32),
        "position": rng.normal(size=(80, 2)).astype(np.float32),
        "explained": np.array([0.4, 0.2], np.float32),
    }
    path = folder / "embeddings.npz"
    kept = {k: v for k, v in (arrays | changes).items() if v is not None}
    np.savez(path, **kept)
    return path


def test_the_table_has_the_mean_over_seeds(tmp_path):
    experiment = runs.read_experiment(fabricate(tmp_path))
    section = report.contrastive_section(experiment)
    assert section.startswith("## Contrastive pretraining\n")
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    heading, row = rows
    assert heading.count("|") == row.count("|") == 8
    # 4.303 * .5 / sqrt(3) is the half interval of 4, 4.5, 5 with two degrees of freedom
    assert row.startswith("| pretrain | 4.50 ± 1.24 | 50.0 ± 0.0 | 0.260 ± 0.025 |")
    assert "Collapsed" not in section


def test_a_collapsed_seed_is_said(tmp_path):
    experiment = runs.read_experiment(fabricate(tmp_path, collapsed=(1,)))
    section = report.contrastive_section(experiment)
    (line,) = [found for found in section.splitlines() if found.startswith(">")]
    assert line.startswith("> **Collapsed**: `pretrain`, seed 1: ")


def test_nothing_where_nothing_is_contrastive(tmp_path):
    HELPERS["fabricate"](tmp_path, stages={"scratch": 0.8}, seeds=(0,))
    experiment = runs.read_experiment(tmp_path)
    assert report.contrastive_section(experiment) == ""
    assert report.embedded(experiment) == []


def test_the_first_finished_seed_of_a_stage_is_shown(tmp_path):
    fabricate(tmp_path)
    for seed in (1, 2):
        embeddings(tmp_path / f"seed_{seed}" / "knn")
    embeddings(tmp_path / "seed_0" / "scratch")
    found = report.embedded(runs.read_experiment(tmp_path))
    assert {(run.stage, run.seed) for run in found} == {("knn", 1), ("scratch", 0)}


def test_the_report_shows_the_section_and_the_map(tmp_path):
    fabricate(tmp_path)
    embeddings(tmp_path / "seed_0" / "knn")
    text = document.write_report(tmp_path).read_text()
    assert "## Contrastive pretraining" in text
    assert "](figures/embeddings.png)" in text
    width, height = HELPERS["png_size"](tmp_path / "figures" / "embeddings.png")
    assert 300 < width < 4000
    assert 300 < height < 4000


def test_maps_side_by_side_are_wider_than_one(tmp_path):
    fabricate(tmp_path)
    for stage in ("knn", "scratch"):
        embeddings(tmp_path / "seed_0" / stage)
    experiment = runs.read_experiment(tmp_path)
    found = report.embedded(experiment)
    sizes = []
    for count in (1, 2):
        path = tmp_path / f"{count}.png"
        report.embedding_maps(experiment, found[:count], path)
        sizes.append(HELPERS["png_size"](path))
    assert sizes[1][0] > sizes[0][0]


def test_embeddings_are_read_as_stored(tmp_path):
    found = report.read_embeddings(embeddings(tmp_path), len(CLASSES))
    assert found.position.shape == (80, 2)
    np.testing.assert_array_equal(found.label, np.arange(80) % len(CLASSES))
    np.testing.assert_allclose(found.explained, [0.4, 0.2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": None}, "expected arrays position, label, explained, found"),
        ({"position": np.zeros((80, 3))}, r"positions \(80, 2\) .* found \(80, 3\)"),
        ({"position": np.zeros((79, 2))}, r"found \(79, 2\)"),
        ({"label": np.full(80, 4)}, "of 4 classes, found .* of 5"),
        ({"label": np.full(80, None)}, "Object arrays cannot be loaded"),
    ],
    ids=["missing", "three components", "too few", "unknown class", "pickled"],
)
def test_wrong_embeddings_are_named(tmp_path, changes, message):
    path = embeddings(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as error:
        report.read_embeddings(path, len(CLASSES))
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_damaged_embeddings_are_named(tmp_path, kept):
    path = embeddings(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"embeddings\.npz: expected arrays"):
        report.read_embeddings(path, len(CLASSES))
