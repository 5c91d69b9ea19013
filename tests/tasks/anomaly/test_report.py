"""What the report says of detectors, from a fabricated workdir."""

import json
from pathlib import Path

import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.report import comparisons, document, runs
from kdjax.tasks.anomaly import report, scoring
from tests.fabricated import edit, png_size
from tests.tasks.anomaly.fabricated import (
    STAGES,
    SYSTEM,
    examples,
    fabricate,
    measured,
    read_experiment,
    write_classifier,
    write_report,
)


def table(section, heading):
    """{stage: cells} of the table whose heading starts so."""
    lines = section.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("| "):
            break
        stage, *cells = line.strip("| ").split(" | ")
        assert len(cells) == lines[start].count("|") - 2
        rows[stage] = cells
    return rows


def mean_of(text):
    return float(text.split(" ± ")[0])


def test_an_experiment_of_detectors_is_headlined_by_auc(tmp_path):
    experiment = read_experiment(fabricate(tmp_path / "a"))
    assert runs.headline(experiment).name == "auc"
    assert report.detectors(experiment) == ["beatgan", "pca"]
    assert runs.scores(experiment, "pca").keys() == {0, 1, 2}
    write_classifier(tmp_path / "b" / "seed_0" / "probe", 0, "probe")
    plain = read_experiment(tmp_path / "b")
    assert runs.headline(plain).name == "accuracy"
    assert report.detectors(plain) == []
    assert report.anomaly_section(plain) == ""


def test_the_table_has_the_mean_over_seeds(tmp_path):
    experiment = read_experiment(fabricate(tmp_path))
    section = report.anomaly_section(experiment)
    assert section.startswith("## Anomaly detection\n")
    assert "Best F1 flatters" in section
    rows = table(section, "| stage | AUC, `last`")
    assert rows.keys() == STAGES.keys()
    for stage, cells in rows.items():
        stored = [examples(seed, STAGES[stage]) for seed in range(3)]
        for cell, metric in zip(
            cells[2:4], ("average_precision", "best_f1"), strict=True
        ):
            expected = np.mean(
                [measured(one, "test", "last")[metric] for one in stored]
            )
            assert mean_of(cell) == pytest.approx(expected, abs=6e-4)
        assert cells[0] == cells[1]  # best is monotone in last
        assert cells[6:] == ["46,856", "0.612", "0.25", "186"]
    values = [measured(examples(s, 1.0), "test", "last")["auc"] for s in range(3)]
    # Student's t(.975, 2) = 4.302653
    half = 4.302653 * np.std(values, ddof=1) / np.sqrt(3)
    assert rows["pca"][0] == f"{np.mean(values):.3f} ± {half:.3f}"


def test_the_threshold_is_chosen_on_the_normal_validation_examples():
    split = np.repeat(["validation", "test"], [24, 8])
    label = np.array([0] * 20 + [1] * 4 + [0] * 4 + [1] * 4, np.int32)
    # of the validation normals 0 to 19 one, 5 %, is above 18; their abnormal are far up
    test = [1.0, 18.0, 18.5, 3.0, 17.0, 19.0, np.nan, np.inf]
    score = np.array([*range(20), *[90.0] * 4, *test], np.float32)
    found = scoring.Scores(split, label, np.zeros(32, int), score, -score)
    assert report.flagged(found, "last") == (18.0, 3 / 4, 1 / 4)
    threshold, recall, _ = report.flagged(found, "best")
    assert (threshold, recall) == (-1.0, 1 / 4), "what is not a number is flagged"
    for missing in ("validation", "test"):
        changed = np.where(split == missing, 1, label)
        assert report.flagged(found._replace(label=changed), "last") is None


def test_recall_is_that_of_the_threshold(tmp_path):
    experiment = read_experiment(fabricate(tmp_path, seeds=(0,)))
    rows = table(report.anomaly_section(experiment), "| stage | AUC, `last`")
    stored = examples(0, STAGES["pca"])
    held, test = stored["split"] == "validation", stored["split"] == "test"
    normal, score = stored["label"] == 0, stored["last"]
    limit = np.sort(score[held & normal])[-3]  # 2 of 40 are above it
    assert rows["pca"][4] == f"{(score[test & ~normal] > limit).mean():.3f}"
    assert rows["pca"][5] == f"{(score[test & normal] > limit).mean():.3f}"


def test_auc_of_each_class_with_its_examples(tmp_path):
    experiment = read_experiment(fabricate(tmp_path, seeds=(1,)))
    section = report.anomaly_section(experiment)
    rows = table(section, "| stage | S (10) | V (10) |")
    by_class = measured(examples(1, 3.0), "test", "last")["auc_by_class"]
    assert rows["beatgan"] == [f"{by_class['S']:.3f}", f"{by_class['V']:.3f}"]


def test_auc_of_each_group_with_both_kinds():
    # group 5: one abnormal above both normals; 6: below one; 7: normals; 8: abnormal
    group = np.array([5, 5, 5, 6, 6, 6, 7, 7, 8, 5])
    label = np.array([0, 0, 1, 0, 0, 2, 0, 0, 1, 1], np.int32)
    score = np.array([1.0, 2.0, 3.0, 1.0, 3.0, 2.0, 1.0, 1.0, 9.0, 0.0])
    split = np.array(["test"] * 9 + ["validation"])
    found = scoring.Scores(split, label, group, score, score)
    assert report.group_aucs(found, "last") == {5: 1.0, 6: 0.5}
    alone = found._replace(group=np.arange(10))
    assert report.group_aucs(alone, "last") == {}


def test_the_groups_table(tmp_path):
    experiment = read_experiment(fabricate(tmp_path))
    rows = table(report.anomaly_section(experiment), "| stage | groups")
    aucs = []
    for run in runs.stage_runs(experiment, "pca"):
        found = report.group_aucs(scoring.read_scores(run), "last")
        assert found.keys() == {4, 5, 6, 7}
        aucs.append(list(found.values()))
    groups, median, between, below, *relative = rows["pca"]
    assert groups == "4"
    assert mean_of(median) == pytest.approx(np.median(aucs, axis=1).mean(), abs=6e-4)
    assert between == f"{np.min(aucs):.3f} to {np.max(aucs):.3f}"
    assert below == f"{np.sum(np.array(aucs) < 0.5)} of 12"
    own = [
        report.relative_to_groups(scoring.read_scores(run))
        for run in runs.stage_runs(experiment, "pca")
    ]
    at = [report.metrics_of_test(one, "last") for one in own]
    above = [report.flagged(one, "last") for one in own]
    expected = [
        [one["auc"] for one in at],
        [one["average_precision"] for one in at],
        [one.recall for one in above],
        [one.false_alarms for one in above],
    ]
    for cell, values in zip(relative, expected, strict=True):
        assert mean_of(cell) == pytest.approx(np.mean(values), abs=6e-4)


def test_relative_scores_undo_a_groups_level():
    arrays = examples(0, 2.0)
    plain = scoring.Scores(*(arrays[name] for name in scoring.Scores._fields))
    level = np.array([1, 1, 1, 1, 1, 10, 100, 1000.0])[plain.group]
    shifted = plain._replace(last=plain.last * level)
    found, same = map(report.relative_to_groups, (plain, shifted))
    np.testing.assert_allclose(same.last, found.last, rtol=1e-6)
    mixed, own = (report.metrics_of_test(one, "last") for one in (shifted, found))
    assert mixed["auc"] < own["auc"]
    assert report.flagged(shifted, "last").false_alarms > 0.5
    assert report.flagged(found, "last").false_alarms < 0.3
    assert report.relative_to_groups(plain._replace(best=-plain.best)) is None
    rare = plain._replace(label=np.maximum(plain.label, np.arange(120) % 8 > 1))
    assert report.relative_to_groups(rare) is None
    normal = plain._replace(label=np.zeros_like(plain.label))
    assert report.metrics_of_test(normal, "last") == {}


def test_examples_that_are_their_own_groups_have_no_table_of_groups(tmp_path):
    fabricate(tmp_path)
    for path in tmp_path.glob("seed_*/*/scores.npz"):
        stored = dict(np.load(path))
        np.savez(path, **stored | {"group": np.arange(120)})
    section = report.anomaly_section(read_experiment(tmp_path))
    assert "test group" not in section
    assert "| stage | S (10) | V (10) |" in section


def test_without_stored_scores_the_metrics_stand(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    for path in tmp_path.glob("seed_*/*/scores.npz"):
        path.unlink()
    section = report.anomaly_section(read_experiment(tmp_path))
    rows = table(section, "| stage | AUC, `last`")
    assert rows["pca"][4:6] == ["-", "-"]
    assert mean_of(rows["pca"][0]) > 0.5
    assert "| stage | S | V |" in section


def test_auc_is_compared(tmp_path):
    settings = {"comparisons": [["beatgan", "pca"]]}
    experiment = read_experiment(fabricate(tmp_path, settings=settings))
    found = comparisons.compare(experiment, comparisons.planned_pairs(experiment))
    auc = {stage: runs.scores(experiment, stage, metric="auc") for stage in STAGES}
    difference = np.mean([auc["beatgan"][s] - auc["pca"][s] for s in range(3)])
    assert found[0].difference.mean == pytest.approx(difference)
    section = document.comparison_section(experiment, found)
    assert "Differences in test AUC at `last`" in section
    rows = table(section, "| stage | against | seeds | difference | 95 % bootstrap")
    assert rows["beatgan"][2] == f"{difference:+.3f}"


def test_how_best_was_chosen(tmp_path):
    experiment = read_experiment(fabricate(tmp_path / "a"))
    text = document.selection_section(experiment)
    assert "lowest validation mean score of the normal examples" in text
    assert "Labelled" not in report.anomaly_section(experiment)
    labelled = fabricate(tmp_path / "b", select="auc")
    loss = SYSTEM.metrics["loss"]
    edit(
        labelled / "seed_0" / "pca" / "results.json",
        selection={"metric": "loss", "rule": loss.chosen_as},
    )
    experiment = read_experiment(labelled)
    text = document.selection_section(experiment)
    assert "highest validation AUC or the lowest validation mean score" in text
    section = report.anomaly_section(experiment)
    assert "> **Labelled anomalies chose `best`** of `beatgan`, `pca`: " in section


def test_a_detector_that_was_not_trained_had_nothing_chosen(tmp_path):
    fabricate(tmp_path, select="average_precision")
    for path in tmp_path.glob("seed_*/pca/results.json"):
        checkpoints = json.loads(path.read_text())["checkpoints"]
        edit(path, checkpoints={k: v | {"epoch": 0} for k, v in checkpoints.items()})
    experiment = read_experiment(tmp_path)
    text = document.selection_section(experiment)
    assert "highest validation average precision" in text
    section = report.anomaly_section(experiment)
    assert "**Labelled anomalies chose `best`** of `beatgan`: " in section


def shown(text):
    return [
        line.split("](")[1].rstrip(")") for line in text.splitlines() if "![" in line
    ]


def test_write_report_of_detectors(tmp_path):
    text = write_report(fabricate(tmp_path)).read_text()
    assert "## Anomaly detection" in text
    assert "## Results" not in text
    assert "ccuracy" not in text
    names = [Path(name).stem for name in shown(text)]
    assert names == [
        *("auc", "learning_auc", "learning_loss"),
        *("detection_curves", "scores", "heat_map_beatgan"),
    ]
    assert sorted(p.stem for p in (tmp_path / "figures").iterdir()) == sorted(names)
    for name in shown(text):
        width, height = png_size(tmp_path / name)
        assert 300 < height < 3000
        assert 600 < width < 3000


def test_the_report_is_a_function_of_the_results(tmp_path):
    content = []
    for name in ("here", "there"):
        workdir = fabricate(tmp_path / name, seeds=(0,))
        write_report(workdir)
        files = [workdir / "report.md", *sorted((workdir / "figures").iterdir())]
        content.append([file.read_bytes() for file in files])
    assert content[0] == content[1]


def test_a_stage_of_neither_metric_is_in_no_table_of_metrics(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    write_classifier(tmp_path / "seed_0" / "pretrain", 0, "pretrain")
    path = tmp_path / "seed_0" / "pretrain" / "results.json"
    at = {"epoch": 2, "step": 80, "validation": {"loss": 4.0}, "test": {"loss": 4.0}}
    edit(path, checkpoints={"last": at, "best": at})
    text = write_report(tmp_path).read_text()
    assert table(text, "| stage | AUC, `last`").keys() == STAGES.keys()
    assert table(text, "| stage | S (10) | V (10) |").keys() == STAGES.keys()
    assert "pretrain" in table(text, "| stage | learns or starts from")
    assert "## Results" not in text


def test_classifiers_and_detectors_have_a_table_each(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    write_classifier(tmp_path / "seed_0" / "probe", 0, "probe")
    text = write_report(tmp_path).read_text()
    assert table(text, "| stage | accuracy, `last`").keys() == {"probe"}
    assert table(text, "| stage | AUC, `last`").keys() == STAGES.keys()
    assert "Test AUC by stage" in text  # most stages have it
    assert "lowest validation mean score of the normal examples" in text
    assert "highest validation accuracy" in text


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("scores", {"group": None}, "expected arrays split, label, group, last, best"),
        ("scores", {"last": np.zeros(3)}, r"one length, found \[120, 120, 120, 3"),
        ("scores", {"label": np.full(120, 3)}, "label: expected 0 to 2, found 3 to 3"),
        (
            "scores",
            {"label": np.full(120, None)},
            "expected plain numbers or text, found objects",
        ),
        (
            "examples",
            {"reconstruction": np.zeros((5, 32))},
            r"found \(5, 32, 2\) and \(5, 32\)",
        ),
        ("examples", {"label": np.full(5, -1)}, "label: expected 0 to 2, found -1"),
    ],
)
def test_stored_arrays_that_do_not_fit_are_named(tmp_path, name, changes, message):
    fabricate(tmp_path, seeds=(0,))
    path = tmp_path / "seed_0" / "beatgan" / f"{name}.npz"
    arrays = dict(np.load(path)) | changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(InputError, match=message) as error:
        write_report(tmp_path)
    assert str(error.value).startswith(f"{path}: ")


def test_examples_that_are_no_series_are_not_drawn(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    path = tmp_path / "seed_0" / "beatgan" / "examples.npz"
    images = np.zeros((5, 8, 8, 3), np.float32)
    np.savez(path, **dict(np.load(path)) | {"x": images, "reconstruction": images})
    text = write_report(tmp_path).read_text()
    assert "scores" in [Path(name).stem for name in shown(text)]
    assert "heat_map" not in text


def test_an_array_by_the_name_of_scores_is_named(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    path = tmp_path / "seed_0" / "pca" / "scores.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(
        InputError, match=r"expected arrays .*, found File is not a zip"
    ):
        write_report(tmp_path)


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_damaged_scores_are_named(tmp_path, kept):
    fabricate(tmp_path, seeds=(0,))
    path = tmp_path / "seed_0" / "pca" / "scores.npz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"pca/scores\.npz: expected arrays"):
        write_report(tmp_path)
