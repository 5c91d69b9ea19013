"""Configs that ended in a traceback, or in nothing, each now one line."""

import copy

import pytest

from kdjax import experiment
from kdjax.errors import InputError
from tests.fuzz import configs
from tests.fuzz.mutations import DEEP, at


def deep(depth):
    wide = {"model": {"name": "wide_resnet", "depth": depth}}
    return {"teacher": wide, "scratch": wide, "eskd": wide}


CASES = [
    # config, path of the field, its value, the message
    ("tests.small", "report.comparisons", None, None),  # the default
    ("tests.small", "data.samples", -1, "config.data.samples: expected an integer >="),
    ("tests.small", "data.seed", 1, "config.data.seed: unknown field"),
    ("tests.small", "data.windows", 10**10, "config.data.windows: expected an integer"),
    ("tests.small", "data.windows", 10**8, "config.data: numbers to be made in all"),
    ("tests.small", "data.noise", 10**400, "config.data.noise: expected a number"),
    ("tests.small", "data.noise", float("nan"), "config.data.noise: expected a finite"),
    ("tests.small", "data.recording_seed", -1, "config.data.recording_seed: expected"),
    ("tests.small", "model.classes", 3, "config.model.classes: unknown field"),
    ("tests.small", "model.norm_axis", "d", "config.model.norm_axis: unknown field"),
    ("tests.small", "model.name", {"a:b": 1}, "config.model.name: unknown name"),
    ("tests.small", "model.name", ["mlp"], "config.model.name: unknown name"),
    ("tests.small", "model.name", "math:pi", "'math:pi': expected a function"),
    ("tests.small", "model.widths", [2**31], "config.model.widths[0]: expected an int"),
    (
        "tests.small",
        "optimizer.schedule",
        None,
        "config.optimizer.schedule: expected a",
    ),
    ("tests.small", "losses", 2.5, "config.losses: expected a section of fields"),
    (
        "tests.small",
        "losses.cross_entropy",
        "x",
        "config.losses.cross_entropy: expected",
    ),
    (
        "tests.small",
        "losses.cross_entropy",
        "",
        "config.losses.cross_entropy: expected",
    ),
    ("tests.small", "losses.cross_entropy.weight", 2**31, None),
    ("tests.small", "training.epochs", True, "config.training.epochs: expected an int"),
    ("tests.small", "training.select", ["loss"], "config.training.select: expected a"),
    ("tests.small", "augment", 3, "config.augment"),
    ("tests.small", "task", {}, "config.task: unknown name {}"),
    ("tests.small", "stages.../x", {}, "config.stages: expected names"),
    ("tests.small", "stages.x/y", {}, "config.stages: expected names"),
    ("tests.small", "stages.", {}, "config.stages: expected names"),
    ("tests.small", "stages.ü\n", {}, "config.stages: expected names"),
    (
        "tests.small",
        "stages..x",
        {},
        "config.stages: a stage's name begins with no '.'",
    ),
    ("tests.small", "x", DEEP, "more than 20 levels"),
    ("tests.small", "x", object(), "config.x: expected a section, list, string"),
    (
        "tests.small",
        "data.x",
        {1: 2},
        "config.data.x: expected names of fields, found 1",
    ),
    ("tests.small", "stages", deep(1000006), "config.model.depth: "),
    ("tests.small", "stages", deep(10**30), "config.model.depth: "),
    ("tests.small_cognitive", "trials.dt", 1e-300, "config.trials"),
    ("tests.small_cognitive", "trials.stimulus", 1e300, "config.trials"),
    ("tests.small_cognitive", "model.dt", 3, "config.model.dt: unknown field"),
    ("tests.small_cognitive", "model.units", 2**31, "config.model.units: expected an"),
]


def changed(name, path, value):
    config = copy.deepcopy(configs.valid(name))
    *above, field = path.split(".", 1 if path.startswith("stages") else -1)
    at(config, above)[field] = value
    return config


@pytest.mark.parametrize(("name", "path", "value", "message"), CASES)
def test_it_is_one_line_and_nothing_is_written(tmp_path, name, path, value, message):
    config = changed(name, path, value)
    if message is None:
        assert configs.check(config, tmp_path / "run")
        return
    with configs.checked_only(), pytest.raises(InputError) as raised:
        experiment.run(config, tmp_path / "run")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("config", [None, [], "x", 3])
def test_what_is_no_config(tmp_path, config):
    with pytest.raises(InputError, match=r"^config: expected a section"):
        experiment.run(config, tmp_path / "run")
