"""The command that lists the networks and their costs."""

import re

import jax
import pytest

from kdjax.cli import zoo
from kdjax.errors import InputError
from kdjax.models import MODELS


def test_it_prints_what_families_cost_and_which_take_no_images(python):
    flags = ("--input=8x8x1", "--classes=3", "--models=lstm,mlp")
    head, mlp, lstm, made = python("-m", "kdjax", "zoo", *flags).stdout.splitlines()
    assert head.split() == list(zoo.HEADS)
    parameters = (64 + 1) * 128 + (128 + 1) * 3
    words = mlp.split()
    assert words[:2] == ["mlp", f"{parameters:,}"]
    assert words[2:4] == ["0.0", f"{4 * parameters / 1024:.0f}"]
    assert float(words[4]) > 0
    assert words[5:] == ["widths", "(128,)"]
    assert lstm.startswith("not lstm: config.model.name: this network is for series")
    version = re.escape(jax.__version__)
    expected = rf"kdjax [\d.]+.*, jax {version}; .+, \d+ threads; \d{{4}}-\d\d-\d\d"
    assert re.fullmatch(expected, made)


def test_costs_are_counted_on_the_definition():
    ((fields, cost),) = zoo.costs("gru", (16, 1), 3)
    assert fields == {}
    assert cost["parameters"] == 3 * (1 + 100 + 1) * 100 + 100 + 101 * 3
    # a product with x and one with h at each of 16 steps, and the head
    assert cost["flops"] == 2 * (16 * 300 * (1 + 100) + 100 * 3)


def test_wrong_flags_are_named(python):
    done = python("-m", "kdjax", "zoo", "--input=16x1", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "kdjax: error: --classes: missing, and it has no default\n"
    for text in ("16", "16x0", "128 x 9", "1x2x3x4"):
        with pytest.raises(InputError, match="--input: expected a shape such as 128x9"):
            zoo.shape_of(text)
    with pytest.raises(InputError, match=r"--models: .*did you mean 'gru'"):
        zoo.known(["gruu"])


def test_every_setting_is_of_a_model():
    assert set(zoo.SETTINGS) <= set(MODELS)
    assert zoo.known([]) == sorted(MODELS)
