"""Fields of a config on the command line."""

import re

import pytest

from kdjax.cli import overrides
from kdjax.errors import InputError

CONFIG = {
    "seeds": [0, 1],
    "name": "a",
    "model": {"name": "wide_resnet", "depth": 16, "width": 1},
    "data": {"path": "mine.npz", "root": None},
    "stages": {"teacher": {"model": {"width": 3}}, "scratch": None},
}


def laid_over(*arguments):
    rest, given = overrides.taken(["kdjax", *arguments])
    assert rest == ["kdjax"]
    return overrides.laid_over(CONFIG, given)


@pytest.mark.parametrize(
    ("text", "known", "value"),
    [
        ("3", None, 3),
        ("1e-3", None, 1e-3),
        ("true", None, True),
        ("False", 1, False),
        ("None", "a", None),
        ("none", 3, None),
        ("3", "a", "3"),
        ("mine.npz", None, "mine.npz"),
        ("'quoted'", "a", "quoted"),
        ("(0, 1)", None, (0, 1)),
        ("0,1", [3], (0, 1)),
        ("0", [3], [0]),
        ("a,b", ["c"], ["a", "b"]),
        ("a", ["c"], ["a"]),
        ("{'a': 1}", "file", "{'a': 1}"),
        ("{'a': 1}", None, {"a": 1}),
        ("010", None, "010"),  # a record's name
        ("nan", None, "nan"),
        ("", None, ""),
        ("(" * 300, None, "(" * 300),
    ],
)
def test_what_is_written_is_a_value(text, known, value):
    found = overrides.value(text, known)
    assert found == value
    assert type(found) is type(value)


def test_other_arguments_stay():
    rest, given = overrides.taken(
        ["kdjax", "--config=a.py", "--config.x.y=1", "--stage", "b", "-config.z", "2"]
    )
    assert rest == ["kdjax", "--config=a.py", "--stage", "b"]
    assert [(g.path, g.text) for g in given] == [(("x", "y"), "1"), (("z",), "2")]


def test_a_boolean_needs_no_value():
    flags = ["--config.a", "--noconfig.b", "--config.c", "--stage=x"]
    _, given = overrides.taken(["kdjax", *flags])
    assert [(g.path[0], g.text) for g in given] == [
        ("a", "True"),
        ("b", "False"),
        ("c", "True"),
    ]


def test_a_field_that_the_config_does_not_name():
    found = laid_over("--config.training.track=wandb", "--config.augment.name=mix1")
    assert found["training"] == {"track": "wandb"}
    assert found["augment"] == {"name": "mix1"}
    assert found["model"] == CONFIG["model"]


def test_another_name_drops_the_fields_of_the_first():
    """`depth` once stayed, which a convnet does not take."""
    flags = ["--config.model.widths=8,8", "--config.model.name=convnet"]
    for order in (flags, flags[::-1]):
        found = laid_over(*order)
        assert found["model"] == {"name": "convnet", "widths": (8, 8)}
    same = laid_over("--config.model.name=wide_resnet")
    assert same["model"] == CONFIG["model"]


def test_what_all_names_have_stays():
    """Another optimizer would be left without its schedule."""
    config = {"optimizer": {"name": "sgd", "momentum": 0.9, "schedule": {"value": 1}}}
    _, given = overrides.taken(["kdjax", "--config.optimizer.name=adamw"])
    found = overrides.laid_over(config, given)["optimizer"]
    assert found == {"name": "adamw", "schedule": {"value": 1}}
    flags = ["--config.optimizer.name=adamw", "--config.optimizer.schedule=None"]
    found = overrides.laid_over(config, overrides.taken(["kdjax", *flags])[1])
    assert found["optimizer"] == {"name": "adamw", "schedule": None}


def test_a_stage_has_the_names_of_all_stages():
    same = laid_over("--config.stages.teacher.model.name=wide_resnet")
    assert same["stages"]["teacher"]["model"] == {"name": "wide_resnet", "width": 3}
    other = laid_over("--config.stages.teacher.model.name=mlp")
    assert other["stages"]["teacher"]["model"] == {"name": "mlp"}
    new = laid_over("--config.stages.scratch.seeds=5")
    assert new["stages"]["scratch"] == {"seeds": [5]}
    assert new["stages"]["teacher"] == CONFIG["stages"]["teacher"]


def test_the_last_of_two_counts():
    found = laid_over("--config.data.root=a", "--config.data.root=b")
    assert found["data"] == {"path": "mine.npz", "root": "b"}
    found = laid_over("--config.data=None", "--config.data.root=b")
    assert found["data"] == {"path": "mine.npz", "root": "b"}


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config..a=1", "--config..a: expected names of fields"),
        ("--config.=1", "--config.: expected names of fields"),
        ("--config.seeds.x=1", "config.seeds is no section of fields, but [0, 1]"),
        ("--config.model.width.x=1", "config.model.width is no section of fields"),
        ("--config.stages=3", "--config.stages: expected a section of fields, found 3"),
        ("--config.stages.teachr.x=1", "unknown name 'teachr' (did you mean 'teacher'"),
    ],
)
def test_what_is_no_field(flag, message):
    with pytest.raises(InputError, match=re.escape(message)):
        laid_over(flag)
