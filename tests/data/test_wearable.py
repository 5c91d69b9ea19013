"""The readers on small files in the official format, and on the real UCI HAR."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kdjax import data
from kdjax.data import wearable
from kdjax.errors import InputError


def write_uci_har(parent, *, seed=0):
    """12 windows of subjects 1, 3, 5 to train, 4 of subject 2 to test."""
    rng = np.random.default_rng(seed)
    root = parent / "UCI HAR Dataset"
    for part, subjects in (("train", [1, 3, 5]), ("test", [2])):
        folder = root / part / "Inertial Signals"
        folder.mkdir(parents=True)
        subject = np.repeat(subjects, 4)
        label = np.tile([1, 6, 3, 4], len(subjects))
        np.savetxt(root / part / f"subject_{part}.txt", subject, fmt="%d")
        np.savetxt(root / part / f"y_{part}.txt", label, fmt="%d")
        for channel, name in enumerate(wearable.UCI_HAR_CHANNELS):
            x = 10 * channel + rng.normal(size=(len(subject), 128))
            np.savetxt(folder / f"{name}_{part}.txt", x, fmt="%.7e")
    return root


@pytest.fixture
def official(tmp_path):
    return write_uci_har(tmp_path)


def archive(root):
    path = root.parent / "zipped" / "UCI HAR Dataset.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for file in sorted(root.rglob("*.txt")):
            z.write(file, file.relative_to(root.parent))
    return path


def load(root, **fields):
    fields = {"seed": 0, "validation_groups": 1} | fields
    return data.load("uci_har", root=str(root), **fields)


def test_uci_har_splits_by_subject(official):
    made = load(official)
    assert made.name == "UCI HAR (rebuilt)", "the count is not the official one"
    assert made.train.x.shape == (8, 128, 9)
    assert made.validation.x.shape == made.test.x.shape == (4, 128, 9)
    assert made.test.y.tolist() == [0, 5, 2, 3]
    assert [made.classes[y] for y in made.test.y[:2]] == ["walking", "laying"]
    assert set(made.test.group) == {2}
    assert made.test.key[0] == "test/00000"
    assert len({load(official, seed=s).validation.group[0] for s in range(20)}) == 3


def test_uci_har_of_one_activity_has_it_first_and_learns_it_alone(official):
    """The windows are 1, 6, 3, 4 of each subject: sitting is the file's 4."""
    whole, made = load(official), load(official, normal="sitting")
    assert made.classes[0] == "sitting"
    assert set(made.classes) == set(whole.classes)
    assert made.train.key.tolist() == whole.train.key[whole.train.y == 3].tolist()
    assert made.train.y.tolist() == [0, 0]
    for split in ("validation", "test"):
        own, other = getattr(made, split), getattr(whole, split)
        assert own.key.tolist() == other.key.tolist()
        names = [made.classes[y] for y in own.y]
        assert names == [whole.classes[y] for y in other.y]
    np.testing.assert_allclose(made.train.x.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(made.train.x.std((0, 1)), 1, rtol=1e-5)
    assert (abs(made.test.x.mean((0, 1))) > 1e-4).all()


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        ("running", "expected one of 'walking', .*, found 'running'"),
        ("standing", "expected training examples of 'standing', found 0"),
    ],
)
def test_uci_har_cannot_learn_an_activity_that_is_not_there(official, normal, message):
    with pytest.raises(InputError, match=f"config.data.normal: {message}"):
        load(official, normal=normal)


def test_uci_har_channels_are_in_the_documented_order(official):
    recorded, test = wearable._read_uci_har(official)
    assert wearable.UCI_HAR_CHANNELS[0] == "body_acc_x"
    assert wearable.UCI_HAR_CHANNELS[8] == "total_acc_z"
    np.testing.assert_allclose(recorded.x.mean((0, 1)), 10 * np.arange(9), atol=0.2)
    gyro = np.loadtxt(official / "test" / "Inertial Signals" / "body_gyro_y_test.txt")
    np.testing.assert_allclose(test.x[:, :, 4], gyro, rtol=1e-6)


def test_uci_har_from_folder_parent_and_zip_agree(official):
    path = archive(official)
    expected = load(official)
    for root in (official.parent, path, path.parent):
        made = load(root)
        for split in ("train", "validation", "test"):
            for one, other in zip(
                getattr(made, split), getattr(expected, split), strict=True
            ):
                np.testing.assert_array_equal(one, other)


def test_uci_har_with_few_labels_is_scaled_by_all(official):
    made = load(official, labels_per_class=1)
    kept = made.train.y[made.train.y != data.UNLABELLED]
    assert sorted(kept.tolist()) == [0, 2, 3, 5]
    np.testing.assert_array_equal(made.train.x, load(official).train.x)
    with pytest.raises(
        InputError, match=r"labels_per_class: expected an integer in \[1, 2\]"
    ):
        load(official, labels_per_class=3)


def cut(path):
    path.write_bytes(path.read_bytes()[:-700])


def drop_row(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def drop_column(path):
    np.savetxt(path, np.loadtxt(path)[:, :-1])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("Inertial Signals/body_acc_y_train.txt", cut, "expected 128 col.*changed"),
        ("Inertial Signals/body_acc_y_train.txt", Path.unlink, "expected this file"),
        (
            "Inertial Signals/total_acc_x_train.txt",
            drop_row,
            "expected 12 rows, as in y_train.txt, found 11",
        ),
        (
            "Inertial Signals/total_acc_x_train.txt",
            drop_column,
            "expected 128 columns, found 127",
        ),
        (
            "Inertial Signals/body_gyro_z_train.txt",
            lambda path: path.write_text("spam\n" * 12),
            "expected 128 columns, could not convert string 'spam'",
        ),
        (
            "subject_train.txt",
            lambda path: path.write_text("\n"),
            "expected 1 columns, found an empty file",
        ),
        (
            "y_train.txt",
            lambda path: path.write_text("7\n" * 12),
            "expected activities 1 to 6, found 7",
        ),
    ],
)
def test_uci_har_damage_names_the_file(official, name, damage, message):
    damage(official / "train" / name)
    with pytest.raises(InputError, match=message) as caught:
        load(official)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_uci_har_nan_is_refused(official):
    path = official / "test" / "Inertial Signals" / "body_acc_x_test.txt"
    x = np.loadtxt(path)
    x[1, 5] = np.nan
    np.savetxt(path, x)
    with pytest.raises(InputError, match=r"test x: .*in 1 of 4.*'test/00001'"):
        load(official)


def test_uci_har_damaged_zip_is_named(official):
    path = archive(official)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"Dataset.zip: expected a zip file"):
        load(path)
    # Sound index, damaged content: a member fails its checksum.
    path.write_bytes(whole[:2000] + bytes(1000) + whole[3000:])
    with pytest.raises(InputError, match=r"Dataset.zip.*\.txt: cannot be read"):
        load(path.parent)


def test_uci_har_elsewhere_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config.data.root: expected the folder"):
        load(tmp_path)


def test_real_uci_har(shared_data):
    made = data.load("uci_har", seed=0, root=str(shared_data / "uci_har"))
    assert made.name == "UCI HAR (rebuilt)"
    assert len(made.train.y) + len(made.validation.y) == 7226
    assert made.test.x.shape == (2893, 128, 9)
    assert [len(set(s.group)) for s in made[2:5]] == [17, 4, 9]
    assert all(set(s.y) == set(range(6)) for s in made[2:5])
    np.testing.assert_allclose(made.train.x.mean((0, 1), np.float64), 0, atol=1e-4)
    np.testing.assert_allclose(made.train.x.std((0, 1), np.float64), 1, atol=1e-4)


def write_pamap2_file(path, activity, *, heart_rate=None):
    """`activity` [n] at 33 Hz becomes 3n rows; column c holds c + row / 1000."""
    rows = 3 * len(activity)
    table = np.arange(54) + np.arange(rows)[:, None] / 1000
    table[:, 1] = np.repeat(activity, 3)
    table[:, 2] = np.nan
    table[::10, 2] = 90 + np.arange(len(table[::10])) % 7
    if heart_rate is not None:
        table[:, 2] = heart_rate
    table[4::50, 20:37] = np.nan
    np.savetxt(path, table, fmt="%.6g")


def runs(*pairs):
    return np.concatenate([np.full(length, label) for label, length in pairs])


@pytest.fixture
def protocol(tmp_path):
    folder = tmp_path / "PAMAP2_Dataset" / "Protocol"
    folder.mkdir(parents=True)
    # Windows start at 0, 22, ..., 198 in 300 samples. Kept: 0 22 44, 154 176 198.
    write_pamap2_file(folder / "subject101.dat", runs((1, 150), (4, 150)))
    # Kept: 0, then 44 66 88 110 across the transient, then 154 176 198.
    write_pamap2_file(folder / "subject102.dat", runs((1, 120), (0, 20), (1, 160)))
    # Activity 9 is not one of the twelve. Kept: 0 22 44.
    write_pamap2_file(folder / "subject103.dat", runs((24, 100), (17, 50), (9, 150)))
    write_pamap2_file(folder / "subject104.dat", runs((4, 122), (17, 100)))
    write_pamap2_file(folder / "subject105.dat", runs((1, 150), (4, 150)))
    return folder


def load_pamap2(root, **fields):
    return data.load("pamap2", **{"root": str(root), "seed": 0} | fields)


def test_pamap2_windows_counted_by_hand(protocol):
    subjects = wearable._read_pamap2(protocol)
    counts = {name: np.bincount(e.y, minlength=12) for name, e in subjects.items()}
    lying, walking, ironing, rope = 0, 3, 10, 11
    assert {n: (len(subjects[n].y), c.sum()) for n, c in counts.items()} == {
        101: (6, 6),
        102: (8, 8),
        103: (1, 1),
        104: (2, 2),
        105: (6, 6),
    }
    assert counts[101][[lying, walking]].tolist() == [3, 3]
    assert counts[102][lying] == 8
    assert counts[103][rope] == 1
    assert counts[104][[walking, ironing]].tolist() == [2, 0]
    assert subjects[102].key.tolist()[:3] == ["102/000000", "102/000044", "102/000066"]


def test_pamap2_channels_and_rate(protocol):
    first = wearable._read_pamap2(protocol)[101]
    assert first.x.shape == (6, 100, 40)
    columns = first.x[0, 0, 1:]
    expected = [*range(3, 16), *range(20, 33), *range(37, 50)]
    np.testing.assert_allclose(columns, expected, rtol=1e-6)
    # Sample 1 of the window that starts at sample 22 is row 69.
    np.testing.assert_allclose(first.x[1, 1, 1], 3.069, rtol=1e-5)


def test_pamap2_missing_values(tmp_path):
    heart_rate = np.full(300, np.nan)
    heart_rate[[5, 200]] = 80, 120
    path = tmp_path / "subject105.dat"
    write_pamap2_file(path, np.full(100, 1), heart_rate=heart_rate)
    x = wearable._read_pamap2_file(path, 105).x[0]
    # Samples are rows 0, 3, 6, ...: row 5 is seen from sample 2, row 200 from 67.
    assert x[:2, 0].tolist() == [0, 0]
    assert (x[2:67, 0] == 80).all()
    assert (x[67:, 0] == 120).all()
    chest = x[:, 14]
    assert np.flatnonzero(chest == 0).tolist() == [18, 68], "rows 54 and 204"


def test_pamap2_leaves_one_subject_out(protocol):
    for root in (protocol, protocol.parent, protocol.parent.parent):
        made = load_pamap2(root, test_subject=101)
        assert made.name == "PAMAP2 (5 subjects)"
        assert set(made.test.group) == {101}


def test_pamap2_validates_on_subjects_of_two_activities(protocol):
    for seed in range(5):
        made = load_pamap2(protocol, seed=seed, test_subject=101)
        assert set(made.validation.group) == {105}
        assert set(made.train.group) == {102, 103, 104}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test_subject": 109}, r"test_subject: expected one of 101, .*found 109"),
        ({"validation_groups": 9}, r"validation_groups: expected an integer in \[1, "),
        ({"test_subject": 102}, r"test y: expected two classes.*'lying' alone"),
    ],
)
def test_pamap2_refuses_impossible_fields(protocol, fields, message):
    with pytest.raises(InputError, match=message):
        load_pamap2(protocol, **fields)


def test_pamap2_damage_names_the_file(protocol):
    path = protocol / "subject103.dat"
    table = np.loadtxt(path)
    np.savetxt(path, table[:, :53])
    with pytest.raises(InputError, match=r"subject103.dat: expected 54 col.*found 53"):
        load_pamap2(protocol)
    shutil.rmtree(protocol)
    with pytest.raises(InputError, match=r"config.data.root: expected Protocol"):
        load_pamap2(protocol)


def test_the_pamap2_experiment_at_smoke_size(protocol, python, tmp_path):
    """One stage of the config on files of the real format."""
    done = python(
        "-m",
        "kdjax",
        "--config=configs/pamap2_eskd.py:smoke",
        f"--config.data.root={protocol.parent}",
        "--config.data.validation_groups=1",
        "--config.data.test_subject=105",
        "--config.training.batch_size=4",
        f"--workdir={tmp_path / 'run'}",
        "--stage=scratch",
    )
    assert "seed 0 scratch: test accuracy" in done.stdout
