"""The reader on small files of the real format, and on the real recordings."""

import numpy as np
import pytest

from kdjax import data
from kdjax.errors import InputError


def write_file(path, rows, *, seed):
    """Four sines in degrees, each of its own height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(rows)[:, None]
    phase = np.random.default_rng(seed).uniform(0, 6, 4)
    table = (30 + seed) * np.arange(1, 5) * np.sin(time / 9 + phase)
    np.savetxt(path, table, fmt="%.6f")
    return table


@pytest.fixture
def root(tmp_path):
    """Six walks of 40 rows, two runs, one other."""
    for n in range(6):
        write_file(tmp_path / "mocap" / "walk" / f"35_0{n}.amc.4d", 40, seed=n)
    for n in (7, 8):
        write_file(tmp_path / "mocap" / "run" / f"35_0{n}.amc.4d", 35, seed=n)
    write_file(tmp_path / "mocap" / "other" / "49_02.amc.4d", 100, seed=9)
    return tmp_path / "mocap"


def load(root, **fields):
    small = {"seed": 0, "window": 30, "test_files": 2, "validation_files": 1}
    return data.load("mocap", root=str(root), **small | fields)


def test_windows_counted_by_hand(root):
    made = load(root)
    # Starts 0, 5, 10 in 40 rows; 0, 5 in 35; 0, 5, ..., 70 in 100.
    assert [len(part.y) for part in made[2:5]] == [9, 3, 6 + 4 + 15]
    assert made.train.x.shape == (9, 30, 4)
    assert np.bincount(made.test.y).tolist() == [6, 4, 15]
    assert set(made.train.y) == set(made.validation.y) == {0}
    assert "run/35_07/00005" in made.test.key
    assert made.train.x.dtype == np.float32
    assert len(load(root, stride=1).train.y) == 3 * 11


def test_windows_are_rows_of_the_file_in_the_training_range(root):
    made = load(root)
    names = sorted({key.split("/")[1] for key in made.train.key})
    train = np.concatenate([np.loadtxt(root / "walk" / f"{n}.amc.4d") for n in names])
    low, high = train.min(0), train.max(0)
    table = np.loadtxt(root / "other" / "49_02.amc.4d")
    expected = 2 * (table[20:50] - low) / (high - low) - 1
    (row,) = np.flatnonzero(made.test.key == "other/49_02/00020")
    np.testing.assert_allclose(made.test.x[row], expected, atol=1e-5)
    np.testing.assert_allclose(abs(made.train.x).max((0, 1)), 1, atol=1e-6)
    assert abs(made.test.x).max() > 1


def test_files_are_in_one_split_and_the_seed_draws_validation(root):
    splits = [load(root, seed=seed) for seed in range(8)]
    for made in splits:
        assert [len(set(part.group)) for part in made[2:5]] == [3, 1, 5]
        np.testing.assert_array_equal(made.test.key, splits[0].test.key)
    assert len({made.validation.group[0] for made in splits}) > 1


def test_the_paper_protocol_scales_each_file(root):
    made = load(root.parent, protocol="paper", stride=1)
    names = {key.split("/")[1] for key in made.test.key[made.test.y == 0]}
    assert names == {"35_04", "35_05"}
    for part in made[2:5]:
        for group in np.unique(part.group):
            x = part.x[part.group == group]
            np.testing.assert_allclose(x.max((0, 1)), 1, atol=1e-6)
            np.testing.assert_allclose(x.min((0, 1)), -1, atol=1e-6)


def test_a_constant_angle_is_zero(root):
    for path in root.glob("*/*.amc.4d"):
        table = np.loadtxt(path)
        table[:, 2] = 7
        np.savetxt(path, table)
    made = load(root)
    assert not made.train.x[:, :, 2].any()
    assert made.train.x[:, :, 1].any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected 4 columns, found an empty file"),
        ("1 2 3\n" * 40, "expected 4 columns, found 3 columns"),
        ("1 2 3 4\n" * 20 + "1 2\n", "expected 4 columns, .*changed"),
        ("1 2 3 spam\n" * 40, "expected 4 columns, could not convert"),
        ("1 2 3 4\n" * 29, "expected 30 rows or more, a window, found 29"),
        ("1 2 3 4\n" * 31 + "1 2 nan 4\n", "found NaN or Inf in row 32"),
    ],
)
def test_damage_names_the_file(root, content, message):
    path = root / "run" / "35_08.amc.4d"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load(root)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocol": "windows"}, "config.data.protocol: expected one of .* 'windows'"),
        ({"window": 1}, r"config.data.window: expected an integer >= 2, found 1"),
        ({"stride": 0}, r"config.data.stride: expected an integer >= 1, found 0"),
        (
            {"test_files": 6},
            r"data.test_files: expected an integer in \[1, 5\], found 6",
        ),
        (
            {"validation_files": 4},
            r"data.validation_files: expected an integer in \[1, 3\]",
        ),
    ],
)
def test_impossible_fields_are_refused(root, fields, message):
    with pytest.raises(InputError, match=message):
        load(root, **fields)


def test_missing_folders_are_refused(root):
    (root / "other" / "49_02.amc.4d").unlink()
    with pytest.raises(InputError, match=r"config.data.root: expected other/\*.amc.4d"):
        load(root)


def test_the_paper_protocol_needs_four_walks(root):
    for n in range(3):
        (root / "walk" / f"35_0{n}.amc.4d").unlink()
    with pytest.raises(
        InputError, match=r"walk files: expected an integer >= 4, found 3"
    ):
        load(root, protocol="paper")


def test_real_mocap(shared_data):
    made = data.load("mocap", seed=0, root=str(shared_data))
    assert [len(set(part.group)) for part in made[2:5]] == [11, 2, 14]
    sizes = [len(part.y) for part in made[2:5]]
    assert sum(sizes) == 1731
    assert made.train.x.shape[1:] == (64, 4)
    assert np.bincount(made.test.y)[1:].tolist() == [199, 405]
    paper = data.load("mocap", seed=0, root=str(shared_data), protocol="paper")
    assert len(paper.train.y) + len(paper.validation.y) + len(paper.test.y) == 1731
