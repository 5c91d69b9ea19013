"""Two runs, compared stage by stage."""

import re

import pytest

from kdjax.cli import compare
from kdjax.errors import InputError
from kdjax.report.runs import read_experiment
from kdjax.tasks import ALL
from tests.fabricated import ENVIRONMENT, edit
from tests.report.test_document import fabricate


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    of_here, of_there = {"scratch": 0.7, "eskd": 0.95}, {"scratch": 0.7, "eskd": 0.8}
    here = fabricate(folder / "here", stages=of_here, seeds=range(8))
    there = fabricate(folder / "there", stages=of_there | {"a": 0.5}, seeds=range(8))
    for path in there.glob("seed_*/eskd/results.json"):
        edit(path, environment=ENVIRONMENT | {"threads": 8, "date": "2027-01-01"})
    return here, there


def compared(here, there):
    one, other = (read_experiment(folder, ALL.metrics) for folder in (here, there))
    return compare.compared(one, other, here, there)


def test_differences_are_paired_by_seed(runs):
    text = compared(*runs)
    rows = dict(re.findall(r"^\| (\w+) \| \1 there \| 8 \| ([+-][\d.]+)", text, re.M))
    assert float(rows["scratch"]) == 0
    assert 5 < float(rows["eskd"]) < 25
    (verdict,) = re.findall(r"^\| eskd \| eskd there .* \| (\w+) \|$", text, re.M)
    assert verdict == "better"
    assert "| a |" not in text


def test_what_differs_in_their_records_is_said_with_the_stages(runs):
    text = compared(*runs)
    assert "- environment.threads: here 2, there 8 (eskd)" in text
    assert "2027" not in text
    assert "differ in nothing but dates" in compared(runs[0], runs[0])


def test_runs_without_a_stage_in_common(runs, tmp_path):
    alone = fabricate(tmp_path / "alone", stages={"mine": 0.9})
    with pytest.raises(InputError, match="expected a stage in common"):
        compared(runs[0], alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "nowhere"], "nowhere: no such folder"),
        (["nowhere"], "missing argument: expected RUN OTHER_RUN"),
        (["a", "b", "c"], "unexpected argument 'c'"),
    ],
)
def test_wrong_arguments_are_one_line(python, arguments, message):
    done = python("-m", "kdjax", "compare", *arguments, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
