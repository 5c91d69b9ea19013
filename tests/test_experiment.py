"""Stages: their configs, their order, what is refused before anything trains."""

import json
import runpy
from pathlib import Path

import pytest

from kdjax import experiment
from kdjax.errors import InputError

SMALL = runpy.run_path(str(Path(__file__).with_name("small.py")))


def small(**changes):
    return json.loads(SMALL["get_config"]().to_json()) | changes


def test_merge_lays_fields_over_fields():
    base = {"model": {"name": "a", "depth": 10, "width": 1}, "seed": 0}
    assert experiment.merge(base, {"model": {"width": 3}}) == {
        "model": {"name": "a", "depth": 10, "width": 3},
        "seed": 0,
    }


def test_merge_of_another_name_replaces_the_section():
    base = {"model": {"name": "a", "depth": 10}}
    changes = {"model": {"name": "b", "widths": [4]}}
    assert experiment.merge(base, changes) == changes


def test_merge_with_none_takes_a_section_away():
    assert experiment.merge({"augment": {"name": "noise"}}, {"augment": None}) == {
        "augment": None
    }


def test_stages_are_ordered_by_who_reads_whom():
    stages = {
        "a": {"teacher": {"stage": "b"}},
        "b": {"deep": {"er": {"stage": "c"}}},
        "c": {},
    }
    assert experiment.reading_order(stages) == ["c", "b", "a"]


def test_a_circle_of_stages_is_named():
    stages = {"a": {"teacher": {"stage": "b"}}, "b": {"teacher": {"stage": "a"}}}
    with pytest.raises(InputError, match="read one another: "):
        experiment.reading_order(stages)


def test_an_unknown_stage_is_named_with_the_nearest():
    stages = {"teacher": {}, "a": {"teacher": {"stage": "teecher"}}}
    with pytest.raises(InputError, match=r"a: reads .*'teecher' .*'teacher'"):
        experiment.reading_order(stages)


def test_adding_a_seed_or_a_stage_does_not_disturb_what_is_done(tmp_path):
    config = small(stages={"scratch": {}}, report={})
    experiment.run(config, tmp_path)
    results = tmp_path / "seed_0" / "scratch" / "results.json"
    before = results.stat().st_mtime_ns
    more = config | {"seeds": [0, 1], "stages": {"scratch": {}, "again": {}}}
    experiment.run(more, tmp_path)
    assert results.stat().st_mtime_ns == before
    assert len(list(tmp_path.glob("seed_*/*/results.json"))) == 4


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
