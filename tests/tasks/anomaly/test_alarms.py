"""Sensitivity and false alarms of thresholds, worked out by hand."""

import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.tasks.anomaly import alarms
from kdjax.tasks.anomaly.alarms import Marked, Threshold

NORMAL = np.arange(1000.0)  # of the validation beats


@pytest.fixture
def marked():
    """Six annotated beats, of which the last was not found; a scored one is alone."""
    groups = {"N": "NL", "S": "A", "V": "V"}
    symbol, row = np.array(list("NNLVVV")), np.array([0, 1, 2, 3, 5, -1])
    return Marked(symbol, row, groups, found=row >= 0, more=1)


def summary(marked, value=950.0):
    scores = np.array([0.0, 960, 10, 999, 955, 800])  # the fifth is not annotated
    threshold = Threshold(value, None)
    return alarms.summary(scores, threshold, NORMAL, hours=0.5, marked=marked)


def test_classes_are_counted(marked):
    found = summary(marked)
    assert (found["beats"], found["flagged"]) == (6, 3)
    assert found["validation_false_alarms"] == 0.049
    normal, ventricular = found["classes"]["N"], found["classes"]["V"]
    assert (normal["beats"], normal["flagged"], normal["an_hour"]) == (3, 1, 2.0)
    assert (ventricular["beats"], ventricular["scored"]) == (3, 2)
    assert ventricular["share"] == pytest.approx(1 / 3), "what is not scored is missed"
    # Wilson, z = 1.959964: (1/3 + .640 ± 1.959964 sqrt(.0741 + .1067)) / 2.2805
    assert ventricular["interval"] == pytest.approx([0.0615, 0.7923], abs=1e-4)
    assert found["classes"]["S"]["share"] is None
    assert list(found["symbols"]) == ["N", "L", "V"]
    assert found["symbols"]["L"]["flagged"] == 0
    assert found["unmatched"] == {"beats": 1, "flagged": 1, "an_hour": 2.0}
    assert found["false_alarms_an_hour"] == 4.0


def test_beats_that_were_not_found_are_counted(marked):
    found = summary(marked)
    assert found["detection"] == {
        "beats": 6,
        "found": 5,
        "more": 1,
        "classes": {"N": {"beats": 3, "found": 3}, "V": {"beats": 3, "found": 2}},
    }
    first = alarms.said(found).splitlines()[0]
    assert first == (
        "5 of 6 annotated beats were found (N 3 of 3, V 2 of 3), and 1 that are not "
        "annotated"
    )
    all_there = marked._replace(found=np.ones(6, bool), more=0)
    assert "were found" not in alarms.said(summary(all_there)), (
        "as where marks are used"
    )


def test_the_table_has_a_line_for_each_threshold(marked):
    found = summary(marked)
    lines = {line["threshold"]: line for line in found["thresholds"]}
    # of 0 to 999 the fraction .001 exceeds 998, .1 exceeds 899
    assert sorted(lines) == [899.0, 949.0, 950.0, 979.0, 989.0, 994.0, 998.0]
    for value, line in lines.items():
        at = summary(marked, value)
        assert line["flagged"] == at["flagged"]
        assert line["false_alarms_an_hour"] == at["false_alarms_an_hour"]
        assert line["share"]["V"] == at["classes"]["V"]["share"]
    said = alarms.said(found).splitlines()
    (star,) = [line.split() for line in said if line.startswith("*")]
    assert star == ["*", "-", "950", "3", "6.0", "33.3", "33.3", "4.0"]
    assert max(map(len, said)) <= 100


def test_a_fraction_of_the_table_is_not_told_twice():
    threshold = alarms.choose(NORMAL, None, None)
    assert threshold == (949.0, 0.05)
    scores = np.array([1.0, np.nan])
    found = alarms.summary(scores, threshold, NORMAL, hours=2.0, marked=None)
    assert len(found["thresholds"]) == 6
    assert found["flagged"] == 1, "what is not a number is flagged"
    assert {line["flagged_an_hour"] for line in found["thresholds"]} == {0.5}
    assert "annotated" not in alarms.said(found)


@pytest.mark.parametrize(
    ("value", "fraction", "message"),
    [
        (1.0, 0.05, "--threshold: expected this or --false_alarms, found both"),
        (np.inf, None, "--threshold: expected a finite number, found inf"),
        (None, 0.0, "--false_alarms: expected a fraction between 0 and 1, found 0.0"),
        (None, np.nan, "--false_alarms: expected a fraction .* found nan"),
    ],
)
def test_a_threshold_that_cannot_be(value, fraction, message):
    with pytest.raises(InputError, match=message):
        alarms.check(value, fraction)


@pytest.mark.parametrize(
    "how", [{"relative": True}, {"relative": False, "by_rhythm": "whole"}]
)
def test_scores_in_units_are_neither_relative_nor_given_a_rhythm_again(tmp_path, how):
    fields = {
        "split": np.repeat(["validation", "test"], 4),
        "label": np.zeros(8, int),
        "group": np.repeat([0, 1], 4),
        "last": np.linspace(-1, 2, 8),
        "best": np.linspace(-1, 2, 8),
    }
    np.savez(tmp_path / "scores.npz", **fields)
    flag = "relative" if how["relative"] else "rhythm"
    with pytest.raises(InputError, match=f"--{flag}: .* never negative"):
        alarms.normal_scores(tmp_path, "last", **how)
    found = alarms.normal_scores(tmp_path, "last", relative=False)
    np.testing.assert_array_equal(found.scores, fields["last"][:4])
