"""What an experiment is, without running it; and the list of experiments."""

import importlib
import shlex

import pytest

from kdjax import experiment, plan
from kdjax.cli import configfile, configs, describe, overrides
from kdjax.errors import InputError


@pytest.fixture(scope="module")
def config():
    return configfile.load("digits_eskd:smoke")


def test_each_line_is_the_flag_of_its_field(config):
    """Given as flags, what is described is the experiment itself."""
    settings = experiment.settings(config)
    lines = list(describe.lines(config, settings))
    assert "--config.data.name=digits" in lines
    assert "--config.training.keep_last=2" in lines  # not in the config
    assert "--config.stages.eskd.losses.kd.temperature=4.0" in lines
    assert "\nstage eskd, after teacher" in lines
    flags = [w for line in lines if line[0] == "-" for w in shlex.split(line)]
    rest, given = overrides.taken(["kdjax", *flags])
    assert rest == ["kdjax"]
    again = plan.plain(overrides.laid_over(config, given))
    assert list(describe.lines(again, experiment.settings(again))) == lines


def test_it_is_checked_as_a_run_is(python):
    flags = ["--config=digits_eskd", "--config.training.epcohs=3"]
    done = python("-m", "kdjax", "describe", *flags, check=False)
    assert done.returncode == 2
    assert done.stdout.startswith("Quick start: does a teacher help")
    (line,) = done.stderr.splitlines()
    assert "config.training.epcohs: unknown field (did you mean 'epochs'?)" in line


@pytest.mark.parametrize("name", configfile.shipped())
def test_every_config_says_what_it_is_and_costs(name):
    what, cost = configs.said(name)
    assert what.endswith((".", "?"))
    assert cost != "not said"
    assert "; " in configs.in_brief(name).partition("\n")[0]
    assert importlib.import_module(f"kdjax.configs.{name}").get_config


def test_a_fault_in_a_stage_names_it(config):
    changed = config | {"stages": config["stages"] | {"eskd": {"model": {"x": 1}}}}
    with pytest.raises(InputError, match=r"stage 'eskd': config\.model\.x: unknown"):
        experiment.settings(changed)
