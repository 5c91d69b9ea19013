"""What the report says of contrastive stages, from a fabricated workdir."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

from kdjax.errors import InputError
from kdjax.report import document, drawing, runs
from kdjax.tasks.contrastive import SYSTEM, report
from kdjax.tasks.contrastive.embeddings import read_embeddings
from kdjax.training.metrics import CLASSIFICATION
from tests.fabricated import edit, record

CLASSES = ("walking", "walking upstairs", "sitting", "standing")
LOSS = {0: 4.0, 1: 4.5, 2: 5.0}
PROBED = {"knn": "pretrain", "random_knn": None, "supervised_knn": "supervised"}
COST = {"parameters": 63020, "flops": 2_500_000.0, "kib": 247.5, "ms": 1.25}


def contrasted(seed, *, collapsed=False):
    """The metrics of one split of a contrastive stage."""
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


def classified(accuracy):
    """The metrics of one split of a stage that knows classes."""
    return {"loss": 0.5, "accuracy": accuracy, "macro_f1": accuracy, "ece": 0.02}


def write_stage(folder, values, metric, *, task, encoder=None):
    at = {"epoch": 6, "step": 240, "validation": values, "test": values}
    read = {"stage": encoder, "checkpoint": "last"}
    content = {
        "stage": folder.name,
        "seed": int(folder.parent.name.removeprefix("seed_")),
        "data": "UCI HAR (rebuilt)",
        "synthetic": False,
        "classes": list(CLASSES),
        "examples": {"train": 5504, "validation": 1700, "test": 2893},
        "checkpoints": {"last": at, "best": at},
    } | record({metric.name: metric}, metric.name, task=task, encoder=encoder and read)
    folder.mkdir(parents=True)
    line = {"kind": "validation", "epoch": 6, "step": 240} | values
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "cost.json").write_text(json.dumps(COST))
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")


def fabricate(workdir, *, collapsed=(), contrastive=True):
    """Probes, `scratch`, and `pretrain` unless told otherwise, three seeds of each."""
    names = [*PROBED, "scratch", *(["pretrain"] if contrastive else [])]
    config = {"seeds": list(LOSS), "stages": {name: {} for name in names}}
    (workdir / "config.json").write_text(json.dumps(config))
    accuracy, loss = CLASSIFICATION["accuracy"], report.METRICS["loss"]
    for seed in LOSS:
        place = workdir / f"seed_{seed}"
        for name, encoder in PROBED.items():
            fields = {"task": "probe", "encoder": encoder}
            write_stage(place / name, classified(0.9), accuracy, **fields)
        write_stage(place / "scratch", classified(0.8), accuracy, task="distill")
        if contrastive:
            values = contrasted(seed, collapsed=seed in collapsed)
            write_stage(place / "pretrain", values, loss, task="simclr")
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
    assert heading.count("|") == row.count("|") == 12
    # 4.303 * .5 / sqrt(3) is the half interval of 4, 4.5, 5 with two degrees of freedom
    assert row.startswith("| pretrain | 4.50 ± 1.24 | 50.0 ± 0.0 | 0.260 ± 0.025 |")
    assert row.endswith("| 63,020 | 2.5 | 1.25 | 248 |"), "what it costs"
    assert "Collapsed" not in section


def test_a_collapsed_seed_is_said(tmp_path):
    experiment = runs.read_experiment(fabricate(tmp_path, collapsed=(1,)))
    section = report.contrastive_section(experiment)
    (line,) = [line for line in section.splitlines() if line.startswith(">")]
    assert line.startswith("> **Collapsed**: `pretrain`, seed 1: ")


def test_nothing_where_nothing_is_contrastive(tmp_path):
    experiment = runs.read_experiment(fabricate(tmp_path, contrastive=False))
    assert report.contrastive_section(experiment) == ""
    assert report.embedded(experiment) == []


def test_the_first_finished_seed_of_a_stage_is_shown(tmp_path):
    fabricate(tmp_path)
    for seed in (1, 2):
        embeddings(tmp_path / f"seed_{seed}" / "knn")
    embeddings(tmp_path / "seed_0" / "random_knn")
    shown = report.embedded(runs.read_experiment(tmp_path))
    assert {(run.stage, run.seed) for run in shown} == {("knn", 1), ("random_knn", 0)}


def test_the_report_shows_the_section_and_the_map(tmp_path):
    fabricate(tmp_path)
    embeddings(tmp_path / "seed_0" / "knn")
    system = {
        "metrics": SYSTEM.metrics,
        "sections": SYSTEM.sections,
        "figures": SYSTEM.figures,
    }
    text = document.write_report(tmp_path, **system).read_text()
    headings = ("## Results", "## Contrastive pretraining", "## Comparisons")
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    results, contrastive = text[places[0] : places[1]], text[places[1] : places[2]]
    assert "| pretrain |" in contrastive, "it has no accuracy"
    assert "| pretrain |" not in results
    assert "| knn |" in results
    assert "| knn |" not in contrastive
    assert "](figures/embeddings.png)" in text
    height, width, _ = imread(tmp_path / "figures" / "embeddings.png").shape
    assert 300 < width < 4000
    assert 300 < height < 4000


def test_maps_side_by_side_are_wider_than_one(tmp_path):
    fabricate(tmp_path)
    for stage in ("knn", "random_knn"):
        embeddings(tmp_path / "seed_0" / stage)
    experiment = runs.read_experiment(tmp_path)
    shown = report.embedded(experiment)
    widths = []
    for count in (1, 2):
        path = tmp_path / f"{count}.png"
        report.embedding_maps(experiment, shown[:count], path)
        widths.append(imread(path).shape[1])
    assert widths[1] > widths[0]


def test_a_map_is_titled_by_the_encoder_that_was_read(tmp_path, monkeypatch):
    """And the seeds are all named, where one stage lacks the first."""
    fabricate(tmp_path)
    for stage, seed in zip(PROBED, (1, 0, 0), strict=True):
        embeddings(tmp_path / f"seed_{seed}" / stage)
    drawn = []
    monkeypatch.setattr(drawing, "write", lambda figure, path: drawn.append(figure))
    experiment = runs.read_experiment(tmp_path)
    captions = []

    def place(name, caption):
        captions.append(caption)
        return tmp_path / name

    report.embedding_figure(experiment, place)
    (figure,), (caption,) = drawn, captions
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        "pretrained by SimCLR (pretrain)",
        "random, untrained",
        "supervised",
    ]
    assert "seeds 0, 1" in caption
    assert "seeds 0, 1" in figure.get_suptitle().replace("\n", " ")


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"task": "simclr"}, "pretrained by SimCLR (pretrain)"),
        ({"task": "distill"}, "supervised (pretrain)"),
        (
            {"task": "distill", "reads": {"teacher": {"stage": "big"}}},
            "distilled (pretrain)",
        ),
        ({"task": "a system of its own"}, "pretrain"),
    ],
)
def test_an_encoder_is_called_by_how_it_was_trained(tmp_path, changes, title):
    fabricate(tmp_path)
    for folder in tmp_path.glob("seed_*/pretrain"):
        edit(folder / "results.json", **changes)
    experiment = runs.read_experiment(tmp_path)
    assert report.encoder_of(experiment, experiment.runs["knn", 0]) == title


def test_embeddings_are_read_as_stored(tmp_path):
    stored = read_embeddings(embeddings(tmp_path), len(CLASSES))
    assert stored.position.shape == (80, 2)
    np.testing.assert_array_equal(stored.label, np.arange(80) % len(CLASSES))
    np.testing.assert_allclose(stored.explained, [0.4, 0.2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": None}, "expected arrays position, label, explained, found"),
        ({"position": np.zeros((80, 3))}, r"positions \(80, 2\) .* found \(80, 3\)"),
        ({"position": np.zeros((79, 2))}, r"found \(79, 2\)"),
        ({"label": np.full(80, 4)}, "of 4 classes, found .* of 5"),
        ({"label": np.full(80, None)}, "expected plain numbers or text, found objects"),
    ],
    ids=["missing", "three components", "too few", "unknown class", "pickled"],
)
def test_wrong_embeddings_are_named(tmp_path, changes, message):
    path = embeddings(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as error:
        read_embeddings(path, len(CLASSES))
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_damaged_embeddings_are_named(tmp_path, kept):
    path = embeddings(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"embeddings\.npz: expected arrays"):
        read_embeddings(path, len(CLASSES))
