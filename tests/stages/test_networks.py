"""What a stage may not read: a network that learnt from what it is judged on."""

import numpy as np
import pytest

from kdjax import data
from kdjax.errors import InputError
from kdjax.stages import networks

MOCAP = ("walk", "run", "other")


@pytest.fixture
def root(tmp_path):
    """A made-up folder of motion capture: 9 walks, 2 runs and another file."""
    rng = np.random.default_rng(0)
    for name, count in zip(MOCAP, (9, 2, 1), strict=True):
        (tmp_path / "mocap" / name).mkdir(parents=True)
        for n in range(count):
            path = tmp_path / "mocap" / name / f"{n:02d}.amc.4d"
            np.savetxt(path, np.cumsum(rng.normal(size=(80, 4)), axis=0))
    return str(tmp_path)


def load(root, protocol, seed=0):
    fields = {"root": root, "protocol": protocol, "window": 16, "test_files": 3}
    return data.load("mocap", seed=seed, **fields)


def test_another_protocol_of_the_same_data_leaks(root):
    """Names for people were once compared, which say the protocol: accepted."""
    paper, file = load(root, "paper"), load(root, "file")
    assert paper.name != file.name
    held = np.concatenate([file.validation.key, file.test.key])
    assert np.isin(held, paper.train.key).any()
    with pytest.raises(InputError, match=r"config.start: .* trained on \d+ of this"):
        networks._check_held_out(paper, file, "config.start")


def test_the_same_split_and_other_data_do_not_leak(root):
    file, digits = load(root, "file"), data.load("digits", seed=0)
    networks._check_held_out(file, load(root, "file"), "config.start")
    networks._check_held_out(file, digits, "config.start")
