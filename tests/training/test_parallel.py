"""The step over several devices is the step on one, by pmap and by shard_map."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.training import parallel


@pytest.fixture(scope="module")
def rows(python):
    program = Path(__file__).with_name("parity.py")
    done = python(program, devices=8)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_task_and_mapper_ran(rows):
    """The other mappers, and fewer devices: see test_processes.py."""
    assert [(row["task"], row["mapper"]) for row in rows] == [
        ("distill", "pmap"),
        ("distill", "shard_map"),
        ("simclr", "pmap"),
        ("simclr", "shard_map"),
        ("simclr_ring", "shard_map"),
        ("cognitive", "shard_map"),
        ("beatgan", "pmap"),
    ]


def test_parameters_and_statistics_equal_one_device(rows):
    """After 3 steps of distillation, 20 of SimCLR and 2 of BeatGAN's either side."""
    for row in rows:
        tolerance = 1e-5 if row["task"] in ("distill", "cognitive") else 1e-4
        assert row["parameters"] < tolerance, row
        assert row["loss"] < tolerance, row


def test_ragged_evaluation_equals_one_device(rows):
    for row in rows:
        assert row["figures"] < (1e-5 if row["task"] == "distill" else 1e-3), row
        assert row["examples"], row


def test_to_host_copies():
    array = jax.numpy.ones(4)
    copy = parallel.to_host({"a": array})["a"]
    assert copy.flags.owndata
    np.testing.assert_array_equal(copy, np.ones(4))


def test_unknown_mapper_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'shard_map'"):
        parallel.make("shardmap")


def test_more_devices_than_there_are():
    with pytest.raises(
        InputError, match=r"config.devices: expected an integer in \[1, \d+\]"
    ):
        parallel.make("pmap", devices=999)
