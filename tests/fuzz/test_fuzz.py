"""A few wrong inputs of every kind; `tests/fuzz/run.py` says how to draw many."""

import re


def test_wrong_inputs_are_one_line_or_a_result(python):
    done = python("-m", "tests.fuzz.run", 160, "same")
    found = re.search(r"^(\d+) inputs: ", done.stdout, re.MULTILINE)
    assert int(found[1]) >= 150, done.stdout
