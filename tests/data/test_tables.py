import numpy as np
import pytest

from kdjax import data
from kdjax.errors import InputError


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(3, 2, size=(60, 16, 2)),
        "y": np.arange(60) % 3,
        "group": np.array([f"p{i}" for i in np.arange(60) // 6]),
    }


@pytest.fixture
def load(tmp_path):
    def save_and_load(table, **fields):
        path = tmp_path / "mine.npz"
        np.savez(path, **table)
        return data.load("arrays", **{"path": str(path), "seed": 0} | fields)

    return save_and_load


def test_digits():
    made = data.load("digits", seed=0)
    sizes = [len(split.y) for split in made[2:5]]
    assert sum(sizes) == 1797
    assert sizes[2] == pytest.approx(1797 / 3, abs=5)
    assert made.train.x.shape[1:] == (8, 8, 1)
    assert (made.train.x.min(), made.train.x.max()) == (0.0, 1.0)
    other = data.load("digits", seed=1)
    np.testing.assert_array_equal(made.test.key, other.test.key)
    assert not np.array_equal(made.validation.key, other.validation.key)


def test_arrays_split_by_group(table, load):
    made = load(table, validation=0.25, test=0.2)
    assert [len(set(s.group)) for s in made[2:5]] == [6, 2, 2]
    assert not set(made.train.group) & set(made.test.group)
    assert made.name == "mine"
    other = load(table, seed=1, validation=0.25)
    np.testing.assert_array_equal(made.test.key, other.test.key)


def test_arrays_split_by_class_without_groups(table, load):
    del table["group"]
    made = load(table, validation=0.25, test=0.2)
    assert [np.bincount(s.y).tolist() for s in made[2:5]] == [
        [12] * 3,
        [4] * 3,
        [4] * 3,
    ]
    assert len(set(made.train.group)) == 36


def test_arrays_keep_a_given_split(table, load):
    table["split"] = np.repeat(["train", "test", "validation"], [36, 12, 12])
    table["key"] = np.arange(100, 160)
    table["classes"] = np.array(["sit", "walk", "run"])
    made = load(table, scale=False)
    assert made.classes == ("sit", "walk", "run")
    assert made.test.key.tolist() == [str(k) for k in range(136, 148)]
    np.testing.assert_allclose(made.test.x, table["x"][36:48], rtol=1e-6)
    table["split"][48:] = "train"
    made = load(table, validation=0.25)
    assert len(made.test.y) == 12
    assert len(set(made.validation.group)) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "y: expected this array, found group, x"),
        ({"y": np.arange(60) % 3 + 1}, r"y: expected labels 0 to 2, .*\[1, 2, 3\]"),
        ({"y": np.arange(60) % 3 / 2}, "y: expected integers .*float64"),
        ({"y": np.arange(59) % 3}, r"x: expected 59 entries, as in y, found \(60, 16"),
        ({"x": np.full((60, 2), "a")}, "x: expected numbers"),
        ({"x": np.full((60, 2), np.nan)}, "x: expected finite values"),
        (
            {"x": np.full((60, 2), None)},
            "x: expected plain numbers or text, found objects",
        ),
        ({"group": np.arange(5)}, r"group: expected 60 entries, as in y, found \(5,\)"),
        ({"group": np.zeros(60)}, "config.data.test: expected two groups"),
        ({"key": np.zeros(60, int)}, "key: expected unique keys, found '0' 60 times"),
        ({"split": np.full(60, "dev")}, "split: expected 'train', .*found 'dev'"),
        ({"split": np.tile(["train", "test"], 30)}, "in both train and"),
        ({"classes": np.array("a")}, r"classes: expected names \[C\], found \(\)"),
        ({"classes": np.array(["a", "b"])}, r"y: expected labels 0 to 1, each present"),
    ],
)
def test_arrays_name_what_is_wrong(table, load, change, message):
    changed = {k: v for k, v in (table | change).items() if v is not None}
    with pytest.raises(InputError, match=message) as caught:
        load(changed)
    assert "\n" not in str(caught.value)


def test_arrays_name_a_file_that_is_none(tmp_path):
    path = tmp_path / "none.npz"
    with pytest.raises(InputError, match=r"none.npz: expected this file"):
        data.load("arrays", seed=0, path=str(path))
    path.write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=r"none.npz: expected an .npz file"):
        data.load("arrays", seed=0, path=str(path))
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"one.npy: expected an .npz file"):
        data.load("arrays", seed=0, path=str(tmp_path / "one.npy"))


def test_arrays_truncated(table, tmp_path):
    path = tmp_path / "cut.npz"
    np.savez(path, **table)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"cut.npz: expected an .npz file"):
        data.load("arrays", seed=0, path=str(path))
