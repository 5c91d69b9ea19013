"""A fabricated workdir, read, compared, drawn and reported."""

import json

import numpy as np
import pytest

from kdjax.cli import table
from kdjax.data.soft_labels import SoftLabels
from kdjax.errors import InputError
from kdjax.report import comparisons, document, figures, runs
from kdjax.tasks import ALL
from kdjax.tasks.distillation import report as distillation
from kdjax.training.metrics import CLASSIFICATION
from tests.fabricated import ENVIRONMENT, edit, png_size, record

CLASSES = ("walking", "walking upstairs", "sitting", "standing")
STAGES = {"teacher": 0.95, "scratch": 0.88, "eskd": 0.92, "label_smoothing": 0.885}


def measured(rng, accuracy, classes, examples=200):
    """Figures of one split, whose accuracy is the confusion's."""
    each = examples // len(classes)
    wrong = (1 - accuracy) / (len(classes) - 1)
    shares = np.full((len(classes), len(classes)), wrong)
    np.fill_diagonal(shares, accuracy)
    confusion = np.stack([rng.multinomial(each, row) for row in shares])
    right = float(np.trace(confusion) / confusion.sum())
    return {
        "loss": 1.5 * (1 - right) + 0.1,
        "accuracy": right,
        "macro_f1": right - 0.005,
        "ece": 0.3 * (1 - right),
        "confusion": confusion.tolist(),
        "examples": int(confusion.sum()),
    }


def write_stage(
    folder, seed, stage, accuracy, *, classes, epochs, teacher=None, **about
):
    rng = np.random.default_rng([seed, len(stage), *stage.encode()])
    folder.mkdir(parents=True)
    lines = []
    for epoch in range(1, epochs + 1):
        reached = accuracy * (1 - 0.6 * np.exp(-4 * epoch / epochs))
        for part in (0.5, 1.0):
            at = {"epoch": epoch - 1 + part, "step": int(40 * (epoch - 1 + part))}
            train = min(1.0, reached + 0.04 + rng.normal(0, 0.02))
            values = {"loss": 2.5 * (1 - train) + 0.05, "accuracy": train}
            lines.append({"kind": "train"} | at | values)
        score = measured(rng, reached, classes)
        del score["confusion"], score["examples"]
        lines.append({"kind": "validation", "epoch": epoch, "step": 40 * epoch} | score)
    validation = [line for line in lines if line["kind"] == "validation"]
    best = max(validation, key=lambda line: line["accuracy"])
    checkpoints = {
        name: {
            "epoch": line["epoch"],
            "step": line["step"],
            "validation": {k: line[k] for k in ("loss", "accuracy", "macro_f1", "ece")},
            "test": measured(rng, accuracy, classes),
        }
        for name, line in (("last", validation[-1]), ("best", best))
    }
    content = {
        "stage": stage,
        "seed": seed,
        "data": "UCI HAR (rebuilt)",
        "synthetic": False,
        "classes": list(classes),
        "examples": {"train": 5504, "validation": 1700 + seed, "test": 2893},
        "checkpoints": checkpoints,
    } | record(CLASSIFICATION, "accuracy", teacher=teacher)
    cost = {"parameters": 63020, "flops": 2_500_000.0, "kib": 247.5, "ms": 1.25}
    (folder / "results.json").write_text(json.dumps(content | about))
    (folder / "cost.json").write_text(json.dumps(cost))
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")


def write_soft_labels(folder, classes, seed=0, n=120):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(classes), n).astype(np.int32)
    near = -np.abs(np.arange(len(classes))[None] - label[:, None])
    np.savez(
        folder / "soft_labels.npz",
        key=np.array([f"e{i}" for i in range(n)]),
        label=label,
        split=np.array(["train", "test"])[np.arange(n) % 2],
        logits=(3 * near + rng.normal(0, 1, (n, len(classes)))).astype(np.float32),
        header=np.array(json.dumps({"stage": "teacher", "seed": seed})),
    )


def fabricate(
    workdir, *, stages=STAGES, seeds=(0, 1, 2), classes=CLASSES, settings=None, **about
):
    """What training leaves: eskd learns from teacher's best, the others from labels."""
    config = {"seeds": list(seeds), "stages": {name: {} for name in sorted(stages)}}
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(config | {"report": settings}))
    for seed in seeds:
        for stage, accuracy in stages.items():
            folder = workdir / f"seed_{seed}" / stage
            learned = {"stage": "teacher", "checkpoint": "best"}
            extra = {"teacher": learned} if "kd" in stage else {}
            write_stage(
                folder,
                seed,
                stage,
                accuracy,
                classes=classes,
                epochs=6,
                **extra,
                **about,
            )
            if stage == "teacher":
                write_soft_labels(folder, classes, seed)
    return workdir


def write_report(workdir):
    return document.write_report(
        workdir, metrics=ALL.metrics, sections=ALL.sections, figures=ALL.figures
    )


def test_stages_are_in_order_and_gaps_are_known(tmp_path):
    fabricate(tmp_path)
    (tmp_path / "seed_1" / "eskd" / "results.json").unlink()
    experiment = runs.read_experiment(tmp_path)
    assert experiment.stages == ("teacher", "eskd", "label_smoothing", "scratch")
    assert experiment.seeds == (0, 1, 2)
    assert runs.teachers(experiment) == ["teacher"]
    assert runs.gaps(experiment) == {"eskd": [1]}
    assert runs.scores(experiment, "eskd").keys() == {0, 2}


def test_order_from_the_config_comes_first(tmp_path):
    fabricate(tmp_path, seeds=(0,), settings={"order": ["scratch", "eskd"]})
    experiment = runs.read_experiment(tmp_path)
    assert experiment.stages == ("scratch", "eskd", "teacher", "label_smoothing")


def test_scores_are_those_of_the_checkpoint_asked_for(tmp_path):
    fabricate(tmp_path, seeds=(0,), settings={"checkpoint": "best"})
    stored = json.loads((tmp_path / "seed_0/eskd/results.json").read_text())
    at = stored["checkpoints"]
    experiment = runs.read_experiment(tmp_path)
    assert runs.scores(experiment, "eskd") == {0: at["best"]["test"]["accuracy"]}
    last = runs.scores(experiment, "eskd", checkpoint="last", metric="ece")
    assert last == {0: at["last"]["test"]["ece"]}


def test_a_chosen_metric_is_called_as_the_compared_stages_call_it(tmp_path):
    """Another stage of the run, whose `loss` is another thing, has no say."""
    fabricate(
        tmp_path,
        seeds=(0,),
        settings={"metric": "loss", "comparisons": [["eskd", "scratch"]]},
    )
    names = CLASSIFICATION["loss"].label, "NT-Xent"
    teacher = tmp_path / "seed_0" / "teacher" / "results.json"
    edit(teacher, metrics={"loss": names[1]})
    experiment = runs.read_experiment(tmp_path, ALL.metrics)
    assert runs.headline(experiment).label == names[0]
    assert runs.scores(experiment, "scratch")
    assert not runs.scores(experiment, "teacher")
    edit(tmp_path / "seed_0/eskd/results.json", metrics={"loss": names[1]})
    experiment = runs.read_experiment(tmp_path, ALL.metrics)
    assert runs.headline(experiment).label == "loss"


def test_history_keeps_the_later_of_two_and_drops_a_torn_end(tmp_path, capsys):
    fabricate(tmp_path, seeds=(0,))
    log = tmp_path / "seed_0" / "scratch" / "metrics.jsonl"
    whole = log.read_text()
    again = {"kind": "validation", "epoch": 6, "step": 240, "accuracy": 0.5}
    log.write_text(whole + json.dumps(again) + '\n{"kind": "tra')
    run = runs.read_experiment(tmp_path).runs["scratch", 0]
    assert len(run.history) == len(whole.splitlines())
    assert run.history[-1] == again
    log.write_text('{"kind": "tra\n' + whole)
    run = runs.read_experiment(tmp_path).runs["scratch", 0]
    assert len(run.history) == len(whole.splitlines())
    assert "metrics.jsonl: line 1 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chekpoint": "best"}, r"config\.report\.chekpoint.*'checkpoint'"),
        ({"checkpoint": "first"}, r"config\.report\.checkpoint.*'first'"),
        ({"comparisons": [["eskd", "scrach"]]}, "comparisons.*'scrach'.*'scratch'"),
        ({"comparisons": ["eskd"]}, r"expected \[stage, reference\]"),
        ({"order": ["eskt"]}, "order.*'eskt'.*'eskd'"),
        ({"confusion": ["eskt"]}, "confusion.*'eskt'"),
        ({"temperature": 0}, "report.temperature: expected a number > 0, found 0"),
        ({"temperature": True}, "temperature: expected a number, found True"),
        ({"metric": "accurracy"}, r"config\.report\.metric.*'accuracy'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        runs.report_settings({"report": settings}, STAGES)


def test_nothing_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="found none"):
        write_report(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 7}, r"expected stage and seed \('eskd', 0\)"),
        ({"selection": "accuracy"}, "selection: expected dict, found 'accuracy'"),
        ({"classes": ["one", "two"]}, r"confusion: expected shape \(2, 2\)"),
    ],
)
def test_results_that_do_not_fit_are_named(tmp_path, changes, message):
    fabricate(tmp_path, seeds=(0,), stages={"eskd": 0.9})
    edit(tmp_path / "seed_0/eskd/results.json", **changes)
    with pytest.raises(InputError, match=message):
        write_report(tmp_path)


def test_damaged_soft_labels_are_named(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    path = tmp_path / "seed_0" / "teacher" / "soft_labels.npz"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"soft_labels\.npz: expected arrays"):
        write_report(tmp_path)


def set_accuracies(workdir, stage, values):
    for seed, value in enumerate(values):
        path = workdir / f"seed_{seed}" / stage / "results.json"
        checkpoints = json.loads(path.read_text())["checkpoints"]
        checkpoints["last"]["test"]["accuracy"] = value
        edit(path, checkpoints=checkpoints)


def test_comparison_by_hand(tmp_path):
    fabricate(tmp_path, seeds=range(8), stages={"scratch": 0.8, "a": 0.8, "b": 0.8})
    base = np.array([0.80, 0.81, 0.82, 0.80, 0.79, 0.81, 0.83, 0.80])
    set_accuracies(tmp_path, "scratch", base)
    set_accuracies(tmp_path, "a", base - np.linspace(0.01, 0.03, 8))
    set_accuracies(tmp_path, "b", base + 0.01 * np.array([1, -1] * 4))
    experiment = runs.read_experiment(tmp_path)
    pairs = comparisons.planned_pairs(experiment)
    assert pairs == [("a", "scratch"), ("b", "scratch")]
    a, b = comparisons.compare(experiment, pairs)
    assert a.difference.mean == pytest.approx(-0.02)
    assert (a.p, a.adjusted_p, a.verdict) == (2 / 256, 4 / 256, "worse")
    assert (b.p, b.adjusted_p, b.verdict) == (1.0, 1.0, "not significant")
    assert comparisons.power_note([a, b]) == ""
    (better,) = comparisons.compare(experiment, [("scratch", "a")])
    assert better.verdict == "better"
    table = comparisons.comparison_table([a, b], runs.headline(experiment))
    assert (
        "| a | scratch | 8 | -2.0 | -2.5 to -1.5 | 0.00781 | 0.0156 | worse |" in table
    )


def test_only_common_seeds_are_compared(tmp_path):
    fabricate(tmp_path, stages={"scratch": 0.8, "eskd": 0.9, "late": 0.9})
    (tmp_path / "seed_0" / "scratch" / "results.json").unlink()
    for seed in (1, 2):
        (tmp_path / f"seed_{seed}" / "late" / "results.json").unlink()
    experiment = runs.read_experiment(tmp_path)
    (found,) = comparisons.compare(experiment, comparisons.planned_pairs(experiment))
    assert (found.stage, found.difference.n) == ("eskd", 2)


@pytest.mark.parametrize(
    ("seeds", "tests", "least", "enough"), [(3, 1, "0.25", 6), (5, 3, "0.188", 7)]
)
def test_too_few_seeds_are_said(tmp_path, seeds, tests, least, enough):
    names = ["one", "two", "three"][:tests]
    stages = {"scratch": 0.8} | dict.fromkeys(names, 0.95)
    fabricate(tmp_path, seeds=range(seeds), stages=stages)
    experiment = runs.read_experiment(tmp_path)
    note = comparisons.power_note(
        comparisons.compare(experiment, comparisons.planned_pairs(experiment))
    )
    assert least in note
    assert f"at least {enough} seeds" in note


def test_percent():
    assert document.percent([0.93, 0.932, 0.934]) == "93.2 ± 0.5"
    assert document.percent([0.5]) == "50.0"
    assert document.percent([]) == "-"


def test_class_means_by_hand():
    logits = np.log(np.array([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5]], dtype=np.float32))
    label = np.array([0, 0, 1], dtype=np.int32)
    labels = [SoftLabels(label, np.array(["test", "test", "train"]), logits)]
    means = distillation.class_means(labels, "test", 1.0)
    np.testing.assert_allclose(means[0], [0.7, 0.3], atol=1e-6)
    assert np.isnan(means[1]).all()
    # at T = 2 odds are their square roots: 2 / 3 and sqrt(1.5) / (1 + sqrt(1.5))
    root = np.sqrt(1.5) / (1 + np.sqrt(1.5))
    warm = distillation.class_means(labels, "test", 2.0)
    np.testing.assert_allclose(warm[0, 0], (2 / 3 + root) / 2, atol=1e-6)
    assert distillation.shown_split(labels) == "test"


def test_row_shares():
    shares = figures.row_shares(np.array([[3, 1], [0, 0]]))
    np.testing.assert_allclose(shares, [[0.75, 0.25], [np.nan, np.nan]])


def test_write_report_end_to_end(tmp_path):
    fabricate(tmp_path)
    (tmp_path / "seed_2" / "scratch" / "results.json").unlink()
    path = write_report(tmp_path)
    text = path.read_text()
    assert path == tmp_path / "report.md"
    assert text.startswith("# UCI HAR (rebuilt)\n")
    assert "5504 train, 1700 to 1702 validation, 2893 test" in text
    assert "| eskd | teacher (`best`) | 3 of 3 | 6 |" in text
    assert "| 63,020 | 2.5 | 1.25 | 248 |" in text
    assert "| eskd | scratch | 2 |" in text
    assert "| label_smoothing | scratch | 2 |" in text
    assert "| teacher | scratch |" not in text
    assert "highest validation accuracy" in text
    assert "- scratch: seed 2" in text
    assert "ynthetic" not in text
    shown = [
        line.split("](")[1].rstrip(")") for line in text.splitlines() if "![" in line
    ]
    assert len(shown) == 5
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == sorted(
        name.removeprefix("figures/") for name in shown
    )
    for name in shown:
        assert min(png_size(tmp_path / name)) > 300


def test_a_stage_reads_its_teacher_its_start_and_its_encoder(tmp_path):
    fabricate(tmp_path, seeds=(0, 1), stages={"eskd": 0.9, "teacher": 0.9})
    read = {"stage": "pretrain", "checkpoint": "last"}
    taught = {"teacher": {"stage": "teacher", "checkpoint": "best"}, "encoder": read}
    for seed in (0, 1):
        edit(tmp_path / f"seed_{seed}/eskd/results.json", reads=taught)
        reads = {"start": read, "encoder": read}
        edit(tmp_path / f"seed_{seed}/teacher/results.json", reads=reads)
    text = document.overview(runs.read_experiment(tmp_path))
    assert "| eskd | teacher (`best`), pretrain (`last`) | 2 of 2 |" in text
    assert "| teacher | pretrain (`last`) | 2 of 2 |" in text


def test_the_report_is_a_function_of_the_results(tmp_path):
    content = []
    for name in ("here", "there"):
        workdir = fabricate(tmp_path / name, seeds=(0,), stages={"scratch": 0.9})
        write_report(workdir)
        pages = [workdir / "report.md", workdir / "report.html"]
        files = [*pages, *sorted((workdir / "figures").iterdir())]
        content.append([file.read_bytes() for file in files])
    assert content[0] == content[1]


def test_a_run_of_kdjax_0_1_is_refused_in_one_line(tmp_path):
    fabricate(tmp_path, seeds=(0,), stages={"scratch": 0.9})
    path = tmp_path / "seed_0" / "scratch" / "results.json"
    old = json.loads(path.read_text())
    del old["format"]
    path.write_text(json.dumps(old))
    with pytest.raises(InputError, match=r"results\.json: a run of kdjax 0\.1") as e:
        write_report(tmp_path)
    assert "\n" not in str(e.value)


def test_no_bootstrap_interval_from_fewer_than_five_seeds(tmp_path):
    """From 3 it covers 71 times in 100."""
    for seeds, printed in ((4, False), (5, True)):
        workdir = tmp_path / str(seeds)
        stages = {"scratch": 0.8, "eskd": 0.9}
        text = write_report(fabricate(workdir, seeds=range(seeds), stages=stages))
        (row,) = [r for r in text.read_text().splitlines() if "| eskd | scratch |" in r]
        assert (" to " in row) == printed


def test_a_lower_error_is_better_where_the_metric_says_so(tmp_path):
    fabricate(tmp_path, seeds=range(8), stages={"scratch": 0.8, "a": 0.8})
    base = np.linspace(0.80, 0.83, 8)
    set_accuracies(tmp_path, "scratch", base)
    set_accuracies(tmp_path, "a", base - 0.02)
    lower = {"accuracy": CLASSIFICATION["accuracy"]._replace(higher_is_better=False)}
    experiment = runs.read_experiment(tmp_path, lower)
    (found,) = comparisons.compare(experiment, [("a", "scratch")])
    assert found.verdict == "better"


def test_the_report_says_with_what_it_was_made(tmp_path):
    fabricate(tmp_path, seeds=(0,), stages={"scratch": 0.9})
    text = write_report(tmp_path).read_text()
    assert "kdjax 0.2.0 at 012345678, jax 0.10.2" in text
    assert "1 x a processor, 2 threads; 2026-11-24" in text
    changed = ENVIRONMENT | {"clean": False}
    edit(tmp_path / "seed_0" / "scratch" / "results.json", environment=changed)
    assert "at 012345678 with changes," in write_report(tmp_path).read_text()


def test_it_says_which_stages_were_made_with_what(tmp_path):
    fabricate(tmp_path, stages={"scratch": 0.9, "eskd": 0.9, "kd": 0.9})
    changed = ENVIRONMENT | {"threads": 7}
    for cell in (
        "seed_0/scratch",
        "seed_2/scratch",
        *(f"seed_{s}/kd" for s in range(3)),
    ):
        edit(tmp_path / cell / "results.json", environment=changed)
    text = write_report(tmp_path).read_text()
    assert "2 threads; 2026-11-24: eskd, scratch 1\n" in text
    assert "7 threads; 2026-11-24: kd, scratch 0 2\n" in text


def test_one_seed_of_one_synthetic_stage(tmp_path):
    fabricate(tmp_path, seeds=(0,), stages={"scratch": 0.9}, synthetic=True)
    text = write_report(tmp_path).read_text()
    assert text.startswith("# UCI HAR (rebuilt) (synthetic)\n\n> **Synthetic data**")
    assert "None: no pair of stages" in text
    assert "## Missing" not in text
    assert (
        "±" not in text.split("## Comparisons")[0].split("|---|--:|--:|--:|--:|--:")[1]
    )


def test_what_a_stage_learnt_from_is_among_its_data(tmp_path):
    """A student of synthetic soft labels says so in its pictures."""
    fabricate(tmp_path, seeds=(0,))
    teacher = tmp_path / "seed_0" / "teacher" / "results.json"
    edit(teacher, data="fMRI", synthetic=True)
    experiment = runs.read_experiment(tmp_path)
    names = {stage: runs.data_names(experiment, [stage]) for stage in STAGES}
    assert names["scratch"] == names["label_smoothing"] == "UCI HAR (rebuilt)"
    assert names["eskd"] == "UCI HAR (rebuilt), fMRI (synthetic)"
    assert names["teacher"] == "fMRI (synthetic)"


def test_a_checkpoint_that_was_chosen_on_the_test_examples_is_said(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    held = {"validation": {"keys": "a"}, "test": {"keys": "b"}}
    same = {"validation": {"keys": "a"}, "test": {"keys": "a"}}
    for stage, split in (("teacher", held), ("scratch", same), ("eskd", same)):
        edit(tmp_path / "seed_0" / stage / "results.json", split=split)
    text = document.selection_section(runs.read_experiment(tmp_path))
    found = "but for `eskd`, `scratch`, **which chose `best` on the test examples**, no"
    assert found in text
    edit(tmp_path / "seed_0" / "eskd" / "results.json", split=held)
    edit(tmp_path / "seed_0" / "scratch" / "results.json", split={})
    text = document.selection_section(runs.read_experiment(tmp_path))
    assert "held out from training; no checkpoint was chosen on the test split." in text


def test_soft_labels_are_drawn_once_at_temperature_1(tmp_path):
    name, sizes = "soft_labels_teacher.png", []
    for temperature in (4.0, 1.0):
        folder = fabricate(
            tmp_path / f"{temperature}", settings={"temperature": temperature}
        )
        write_report(folder)
        sizes.append(png_size(folder / "figures" / name))
    assert sizes[1][0] < 0.7 * sizes[0][0]
    assert sizes[1][1] == sizes[0][1]


def test_data_without_classes_have_no_line_of_them(tmp_path):
    """It said "0 classes: ."."""
    fabricate(tmp_path, seeds=(0,), stages={"scratch": 0.9})
    assert "4 classes: " in document.overview(runs.read_experiment(tmp_path))
    edit(tmp_path / "seed_0" / "scratch" / "results.json", classes=[])
    text = document.overview(runs.read_experiment(tmp_path))
    assert "classes" not in text
    assert "- Data: UCI HAR (rebuilt). Examples: " in text


def test_members_of_a_population_that_are_not_done_are_missing(tmp_path):
    """The stage that they are of once was one that never finished."""
    fabricate(tmp_path, seeds=(0,), stages={"kd_0": 0.9})
    population = {"losses": {"kd": {"weight": [0.1, 0.9]}}}
    edit(tmp_path / "config.json", stages={"kd": {"population": population}})
    found = runs.read_experiment(tmp_path)
    assert set(found.stages) == {"kd_0", "kd_1"}
    assert runs.gaps(found) == {"kd_1": [0]}


def test_tables_are_put_between_their_marks(tmp_path):
    workdir = fabricate(tmp_path / "har", seeds=range(5))
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table har -->\nold\n<!-- end -->\nb\n")
    for _ in range(2):
        table.put(table.tables(workdir), page, "har")
    text = page.read_text()
    assert text.startswith("a\n<!-- table har -->\n\n**Results**")
    assert text.endswith("<!-- end -->\nb\n")
    assert "old" not in text
    assert text.count("| eskd | scratch | 5 |") == 1
    assert "kdjax 0.2.0 at 012345678, jax 0.10.2" in text
    before = page.read_text()
    with pytest.raises(InputError, match="expected the lines '<!-- table other -->'"):
        table.put("x", page, "other")
    assert page.read_text() == before


EXPORTED = {
    "checkpoint": "best",
    "metric": 0.9,
    "environment": ENVIRONMENT,
    "artefacts": {
        "model.npz": {"format": "npz", "bytes": 5},
        "model.onnx": {
            "bytes": 2048,
            "difference": 4e-7,
            "equal": 1190,
            "examples": 1200,
            "metric": {"name": "accuracy", "value": 0.9012},
            "ms": 0.123,
            "device": {
                "accelerator": "a device",
                **{"sram_kib": 9.5, "flash_kib": 1870.2, "ms": 0.33},
            },
        },
    },
}


def test_what_was_exported_is_a_row_a_file(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    assert "## Exported" not in write_report(tmp_path).read_text()
    place = tmp_path / "seed_0" / "eskd" / "export"
    place.mkdir()
    (place / "export.json").write_text(json.dumps(EXPORTED))
    text = table.tables(tmp_path, ["Exported"])
    (row,) = (line for line in text.splitlines() if "model." in line)
    assert row == (
        "| eskd (seed 0, `best`) | model.onnx | 2 | 4.0e-07 | 1,190 of 1,200 |"
        " accuracy 0.9012 | 0.9000 | 0.12 | 9.5 | 1,870 | 0.33 |"
    )
    assert "Exported by kdjax 0.2.0 at 012345678, jax 0.10.2" in text
    assert "**Results**" not in text
    assert "**Made with**" in text
    with pytest.raises(InputError, match="--sections: unknown name 'Exportd'"):
        table.tables(tmp_path, ["Exportd"])
