"""Populations: a config's lists become stages, trained together and each as alone."""

import json
import re

import pytest
from ml_collections import ConfigDict

from kdjax import cells, experiment, files, plan
from kdjax.errors import InputError
from kdjax.report.runs import read_experiment, report_settings
from kdjax.training import loop
from kdjax.training.checkpoint import model_digest
from kdjax.training.metrics import read_log
from tests.small_cognitive import config as small

pytestmark = pytest.mark.usefixtures("undrawn")

WEIGHTS = {"rate_l1": {"weight": [0.0, 1e-3]}}


def stages(**fields):
    return plan.resolve({"losses": {"l": {"weight": 1}}, **fields})


# --- lists become stages --------------------------------------------------------------


def test_members_are_numbered_and_their_values_laid_over():
    population = {"losses": {"l": {"weight": [1, 2]}, "m": {"weight": (3, 4)}}}
    assert stages(stages={"a": {"x": 5}}, population=population) == {
        "a_0": {"losses": {"l": {"weight": 1}, "m": {"weight": 3}}, "x": 5},
        "a_1": {"losses": {"l": {"weight": 2}, "m": {"weight": 4}}, "x": 5},
    }


def test_names_are_of_the_members_alone():
    """A list of a section's names, once taken for theirs, was left out."""
    population = {
        "name": ["small", "large"],
        "model": {"name": ["mlp", "rnn"], "units": [1, 2]},
    }
    base = {"model": {"name": "mlp", "units": 8, "depth": 3}}
    assert stages(stages={"a": base}, population=population, losses=None) == {
        "small": {"model": {"name": "mlp", "units": 1, "depth": 3}},
        "large": {
            "model": {"name": "rnn", "units": 2}
        },  # of another name: other fields
    }


def test_a_value_may_be_a_list_or_a_section_of_none():
    population = {"widths": [[1, 2], [3]], "losses": {"l": [None, {"weight": 2}]}}
    members = stages(stages={"a": {}}, population=population)
    assert members["a_0"] == {"losses": {"l": None}, "widths": [1, 2]}
    assert members["a_1"] == {"losses": {"l": {"weight": 2}}, "widths": [3]}


def test_each_stage_has_its_population_over_the_common_one():
    common = {"losses": {"l": {"weight": [1, 2]}}}
    own = {"losses": {"l": {"weight": [3, 4, 5]}}}
    config = {
        "losses": {"l": {"weight": 1}},
        "population": common,
        "stages": {
            "a": {},
            "b": {"population": own},
            "c": {"population": {"x": [6, 7]}},
            "d": {"population": None},
        },
    }
    members = plan.resolve(config)
    weights = {name: stage["losses"]["l"]["weight"] for name, stage in members.items()}
    assert weights == {
        **{"a_0": 1, "a_1": 2, "b_0": 3, "b_1": 4, "b_2": 5},
        **{"c_0": 1, "c_1": 2, "d": 1},
    }
    assert [members[name].get("x") for name in ("c_0", "c_1", "d")] == [6, 7, None]
    assert plan.populations(config) == {
        "a": ["a_0", "a_1"],
        "b": ["b_0", "b_1", "b_2"],
        "c": ["c_0", "c_1"],
    }
    assert not any("population" in stage for stage in members.values())


@pytest.mark.parametrize(
    ("population", "message"),
    [
        (
            {"x": [1, 2], "y": {"z": [1]}},
            "config.population: expected lists of one length, found 2 values of "
            "config.population.x and 1 of config.population.y.z",
        ),
        (
            {"name": ["a"], "x": [1, 2]},
            "config.population: expected lists of one length, found 1 values of "
            "config.population.name and 2 of config.population.x",
        ),
        (
            {"x": 1},
            "config.population.x: expected a list with a value for each member, "
            "found 1",
        ),
        (
            {"x": []},
            "config.population.x: expected a list with a value for each member, "
            "found []",
        ),
        (
            {"x": {"y": "ab"}},
            "config.population.x.y: expected a list with a value for each member, "
            "found 'ab'",
        ),
        ({}, "config.population: expected lists, one value a member, found none"),
        (
            {"x": {}},
            "config.population: expected lists, one value a member, found none",
        ),
        (3, "config.population: expected a section of fields, found 3"),
        (
            [1, 2],
            "config.population: expected a section of fields, found [1, 2]",
        ),
        (
            {"seed": [0, 1]},
            "config.population.seed: every member has all the seeds of config.seeds; "
            "a list of them belongs there",
        ),
        (
            {"name": ["a", "a"], "x": [1, 2]},
            "config.population: two stages have the name 'a'",
        ),
        (
            {"name": ["b", "c"], "x": [1, 2]},
            "config.population: two stages have the name 'b'",
        ),
        (
            {"name": [1, 2]},
            "config.population.name: expected names, found 1",
        ),
        (
            {"name": ["a", "../b"]},
            "config.population.name: expected names, found '../b'",
        ),
        ({"name": ["a", ""]}, "config.population.name: expected names, found ''"),
    ],
)
def test_what_is_no_population_is_said_in_one_line(population, message):
    with pytest.raises(InputError) as error:
        stages(stages={"s": {"population": population}, "b": {}})
    assert str(error.value) == message


def test_a_population_of_a_config_dict():
    """Through JSON, as main reads a config: tuples become lists."""
    config = ConfigDict(small())
    config.population = {"losses": {"rate_l1": {"weight": (0.0, 1e-3)}}}
    read = json.loads(config.to_json_best_effort())
    members = plan.resolve(read)
    assert list(members) == ["ctrnn_0", "ctrnn_1"]
    assert members["ctrnn_1"]["losses"]["rate_l1"] == {
        "weight": 1e-3,
        "reduction": "sum",
    }
    order = plan.reading_order(members)
    pairs = [("ctrnn_1", "ctrnn_0")]
    settings = {"order": ["ctrnn_1", "ctrnn_0"], "comparisons": pairs}
    assert report_settings({"report": settings}, order).comparisons == pairs
    with pytest.raises(InputError, match=r"config.report.order: unknown name 'ctrnn'"):
        report_settings({"report": {"order": ["ctrnn"]}}, order)


# --- how they are trained -------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """The folders of each call of `loop.run_together`."""
    seen, run_together = [], loop.run_together

    def noting(members, training, **options):
        seen.append(["/".join(m.folder.parts[-2:]) for m in members])
        return run_together(members, training, **options)

    monkeypatch.setattr(loop, "run_together", noting)
    return seen


def experiment_of(**changes):
    return small(seeds=[0, 1], population={"losses": WEIGHTS}, **changes)


def results(workdir, cell):
    return files.read_json(workdir / cell / "results.json")


CELLS = ["seed_0/ctrnn_0", "seed_0/ctrnn_1", "seed_1/ctrnn_0", "seed_1/ctrnn_1"]


def same_cell(one, other):
    """What was trained is the same to the bit."""
    a, b = (files.read_json(folder / "results.json") for folder in (one, other))
    assert a["checkpoints"] == b["checkpoints"]
    for kind in ("last", "best"):
        assert model_digest(one, kind) == model_digest(other, kind)
    rows = [read_log(folder / "metrics.jsonl") for folder in (one, other)]
    clean = [[{k: v for k, v in r.items() if k != "time"} for r in log] for log in rows]
    assert clean[0] == clean[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    experiment.run(experiment_of(), workdir)
    return workdir


def test_all_seeds_and_members_are_trained_in_one_call(tmp_path, calls, capsys):
    experiment.run(experiment_of(), tmp_path)
    assert calls == [CELLS]
    for cell in CELLS:
        assert results(tmp_path, cell)["members"] == 4
    assert "seed 1 ctrnn_1: test correct" in capsys.readouterr().out
    before = {
        cell: (tmp_path / cell / "results.json").stat().st_mtime_ns for cell in CELLS
    }
    experiment.run(experiment_of(), tmp_path)
    assert calls == [CELLS], "a finished run trained again"
    for cell, made in before.items():
        assert (tmp_path / cell / "results.json").stat().st_mtime_ns == made
    found = read_experiment(tmp_path)
    assert found.stages == ("ctrnn_0", "ctrnn_1"), "the stage of the config is no gap"
    # one member of one seed is lost: it alone is trained
    (tmp_path / CELLS[2] / "results.json").unlink()
    experiment.run(experiment_of(), tmp_path)
    assert calls == [CELLS, [CELLS[2]]]
    assert results(tmp_path, CELLS[2])["members"] == 1


def test_members_that_are_not_done_are_gaps_of_the_report(tmp_path):
    config = small(seeds=[0], population={"losses": WEIGHTS})
    config = plan.merge(config, {"report": {"order": ["ctrnn_1", "ctrnn_0"]}})
    experiment.run(config, tmp_path, only="ctrnn_1")
    found = read_experiment(tmp_path)
    assert found.stages == ("ctrnn_1", "ctrnn_0")
    assert list(found.runs) == [("ctrnn_1", 0)]


def test_a_member_is_its_single_run(trained, tmp_path, calls):
    alone = small(
        seeds=[1],
        stages={"ctrnn": None, "ctrnn_1": {"losses": {"rate_l1": {"weight": 1e-3}}}},
    )
    del alone["stages"]["ctrnn"]
    experiment.run(alone, tmp_path)
    assert calls == [["seed_1/ctrnn_1"]]
    same_cell(tmp_path / "seed_1/ctrnn_1", trained / "seed_1/ctrnn_1")
    configs = [
        files.read_json(root / "seed_1/ctrnn_1/config.json")
        for root in (tmp_path, trained)
    ]
    assert configs[0] == configs[1]


def test_one_member_by_name(trained, tmp_path, calls):
    experiment.run(experiment_of(), tmp_path, only="ctrnn_1")
    assert calls == [["seed_0/ctrnn_1", "seed_1/ctrnn_1"]]
    for cell in calls[0]:
        same_cell(tmp_path / cell, trained / cell)
    with pytest.raises(InputError, match=r"--stage: unknown name 'ctrnn' "):
        experiment.run(experiment_of(), tmp_path, only="ctrnn")
    experiment.run(experiment_of(), tmp_path)
    assert calls[1:] == [["seed_0/ctrnn_0", "seed_1/ctrnn_0"]]
    for cell in CELLS:
        same_cell(tmp_path / cell, trained / cell)


@pytest.mark.parametrize("saves", [2, 3, 5, 8])
def test_killed_at_any_save_it_ends_as_unbroken(trained, tmp_path, monkeypatch, saves):
    """Four members save twice each: killed within, between and after the epochs."""
    from kdjax.training.checkpoint import Checkpoints

    done, save_last = [], Checkpoints.save_last

    def killing(self, state, progress, best):
        save_last(self, state, progress, best)
        done.append(progress.step)
        if len(done) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save_last", killing)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(experiment_of(), tmp_path)
    assert not list(tmp_path.glob("seed_*/*/results.json"))
    monkeypatch.setattr(Checkpoints, "save_last", save_last)
    experiment.run(experiment_of(), tmp_path)
    for cell in CELLS:
        same_cell(tmp_path / cell, trained / cell)
        assert len(results(tmp_path, cell)["resumed"]) == 1


def test_killed_while_results_are_written(trained, tmp_path, monkeypatch, calls):
    written, end = [], cells._end

    def killing(cell, *args, **options):
        if len(written) == 2:
            raise KeyboardInterrupt
        end(cell, *args, **options)
        written.append(cell.folder)

    monkeypatch.setattr(cells, "_end", killing)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(experiment_of(), tmp_path)
    monkeypatch.setattr(cells, "_end", end)
    experiment.run(experiment_of(), tmp_path)
    assert calls == [CELLS, CELLS[2:]]
    for cell in CELLS:
        same_cell(tmp_path / cell, trained / cell)


def test_a_member_that_diverges_is_given_up_and_the_others_go_on(
    trained, tmp_path, calls, capsys
):
    weights = {"rate_l1": {"weight": [0.0, 1e-3, 3e38]}}
    with pytest.raises(loop.Diverged, match=r"^seed 0 ctrnn_2: loss is .* at step 1;"):
        experiment.run(small(seeds=[0], population={"losses": weights}), tmp_path)
    assert "ctrnn_2: loss is" in capsys.readouterr().err
    first = [f"seed_0/ctrnn_{i}" for i in range(3)]
    assert calls == [first, first[:2]]
    for cell in first[:2]:
        same_cell(tmp_path / cell, trained / cell)
    assert not (tmp_path / first[2] / "results.json").exists()


def test_a_later_seed_and_another_stage_join_what_is_left(trained, tmp_path, calls):
    """Stages of one program are trained together, whichever they are."""
    config = small(seeds=[0], population={"losses": WEIGHTS})
    experiment.run(config, tmp_path, only="ctrnn_0")
    free = {"losses": {"rate_l1": {"weight": 0.0}}, "population": None}
    whole = experiment_of(stages={"free": free})
    experiment.run(whole, tmp_path)
    left = [cell for cell in CELLS if cell != CELLS[0]]
    assert sorted(calls[1]) == sorted([*left, "seed_0/free", "seed_1/free"])
    for cell in CELLS:
        same_cell(tmp_path / cell, trained / cell)
    assert model_digest(tmp_path / "seed_0/free", "last") == model_digest(
        tmp_path / "seed_0/ctrnn_0", "last"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"examples": {"train": 96}},
        {"evaluation_noise": True},
        {"training": {"log_steps": 3}},
        {"training": {"stream": 1}},
        {"optimizer": {"schedule": {"value": 0.02}}},
        {"losses": {"rate_l1": {"reduction": "mean"}}},
        {"losses": {"rate_l2": {"weight": 0.1}}},
        {"losses": {"weight_l1": {"select": ["recurrent"]}}},
        {"model": {"recurrent_noise": 0.0}},
        {"model": {"activation": "softplus"}},
        {"trials": {"coherences": [0.5, 0.2]}},
        {"trials": {"stimulus": 500.0}},
        {"constraints": {"top_k": {"every": 10}}},
        {"curriculum": {"levels": [{"noise": 0.0}], "window": 5}},
    ],
    ids=str,
)
def test_stages_of_other_programs_are_trained_apart(tmp_path, changes):
    """Number of examples and noise in evaluation once were not seen to differ."""
    built = built_stages(tmp_path, {"ctrnn": {}, "other": changes})
    assert built["ctrnn"].program != built["other"].program


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": {"rate_l1": {"weight": 0.5}}},
        {"trials": {"noise": 0.5}},
        {"trials": {"coherences": [0.1]}},
        {"constraints": {"proximal": 0.1, "top_k": {"density": 0.1}}},
        {"constraints": {"density": 0.5, "excitatory": 0.75}},
        {"examples": {"validation": 30, "test": 50}},
    ],
    ids=str,
)
def test_what_is_in_the_arguments_is_one_program(tmp_path, changes):
    built = built_stages(tmp_path, {"ctrnn": {}, "other": changes})
    assert built["ctrnn"].program == built["other"].program is not None


def built_stages(tmp_path, fields):
    from kdjax.training import parallel

    config = small(stages=fields)
    devices = parallel.make("pmap", devices=1)
    this = cells.Seed(plan.resolve(config), 0, tmp_path, devices, False)
    return {name: cells.build(this, name) for name in fields}


@pytest.mark.parametrize(
    ("population", "message"),
    [
        (
            {"model": {"units": [8, 16]}},
            "config.population: the members of 'ctrnn' are not one program: "
            "config.model.units was 8, now 16; what changes shapes or functions "
            "belongs in config.stages",
        ),
        (
            {"examples": {"train": [112, 96]}},
            "config.population: the members of 'ctrnn' are not one program: "
            "config.examples.train was 112, now 96; what changes shapes or functions "
            "belongs in config.stages",
        ),
        (
            {"model": {"name": ["ctrnn", "gru"]}},
            "config.population: the members of 'ctrnn' are not one program: "
            "config.model.name was 'ctrnn', now 'gru'; what changes shapes or",
        ),
        (
            {"losses": {"rate_l1": {"wieght": [1, 2]}}},
            "stage 'ctrnn_0': config.losses.rate_l1.wieght: unknown field",
        ),
        (
            {"losses": {"rate_l1": {"weight": [1, -2]}}},
            "stage 'ctrnn_1': config.losses.rate_l1.weight: expected a number >= 0",
        ),
    ],
)
def test_what_is_wrong_in_a_population_is_said_before_it_trains(
    tmp_path, population, message
):
    with pytest.raises(InputError) as error:
        experiment.run(small(population=population), tmp_path)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


SWEPT = {
    "model": {"name": "mlp", "width": 8},
    "losses": {"kd": {"weight": 0.5}},
    "stages": {
        "teacher": {"losses": None},
        "eskd": {"teacher": {"stage": "teacher"}},
        "scratch": {"losses": None},
    },
}


def test_a_sweep_is_every_product_of_its_values():
    sweep = {"losses.kd.weight": [0.3, 0.9], "losses.kd.temperature": [1, 4]}
    stages = plan.resolve(SWEPT | {"sweep": sweep})
    names = [f"eskd~weight={w},temperature={t}" for w in (0.3, 0.9) for t in (1, 4)]
    assert plan.swept(SWEPT | {"sweep": sweep}) == {"eskd": names}
    assert set(stages) == {"teacher", "scratch", *names}
    assert stages[names[1]]["losses"] == {"kd": {"weight": 0.3, "temperature": 4}}
    assert stages[names[1]]["teacher"] == {"stage": "teacher"}
    assert plan.reading_order(stages)[-4:] == ["teacher", *sorted(names)][-4:]


def test_a_sweep_is_of_the_stages_that_no_other_reads():
    both = {"eskd", "scratch"}
    assert set(plan.swept(SWEPT | {"sweep": {"model.width": [4, 8]}})) == both
    one = {"stages.scratch.model.width": [4, 8]}
    assert plan.swept(SWEPT | {"sweep": one}) == {
        "scratch": ["scratch~width=4", "scratch~width=8"]
    }


def test_a_name_that_is_tried_drops_the_fields_of_the_other():
    sweep = {"sweep": {"stages.scratch.model": [{"name": "mlp"}, {"name": "fcn"}]}}
    tries = plan.resolve(SWEPT | sweep)
    found = [fields["model"] for name, fields in tries.items() if "~" in name]
    assert found == [{"name": "mlp", "width": 8}, {"name": "fcn"}]
    assert all("/" not in name for name in tries)


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"losses.kd.weight": 0.3}, "expected two values or more"),
        ({"losses.kd.weight": [0.3]}, "expected two values or more"),
        ({"loses.kd.weight": [1, 2]}, "expected a section of a stage that no other"),
        ({"stages.eksd.x": [1, 2]}, "unknown stage 'eksd' (did you mean 'eskd'?)"),
        ({"stages.teacher.x": [1, 2]}, "'teacher' is read by other stages"),
        ({"losses.kd.weight": [1, 1]}, "'eskd~weight=1' would be tried twice"),
        ({"losses.kd.weight": list(range(1001))}, "at most 1000 tries"),
        ([], None),
        ([1], "config.sweep: expected a section"),
    ],
)
def test_what_is_no_sweep(sweep, message):
    config = SWEPT | {"sweep": sweep}
    if message is None:
        assert plan.swept(config) == {}
        return
    with pytest.raises(InputError, match=re.escape(message)):
        plan.resolve(config)
