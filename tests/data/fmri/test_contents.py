"""bdpy and h5py give the same arrays of the same files."""

import numpy as np
import pytest
from scipy.io import savemat

from kdjax.data.fmri import contents
from kdjax.data.fmri.synthetic import synthetic_volumes
from kdjax.data.fmri.writing import write_bdata

bdpy = pytest.importorskip("bdpy", reason="no release for this Python")


def assert_alike(path):
    """The contents by both, equal in every bit and type; returns them."""
    one, two = contents.by_bdpy(path), contents.by_h5py(path)
    for a, b in ((one.dataset, two.dataset), (one.value, two.value)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()
    assert one.keys == two.keys
    assert one.vmap == two.vmap
    assert one.header == two.header
    return two


def test_of_a_real_subject(shared_data):
    found = assert_alike(shared_data / "haxby" / "haxby2001_sub001_slice.h5")
    assert found.dataset.shape == (1452, len(found.value[0]))
    assert found.dataset.dtype == np.float64
    assert {"VoxelData", "Run", "Label"} <= set(found.keys)
    assert len(found.vmap["Label"]) == 9


@pytest.mark.parametrize(
    "classes", [("n01443537", "n02071294"), ("shoe", "é/ô", "cat")]
)
def test_of_what_kdjax_writes(subject, tmp_path, classes):
    """float64 for WordNet's classes, float32 for others."""
    path = tmp_path / "a.h5"
    write_bdata(path, subject(classes=classes), header={"origin": "a test, ö"})
    found = assert_alike(path)
    assert found.header["origin"] == "a test, ö"
    assert set(found.vmap) == {"Label", "Stimulus"}


def test_of_a_synthetic_subject(tmp_path):
    rng = np.random.default_rng(0)
    y, keys = np.arange(60) % 3, np.array([f"{k:02d}" for k in range(60)])
    images = rng.uniform(size=(60, 16, 16, 3)).astype(np.float32)
    made = synthetic_volumes(
        images,
        y,
        keys,
        classes=("a", "b", "c"),
        parents=(0, 0, 1),
        test=np.arange(60) > 47,
        seed=0,
    )
    write_bdata(tmp_path / "a.h5", made)
    assert assert_alike(tmp_path / "a.h5").header["synthetic"] == "yes"


def test_of_what_bdpy_writes(tmp_path):
    """Its header has lists and numbers; strings are of any length."""
    data = bdpy.BData()
    data.add(np.random.default_rng(0).normal(size=(5, 3)), "VoxelData")
    data.add(np.array([1, 1, 2, 2, 2]), "Run")
    data.add(np.array([1, 2, 1, 2, 1]), "Label")
    data.add_vmap("Label", {1: "cat", 2: "é"})
    data.update_header({"subject": "S1"})
    data.save(str(tmp_path / "a.h5"))
    found = assert_alike(tmp_path / "a.h5")
    assert found.vmap == {"Label": {1.0: "cat", 2.0: "é"}}
    assert isinstance(found.header["callstack"], list)
    assert isinstance(found.header["ctime_epoch"], float)


def test_of_files_with_the_older_names(write_by_hand, tmp_path):
    import h5py

    path = write_by_hand(tmp_path / "a.h5", {"Run": np.arange(4)}, dtype=np.int16)
    with h5py.File(path, "r+") as file:
        file.move("dataset", "dataSet")
        file.move("metadata", "metaData")
    assert assert_alike(path).keys == ["VoxelData", "Run"]


@pytest.mark.parametrize("names", [("metaData", "dataSet"), ("metadata", "dataset")])
def test_of_matlab_s_files(tmp_path, names):
    def cells(*texts):
        return np.array([np.array([text]) for text in texts] + [None], object)[:-1]

    keys = cells("VoxelData ", "Run")
    value = np.array([[1, 1, np.nan], [np.nan, np.nan, 1]])
    metadata = {"key": keys, "description": keys, "value": value}
    dataset = np.random.default_rng(0).normal(size=(4, 3))
    header = {"subject": "S1"}
    stored = dict(zip(names, (metadata, dataset), strict=True)) | {"header": header}
    savemat(tmp_path / "a.mat", stored)
    found = assert_alike(tmp_path / "a.mat")
    assert found.keys == ["VoxelData", "Run"]
    np.testing.assert_array_equal(found.dataset, dataset)
