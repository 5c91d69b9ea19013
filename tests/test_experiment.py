"""Stages: their configs, their order, what is refused before anything trains."""

import json
import runpy
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import kdjax
from kdjax import cells, experiment, files, plan
from kdjax.data.dataset import epoch_order
from kdjax.errors import InputError
from kdjax.files import read_json
from kdjax.report.runs import read_experiment
from kdjax.stages import batches, record
from kdjax.training.metrics import read_log

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = runpy.run_path(str(Path(__file__).with_name("small.py")))


def small(**changes):
    return json.loads(SMALL["get_config"]().to_json()) | changes


def test_merge_lays_fields_over_fields():
    base = {"model": {"name": "a", "depth": 10, "width": 1}, "seed": 0}
    assert plan.merge(base, {"model": {"width": 3}}) == {
        "model": {"name": "a", "depth": 10, "width": 3},
        "seed": 0,
    }


def test_merge_of_another_name_replaces_the_section():
    base = {"model": {"name": "a", "depth": 10}}
    changes = {"model": {"name": "b", "widths": [4]}}
    assert plan.merge(base, changes) == changes


def test_merge_with_none_takes_a_section_away():
    assert plan.merge({"augment": {"name": "noise"}}, {"augment": None}) == {
        "augment": None
    }


def test_stages_are_ordered_by_who_reads_whom():
    stages = {
        "a": {"teacher": {"stage": "b"}},
        "b": {"deep": {"er": {"stage": "c"}}},
        "c": {},
    }
    assert plan.reading_order(stages) == ["c", "b", "a"]


def test_a_circle_of_stages_is_named():
    stages = {"a": {"teacher": {"stage": "b"}}, "b": {"teacher": {"stage": "a"}}}
    with pytest.raises(InputError, match="read one another: "):
        plan.reading_order(stages)


def test_an_unknown_stage_is_named_with_the_nearest():
    stages = {"teacher": {}, "a": {"teacher": {"stage": "teecher"}}}
    with pytest.raises(InputError, match=r"a: reads .*'teecher' .*'teacher'"):
        plan.reading_order(stages)


def test_adding_a_seed_or_a_stage_does_not_disturb_what_is_done(tmp_path):
    config = small(stages={"scratch": {}}, report={})
    experiment.run(config, tmp_path)
    results = tmp_path / "seed_0" / "scratch" / "results.json"
    before = results.stat().st_mtime_ns
    more = config | {"seeds": [0, 1], "stages": {"scratch": {}, "again": {}}}
    experiment.run(more, tmp_path)
    assert results.stat().st_mtime_ns == before
    assert len(list(tmp_path.glob("seed_*/*/results.json"))) == 4


def test_averaged_weights_are_what_others_read_of_a_stage(tmp_path):
    optimizer = {"ema": 0.95, "clip_norm": 1.0}
    config = small(stages={"averaged": {"optimizer": optimizer}}, report={})
    config["training"] |= {"epochs": 2}
    experiment.run(config, tmp_path)
    folder = tmp_path / "seed_0" / "averaged"
    dataset = batches.load(config["data"], 0)
    for kind in ("last", "best"):
        stage = kdjax.load(folder, checkpoint=kind)
        probabilities = np.asarray(
            stage.forward(stage.model, jnp.asarray(dataset.test.x))
        )
        of_labels = np.take_along_axis(probabilities, dataset.test.y[:, None], 1)
        results = read_json(folder / "results.json")["checkpoints"]
        loss = results[kind]["test"]["loss"]
        assert -np.log(of_labels).mean() == pytest.approx(loss, rel=1e-4)
    assert list(folder.glob("checkpoints/last/*/unaveraged"))
    settings = read_json(folder / "record.json")["settings"]["config.optimizer"]
    assert settings.items() >= (optimizer | {"accumulate": 1}).items()


STUDENT = {"teacher": {"stage": "teacher", "checkpoint": "best"}}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            {"teacher": {}, "s": STUDENT | {"losses": {"kdd": {"weight": 1.0}}}},
            r"stage 's': config.losses: unknown name 'kdd'",
        ),
        (
            {"s": {"losses": {"kd": {"weight": 1.0}}}},
            r"stage 's': config.losses.kd: needs a teacher",
        ),
        (
            {"teacher": {}, "s": STUDENT | {"losses": {"kd": {"weight": 1.0, "t": 4}}}},
            r"config.losses.kd.t: unknown field \(did you mean|config.losses.kd.t: unk",
        ),
        (
            {
                "teacher": {},
                "s": STUDENT | {"losses": {"kd": {"weight": 1.0, "temperature": -1.0}}},
            },
            r"stage 's': .*temperature",
        ),
        (
            {
                "teacher": {"data": {"classes": 3}},
                "s": STUDENT | {"losses": {"kd": {"weight": 1.0}}},
            },
            r"knows 3 classes .* the student's data have 4",
        ),
        (
            {
                "teacher": {"data": {"validation_groups": 1}},
                "s": STUDENT | {"losses": {"kd": {"weight": 1.0}}},
            },
            r"standardised otherwise",
        ),
        (
            {
                "teacher": {"data": {"channels": 9}},
                "s": STUDENT | {"losses": {"kd": {"weight": 1.0}}},
            },
            r"takes examples of shape \(32, 9\), this stage's data have \(32, 3\)",
        ),
        ({"s": {"agument": {"name": "noise"}}}, r"config.agument: .*'augment'"),
        ({"s": {"augment": {"name": "nosie"}}}, r"'nosie' \(did you mean 'noise'"),
        ({"s": {"training": {"select": "acuracy"}}}, r"'acuracy' .*'accuracy'"),
        ({"s": {"training": {"batch_size": 4096}}}, r"4096 is more than the 768"),
        ({"s": {"data": {"path": "x"}}}, r"config.data.path: unknown field"),
        ({"s": {"task": "distil"}}, r"unknown name 'distil' .*'distill'"),
    ],
)
def test_what_does_not_fit_is_said_before_training(tmp_path, stages, message):
    with pytest.raises(InputError, match=message):
        experiment.run(small(stages={"ok": {}} | stages, report={}), tmp_path)
    assert not list(tmp_path.iterdir())


# --- what was made of something that changed -----------------------------------------

BASE = {"data": {"windows": 16}, "training": {"epochs": 1}}


def small_kd(**changes):
    """A teacher and its student, an epoch each."""
    stages = {"teacher": {}, "kd": STUDENT | {"losses": {"kd": {"weight": 1.0}}}}
    config = plan.merge(small(stages=stages, report={}), BASE)
    return plan.merge(config, changes)


def made(workdir, stage="kd"):
    return (workdir / "seed_0" / stage / "results.json").stat().st_mtime_ns


def test_a_student_of_a_retrained_teacher_is_stale(tmp_path):
    """It once kept the figures of a teacher that was no longer there."""
    experiment.run(small_kd(), tmp_path)
    before = made(tmp_path)
    shutil.rmtree(tmp_path / "seed_0" / "teacher")
    longer = small_kd(stages={"teacher": {"training": {"epochs": 2}}})
    with pytest.raises(InputError) as error:
        experiment.run(longer, tmp_path)
    said = str(error.value)
    assert "kd is stale: the config of its teacher, 'teacher', changed since" in said
    assert "--rerun_stale trains it anew" in said
    assert made(tmp_path) == before
    experiment.run(longer, tmp_path, rerun_stale=True)
    assert made(tmp_path) > before
    after = made(tmp_path), made(tmp_path, "teacher")
    experiment.run(longer, tmp_path)
    assert (made(tmp_path), made(tmp_path, "teacher")) == after


def test_a_teacher_that_comes_out_the_same_leaves_its_student(tmp_path):
    experiment.run(small_kd(), tmp_path)
    before = made(tmp_path)
    shutil.rmtree(tmp_path / "seed_0" / "teacher")
    experiment.run(small_kd(), tmp_path)
    assert made(tmp_path) == before


def own_arrays(path, seed):
    rng = np.random.default_rng(seed)
    y = np.arange(120) % 3
    np.savez(path, x=rng.normal(size=(120, 8, 2)) + y[:, None, None], y=y)
    data = {"name": "arrays", "path": str(path)}
    config = small(stages={"scratch": {}}, report={}, data=data)
    return config | {"training": {"epochs": 1, "batch_size": 16}}


def test_changed_data_make_a_stage_stale(tmp_path):
    config = own_arrays(tmp_path / "mine.npz", seed=0)
    workdir = tmp_path / "run"
    experiment.run(config, workdir)
    before = made(workdir, "scratch")
    experiment.run(config, workdir)
    assert made(workdir, "scratch") == before
    own_arrays(tmp_path / "mine.npz", seed=1)
    with pytest.raises(InputError, match=r"stale: its data \(mine\) changed since"):
        experiment.run(config, workdir)
    # the same where it was killed before it was done
    (workdir / "seed_0" / "scratch" / "results.json").unlink()
    with pytest.raises(InputError, match="scratch is stale: its data"):
        experiment.run(config, workdir)
    experiment.run(config, workdir, rerun_stale=True)
    assert made(workdir, "scratch") > before


def test_a_finished_run_is_reported_without_its_data(tmp_path, capsys):
    config = own_arrays(tmp_path / "mine.npz", seed=0)
    experiment.run(config, tmp_path / "run")
    (tmp_path / "mine.npz").unlink()
    (tmp_path / "run" / "report.md").unlink()
    experiment.run(config, tmp_path / "run")
    assert (tmp_path / "run" / "report.md").exists()
    assert "scratch: not checked against its data: " in capsys.readouterr().err
    with pytest.raises(InputError, match="expected this file"):
        experiment.run(config, tmp_path / "other")


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_damaged_results_are_set_aside_and_the_stage_goes_on(tmp_path, capsys, content):
    config = small(stages={"scratch": {}}, report={})
    config["training"] |= {"epochs": 1}
    experiment.run(config, tmp_path)
    folder = tmp_path / "seed_0" / "scratch"
    whole = files.read_json(folder / "results.json")
    (folder / "results.json").write_text(content)
    experiment.run(config, tmp_path)
    assert f"damaged {folder / 'results.json'}" in capsys.readouterr().err
    assert (folder / record.DAMAGED).read_text() == content
    again = files.read_json(folder / "results.json")
    assert again["checkpoints"] == whole["checkpoints"]
    assert len(again["resumed"]) == 1


@pytest.mark.parametrize("name", [record.CONFIG, record.RECORD])
@pytest.mark.parametrize("content", ["", '{"format": 2', "[]"])
def test_a_damaged_record_says_what_to_remove(tmp_path, name, content):
    config = small(stages={"scratch": {}}, report={})
    folder = tmp_path / "seed_0" / "scratch"
    stage = plan.resolve(config)["scratch"] | {"seed": 0}
    files.write_json(folder / record.CONFIG, stage)
    (folder / name).write_text(content)
    with pytest.raises(InputError) as error:
        experiment.run(config, tmp_path)
    assert str(error.value).startswith(f"{folder / name}: ")
    assert str(error.value).endswith(f"remove {folder} to train that stage anew")


def test_a_run_of_kdjax_0_1_is_refused(tmp_path):
    config = small(stages={"scratch": {}}, report={})
    folder = tmp_path / "seed_0" / "scratch"
    stage = plan.resolve(config)["scratch"] | {"seed": 0}
    files.write_json(folder / "config.json", stage)
    files.write_json(folder / "results.json", {"stage": "scratch"})
    with pytest.raises(InputError, match=r"scratch: a run of kdjax 0\.1") as error:
        experiment.run(config, tmp_path)
    assert "\n" not in str(error.value)


# --- random numbers, and what is refused before the first stage trains ---------------


def test_a_stage_that_goes_on_from_another_draws_its_own_numbers(tmp_path):
    """`retrained` once replayed the order of examples that `baseline` had."""
    on = {"start": {"stage": "a", "checkpoint": "last"}}
    stages = {
        "a": {},
        "b": on,
        "c": on,
        "again": {"start": {"stage": "b"}},
        "own": on | {"training": {"stream": 7}},
    }
    config = plan.merge(small(stages=stages, report={}), BASE)
    experiment.run(config, tmp_path)
    streams = {}
    for stage in stages:
        made = files.read_json(tmp_path / "seed_0" / stage / "results.json")
        streams[stage] = made["settings"]["config.training"]["stream"]
    assert streams == {"a": 0, "b": 1, "c": 1, "again": 2, "own": 7}
    b, c = (
        files.read_json(tmp_path / "seed_0" / stage / "results.json")["checkpoints"]
        for stage in ("b", "c")
    )
    assert b == c  # the stages of a stream differ in nothing but their configs
    orders = [epoch_order(50, seed=0, epoch=1, stream=stream) for stream in (0, 1, 2)]
    assert len({tuple(order) for order in orders}) == 3
    np.testing.assert_array_equal(orders[0], epoch_order(50, seed=0, epoch=1))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            {"s": {"model": {"norm_devices": 2}}},
            r"'s': config.model.norm_devices: expected a divisor of the 1 devices",
        ),
        (
            {"s": {"model": {"norm_devices": 0}}},
            r"stage 's': config.model.norm_devices: expected an integer >= 1, found 0",
        ),
        (
            {"t": {}, "s": {"start": {"stage": "t", "checkpoint": "lst"}}},
            r"stage 's': config.start.checkpoint: unknown name 'lst' .*'last'",
        ),
        (
            {"s": {"training": {"mode": "max"}}},
            r"stage 's': config.training.mode: unknown field",
        ),
        (
            {"s": {"training": {"stream": -1}}},
            r"config.training.stream: expected an integer >= 0, found -1",
        ),
        (
            {"s": {"training": {"log_steps": True}}},
            r"config.training.log_steps: expected an integer, found True",
        ),
        (
            {"s": {"training": {"select": "auc"}}},
            r"stage 's': config.training.select: unknown name 'auc'",
        ),
    ],
)
def test_late_errors_come_before_the_first_stage(tmp_path, stages, message):
    with pytest.raises(InputError, match=message):
        experiment.run(small(stages={"a": {}} | stages, report={}), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (None, "config.seeds: expected a sequence of integers, found None"),
        ([0, True], r"config.seeds\[1\]: expected an integer >= 0, found True"),
        ([0, -1], r"config.seeds\[1\]: expected an integer >= 0, found -1"),
        ([], r"config.seeds: expected one or more different integers, found \[\]"),
        ([1, 1], r"expected one or more different integers, found \[1, 1\]"),
    ],
)
def test_seeds_are_different_integers(seeds, message):
    assert plan.seeds({"seeds": [0, 3]}) == [0, 3]
    with pytest.raises(InputError, match=message):
        plan.seeds({"seeds": seeds})


def test_training_is_checked_field_by_field(python):
    """In another process: here the annotations are checked before the fields."""
    code = (
        "from kdjax.errors import InputError\n"
        "from kdjax.training.task import Training\n"
        "for fields in ({'select': ['loss']}, {'track': ['tb']}):\n"
        "    try:\n"
        "        Training(epochs=1, batch_size=8, **fields)\n"
        "    except InputError as error:\n"
        "        print(error)\n"
    )
    assert python("-c", code).stdout.splitlines() == [
        "config.training.select: expected a metric's name, found ['loss']",
        "config.training.track: unknown name 'tb' (known: mlflow, tensorboard, wandb)",
    ]


def test_a_stage_of_no_epochs_can_be_read(tmp_path):
    """It saved nothing: the stage that read it stopped after the first had trained."""
    stages = {"a": {"training": {"epochs": 0}}, "b": {"start": {"stage": "a"}}}
    config = plan.merge(small(stages=stages, report={}), BASE)
    experiment.run(config, tmp_path)
    assert (tmp_path / "seed_0" / "b" / "results.json").exists()


def test_ece_is_best_where_it_is_least(tmp_path):
    """The mode of `select` was once the user's to get right."""
    select = {"select": "ece", "epochs": 3}
    config = small(stages={"scratch": {"training": select}}, report={})
    experiment.run(config, tmp_path)
    folder = tmp_path / "seed_0" / "scratch"
    rows = [r for r in read_log(folder / "metrics.jsonl") if r["kind"] == "validation"]
    best = min(rows, key=lambda row: row["ece"])["epoch"]
    results = files.read_json(folder / "results.json")
    assert results["checkpoints"]["best"]["epoch"] == best
    assert results["selection"]["rule"] == "lowest validation ECE"


def test_killed_while_it_is_cleared_a_stage_is_still_stale(tmp_path, monkeypatch):
    """The record once went before the results, which were then believed."""
    left = ("results.json", "record.json", "config.json", "metrics.jsonl", "cost.json")
    for name in left:
        files.write_json(tmp_path / name, {})
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    order, unlink, rmtree = [], Path.unlink, shutil.rmtree

    def noting(remove):
        def call(path, **options):
            if path.exists():
                order.append(path.name)
            remove(path, **options)

        return call

    monkeypatch.setattr(Path, "unlink", noting(unlink))
    monkeypatch.setattr(record.shutil, "rmtree", noting(rmtree))
    record.clear(tmp_path, {})
    assert order[:2] == ["results.json", "checkpoints"]
    assert order[-2:] == ["config.json", "record.json"]
    assert set(order) == {*left, "checkpoints"}


def test_seeds_of_different_configs_are_not_pooled(tmp_path):
    config = plan.merge(small(stages={"scratch": {}}, report={}), BASE)
    experiment.run(config, tmp_path)
    other = plan.merge(config, {"seeds": [1], "training": {"epochs": 2}})
    with pytest.raises(InputError, match=r"seed_1/scratch: expected the config of .*0"):
        experiment.run(other, tmp_path)


def test_what_is_wrong_in_a_later_seed_is_said_before_the_first_trains(tmp_path):
    config = plan.merge(small(stages={"scratch": {}}, report={}), BASE)
    experiment.run(config | {"seeds": [1]}, tmp_path)
    other = plan.merge(config, {"seeds": [0, 1], "training": {"batch_size": 16}})
    with pytest.raises(InputError, match="seed_1/scratch holds a run with another"):
        experiment.run(other, tmp_path)
    assert not (tmp_path / "seed_0").exists()


def test_a_stage_begun_with_other_settings_is_not_gone_on_with(tmp_path):
    config = plan.merge(small(stages={"scratch": {}}, report={}), BASE)
    experiment.run(config, tmp_path)
    folder = tmp_path / "seed_0" / "scratch"
    (folder / "results.json").unlink()
    begun = files.read_json(folder / "record.json")
    begun["settings"]["config.training"]["eval_batch_size"] = 256  # a default, once
    files.write_json(folder / "record.json", begun)
    with pytest.raises(InputError, match="eval_batch_size was 256, now 512"):
        experiment.run(config, tmp_path)


def test_a_teacher_of_another_experiment(tmp_path):
    experiment.run(small_kd(), tmp_path / "one")
    teacher = {"folder": f"{tmp_path}/one/seed_{{seed}}/teacher"}
    stages = {"kd": {"teacher": teacher, "losses": {"kd": {"weight": 1.0}}}}
    config = plan.merge(small(stages=stages, report={}), BASE)
    experiment.run(config, tmp_path / "two")
    results = [
        files.read_json(tmp_path / name / "seed_0" / "kd" / "results.json")
        for name in ("one", "two")
    ]
    assert results[0]["checkpoints"] == results[1]["checkpoints"]
    assert results[0]["reads"] == results[1]["reads"]
    on = {"on": {"start": teacher}}
    config_on = plan.merge(small(stages=on, report={}), BASE)
    experiment.run(config_on, tmp_path / "on")
    begun = files.read_json(tmp_path / "on" / "seed_0" / "on" / "record.json")
    assert begun["settings"]["config.training"]["stream"] == 1
    shutil.rmtree(tmp_path / "one")
    experiment.run(config, tmp_path / "two")  # done, though its teacher is gone
    with pytest.raises(InputError, match="no stage here"):
        experiment.run(config, tmp_path / "three")


def test_a_teacher_that_is_not_done_or_whose_data_changed_is_refused(tmp_path):
    experiment.run(small_kd(), tmp_path / "one")
    folder = tmp_path / "one" / "seed_0" / "teacher"
    stages = {"kd": {"teacher": {"folder": str(folder)}}}
    stages["kd"]["losses"] = {"kd": {"weight": 1.0}}
    config = plan.merge(small(stages=stages, report={}), BASE)
    begun = files.read_json(folder / "record.json")
    files.write_json(folder / "record.json", begun | {"fingerprint": "of other data"})
    with pytest.raises(InputError, match="its data changed since it was trained"):
        experiment.run(config, tmp_path / "two")
    (folder / "results.json").unlink()
    with pytest.raises(InputError, match="expected a finished stage"):
        experiment.run(config, tmp_path / "two")


def test_a_copy_under_another_name_leaks_and_twins_do_not(tmp_path):
    """43 of 60 examples were once tested that an .npz of another name trained on."""
    rng, y = np.random.default_rng(0), np.arange(120) % 3
    x = rng.normal(size=(120, 8, 2)) + y[:, None, None]
    x[:12] = 0  # twins within one data set
    np.savez(tmp_path / "one.npz", x=x, y=y)
    np.savez(tmp_path / "two.npz", x=x[::-1], y=y[::-1])
    common = {"task": "distill", "training": {"epochs": 1, "batch_size": 16}}
    one = {"data": {"name": "arrays", "path": str(tmp_path / "one.npz")}}
    two = {"data": {"name": "arrays", "path": str(tmp_path / "two.npz")}}
    taught = {"losses": {"kd": {"weight": 1.0}}, "teacher": {"stage": "teacher"}}
    config = small(report={}) | common
    same = {"teacher": one, "kd": one | taught}
    experiment.run(config | {"stages": same}, tmp_path / "same")
    leaking = {"teacher": one, "kd": two | taught}
    with pytest.raises(InputError, match=r"was trained on .* of this stage's"):
        experiment.run(config | {"stages": leaking}, tmp_path / "leaking")


ALONE = {"cross_entropy": {"weight": 1.0}}
NO_SECTIONS = [
    ({"stages": {"a": 3}}, "config.stages.a: expected a section of fields, found 3"),
    ({"stages": ["a"]}, "config.stages: expected sections by name"),
    ({"losses": {"kd": 3}}, "config.losses.kd: expected a section of fields, found 3"),
    ({"losses": "kd"}, "config.losses: expected a section of fields, found 'kd'"),
    ({"training": 3}, "config.training: expected a section of fields, found 3"),
    ({"report": 3}, "config.report: expected a section of fields, found 3"),
    (
        {"report": {"order": {}}},
        "config.report.order: expected a list or None, found {}",
    ),
    ({"teacher": "teacher"}, "config.teacher: expected a section of fields"),
    ({"teacher": {"checkpoint": "best"}}, "config.teacher.stage: missing"),
    ({"start": "teacher"}, "config.start: expected a section of fields"),
    ({"augment": "noise"}, "config.augment: expected a section of fields"),
    ({"model": 3}, "config.model: expected a section"),
    ({"devices": "2"}, "config.devices: expected an integer"),
    ({"devices": True}, "config.devices: expected an integer"),
]
# In a process of its own: here the types of arguments are checked before their values.
PROGRAM = """
import json, pathlib, sys
from kdjax import errors, experiment, plan
for config in json.loads(sys.argv[1]):
    try:
        experiment.run(config, pathlib.Path(sys.argv[2]))
    except errors.InputError as error:
        print(error)
"""


def test_what_is_no_section_is_said_in_one_line(python, tmp_path):
    config = small(stages={"a": {}}, report={}) | {"losses": ALONE}
    every = [config | changes for changes, _ in NO_SECTIONS]
    lines = python("-c", PROGRAM, json.dumps(every), tmp_path).stdout.splitlines()
    said = [line for line in lines if "; workdir " not in line]
    assert len(said) == len(NO_SECTIONS)
    for line, (_, message) in zip(said, NO_SECTIONS, strict=True):
        assert message in line
    assert not list(tmp_path.iterdir())


def test_a_feature_term_without_a_map_is_refused(tmp_path):
    """It was silently zero with an mlp, which has none."""
    losses = {"losses": {"cross_entropy": {"weight": 1}, "amd": {"weight": 1.0}}}
    stages = {"teacher": {}, "s": STUDENT | losses}
    with pytest.raises(InputError, match="expected a feature map or more to compare"):
        experiment.run(small(stages=stages, report={}), tmp_path)


def test_reporting_anew_with_other_settings(tmp_path):
    """Nothing is left to train, and the report is of the config that is given."""
    experiment.run(small_kd(), tmp_path)
    before = made(tmp_path)
    order = {"order": ["kd", "teacher"], "checkpoint": "best"}
    experiment.run(small_kd(report=order), tmp_path)
    assert made(tmp_path) == before
    settings = read_experiment(tmp_path).settings
    assert (settings.order, settings.checkpoint) == (["kd", "teacher"], "best")


def test_streamed_examples_and_several_steps_a_call_are_refused_first(
    tmp_path, monkeypatch
):
    """Said before the first stage trains, not when the second begins."""
    inputs = batches.inputs

    def streamed(*args, **options):
        found = inputs(*args, **options)
        train = found.sources["train"]._replace(streamed=True)
        return found._replace(sources=found.sources | {"train": train})

    monkeypatch.setattr(batches, "inputs", streamed)
    stages = {"a": {}, "s": {"training": {"steps_per_call": 4}}}
    with pytest.raises(InputError, match=r"'s': .*steps_per_call: expected 1, since"):
        experiment.run(small(stages=stages, report={}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_stages_that_read_one_another_are_not_grouped(tmp_path, monkeypatch):
    calls, run_together = [], cells.loop.run_together

    def noting(members, training, **options):
        calls.append(["/".join(m.folder.parts[-2:]) for m in members])
        return run_together(members, training, **options)

    monkeypatch.setattr(cells.loop, "run_together", noting)
    experiment.run(small_kd(seeds=[0, 1]), tmp_path)
    names = [f"seed_{k}/{name}" for k in (0, 1) for name in ("teacher", "kd")]
    assert calls == [[name] for name in names]
    results = files.read_json(tmp_path / names[0] / "results.json")
    assert results["members"] == 1


def test_a_population_of_what_is_trained_one_by_one_is_refused(tmp_path):
    config = small(stages={"a": {}}, report={})
    config |= {"population": {"losses": {"cross_entropy": {"weight": [1.0, 2.0]}}}}
    with pytest.raises(InputError) as error:
        experiment.run(config, tmp_path)
    assert str(error.value) == (
        "config.population: the task 'distill' trains its stages one by one; write "
        "them as config.stages"
    )
    assert not list(tmp_path.iterdir())
