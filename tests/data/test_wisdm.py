"""WISDM's watch: text in its official layout, arrays, and the real recordings."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kdjax import archives, data
from kdjax.errors import InputError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "wisdm_watch"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs {SHARED}")
SMALL = {"window": 10, "step": 5, "test_groups": 1, "validation_groups": 1}


def write(folder, subject, *, samples=40, codes="AB", skip=(), late=()):
    """A subject's two files: the gyroscope lacks the samples `skip`."""
    start = 10**12
    for sensor, offset in (("accel", 0), ("gyro", 100)):
        lines = []
        for k, code in enumerate(codes):
            for i in range(samples):
                if sensor == "gyro" and i in skip:
                    continue
                time = start + k * 10**12 + i * 50_000_000
                time += sum(i >= j for j in late) * 10**8
                x = subject % 100 + i / 10 + offset
                lines.append(f"{subject},{code},{time},{x},{k},{-i};")
        place = folder / "wisdm-dataset" / "raw" / "watch" / sensor
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"data_{subject}_{sensor}_watch.txt"
        path.write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def root(tmp_path):
    for subject in (1600, 1601, 1602, 1603):
        write(tmp_path, subject)
    return tmp_path


def load(root, **changes):
    return data.load("wisdm", root=str(root), seed=0, **(SMALL | changes))


def every(dataset):
    """{key: (label, group)} of all splits, and how many examples there are."""
    splits = (dataset.train, dataset.validation, dataset.test)
    found = {
        str(key): (int(y), int(group))
        for split in splits
        for key, y, group in zip(split.key, split.y, split.group, strict=True)
    }
    assert len(found) == sum(len(split.y) for split in splits)
    return found


def test_windows_of_whole_subjects(root):
    dataset = load(root)
    found = every(dataset)
    # (40 - 10) / 5 + 1 windows of each of two activities
    assert len(found) == 4 * 2 * 7
    assert found["1601/B/00005"] == (1, 1601)
    groups = [set(s.group) for s in (dataset.train, dataset.validation, dataset.test)]
    assert [len(g) for g in groups] == [2, 1, 1]
    assert len(set.union(*groups)) == 4
    assert dataset.channels[3] == "gyro_x"
    step = dataset.preprocessing[-1]
    raw = dataset.test.x * np.float32(step["std"]) + np.float32(step["mean"])
    (row,) = np.flatnonzero(dataset.test.key == f"{min(groups[2])}/A/00005")
    expected = min(groups[2]) % 100 + np.arange(5, 15) / 10
    np.testing.assert_allclose(raw[row, :, 0], expected, atol=1e-3)
    np.testing.assert_allclose(raw[row, :, 3], expected + 100, atol=1e-3)


def test_no_window_over_a_gap_or_a_sample_that_one_sensor_lacks(tmp_path):
    for subject, changes in (
        (1600, {}),
        (1601, {}),
        (1602, {"skip": (20,)}),  # a step of 100 ms
        (1603, {"late": (20,)}),  # one of 150 ms
    ):
        write(tmp_path, subject, **changes)
    found = every(load(tmp_path))
    starts = {
        subject: sorted(
            int(key[-5:]) for key in found if key.startswith(f"{subject}/A")
        )
        for subject in (1600, 1602, 1603)
    }
    assert starts[1600] == list(range(0, 31, 5))
    assert starts[1602] == [0, 5, 10, 20, 25]  # 19 rows after the missing one
    assert starts[1603] == [0, 5, 10, 20, 25, 30]


def test_a_zip_is_read_as_the_folder(root, tmp_path):
    path = tmp_path / "wisdm-dataset.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((root / "wisdm-dataset").rglob("*.txt")):
            archive.write(file, file.relative_to(root))
    folder, packed = load(root), load(path)
    assert every(folder) == every(packed)
    np.testing.assert_array_equal(folder.train.x, packed.train.x)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1600,A,1,2,3;\n", "expected lines subject,code,time in ns,x,y,z;"),
        ("1600,A,1,x,3,4;\n", "expected lines subject,code,time in ns,x,y,z;"),
        ("1600,N,1,2,3,4;\n", r"expected the codes A to S without N, found \['N'\]"),
        ("", "of 0 lines"),
        ("1600,A,7,2,3,4;\n", "expected time stamps that accelerometer and gyroscope"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_a_wrong_file_is_named(root, text, message):
    path = root / "wisdm-dataset/raw/watch/gyro/data_1600_gyro_watch.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load(root)
    assert "1600" in str(error.value)


def test_a_file_that_unpacks_to_too_much_is_not_read(root, monkeypatch):
    """The text of UCI HAR was held against the memory, this was not."""
    monkeypatch.setattr(archives, "most_bytes", lambda: 1000)
    with pytest.raises(
        InputError, match=r"data_1600_accel_watch.txt: expected at most"
    ):
        load(root)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected the folder 'wisdm-dataset'"):
        load(tmp_path)
    (tmp_path / "wisdm_watch.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"wisdm_watch\.npz"):
        load(tmp_path)


@pytest.mark.parametrize("start", [[1, 20], [0, 0], [0, 60], []])
def test_arrays_whose_recordings_do_not_fill_them_are_refused(tmp_path, start):
    """Starts that begin past 0 were once a traceback."""
    n, recordings = 40, len(start)
    arrays = {
        "signal": np.zeros((6, n), np.int16),
        "step_ms": np.full(n, 50, np.uint16),
        "start": np.array(start, np.int32),
        "subject": np.arange(recordings, dtype=np.int16),
        "activity": np.zeros(recordings, np.int8),
        "scale": np.float32(0.01),
    }
    np.savez(tmp_path / "wisdm_watch.npz", **arrays)
    with pytest.raises(
        InputError, match=r"wisdm_watch.npz: expected WISDM's recordings"
    ):
        load(tmp_path)


def test_a_window_longer_than_any_run_is_named(root):
    with pytest.raises(InputError, match="window: expected at most 40"):
        load(root, window=41)


@needs_data
def test_the_real_recordings():
    dataset = data.load("wisdm", root=str(SHARED), seed=0)
    found = every(dataset)
    assert len(found) == 57_919
    assert dataset.name == "WISDM watch (46 subjects)"
    sizes = np.bincount([label for label, _ in found.values()])
    assert (len(sizes), sizes.min(), sizes.max()) == (18, 3_143, 3_255)
    groups = [set(s.group) for s in (dataset.train, dataset.validation, dataset.test)]
    assert [len(group) for group in groups] == [30, 6, 10]
    other = data.load("wisdm", root=str(SHARED), seed=1)
    assert set(other.test.group) == groups[2]
    assert set(other.validation.group) != groups[1]


@needs_data
def test_the_text_of_a_real_subject_is_its_arrays():
    module = sys.modules[data.wisdm.__module__]
    text = module._read(SHARED / "wisdm_raw_1650.zip")
    arrays = module._read(SHARED / "wisdm_watch.npz")
    mine = arrays.subject[arrays.recording] == 1650
    assert text.signal.shape == (66_556, 6) == (mine.sum(), 6)
    # the arrays are rounded to hundredths
    np.testing.assert_allclose(text.signal, arrays.signal[mine], atol=0.00501)
    np.testing.assert_array_equal(text.follows, arrays.follows[mine])
