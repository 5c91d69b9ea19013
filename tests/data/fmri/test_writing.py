import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.volumes import Volumes
from kdjax.data.fmri.writing import write_bdata
from kdjax.errors import InputError


@pytest.mark.parametrize(
    "classes", [("n01443537", "n02071294", "n04572121"), ("shoe", "é/ô", "cat")]
)
def test_what_is_written_is_read(subject, assert_same, tmp_path, classes):
    made = subject(classes=classes, synthetic=True)
    write_bdata(tmp_path / "a.h5", made)
    assert_same(read_bdata(tmp_path / "a.h5"), made)


def test_bdpy_reads_it(subject, tmp_path):
    bdpy = pytest.importorskip("bdpy", reason="no release for this Python")
    made = subject()
    write_bdata(tmp_path / "a.h5", made, header={"origin": "a test"})
    data = bdpy.BData(str(tmp_path / "a.h5"))
    np.testing.assert_array_equal(data.get("VoxelData"), made.x)
    np.testing.assert_array_equal(data.select("ROI_V2"), made.x[:, 2:3])
    np.testing.assert_array_equal(data.get("Run")[:, 0], made.run)
    np.testing.assert_array_equal(data.get("DataType")[:, 0], 1 + (made.run == 3))
    names = np.array([*made.classes, "rest"])[made.y]
    assert data.get_label("Label") == names.tolist()
    shown = [name or "" for name in made.stimulus.tolist()]
    assert data.get_label("Stimulus") == shown
    ids = data.get("stimulus_id")[:, 0]
    assert ids[3] == pytest.approx(2071294.022564, abs=1e-9)
    assert ids[0] == 0
    x = data.get_metadata("voxel_x", where="VoxelData")
    np.testing.assert_array_equal(x, made.position[:, 0])
    assert data.header["subject"] == "S1"
    assert data.header["synthetic"] == "no"
    assert data.header["origin"] == "a test"


def test_the_bytes_depend_on_the_volumes_alone(subject, tmp_path):
    kinds = {"named.h5": ("shoe", "cat"), "wordnet.h5": ("n01443537", "n02071294")}
    written = []
    for wait in (1.1, 0):
        for name, classes in kinds.items():
            write_bdata(tmp_path / name, subject(classes=classes))
        written.append([(tmp_path / name).read_bytes() for name in kinds])
        time.sleep(wait)  # HDF5 counts time in seconds
    assert written[0] == written[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == list(kinds)


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    classes=st.lists(
        names.filter(lambda name: name != "rest"), min_size=1, unique=True
    ),
    keys=st.lists(names, min_size=1, unique=True),
    data=st.data(),
)
def test_any_names_are_read_as_written(tmp_path, assert_same, classes, keys, data):
    n = len(classes) + 3
    y = np.array([*range(len(classes)), -1, 0, -1], np.int32)
    shown = data.draw(st.lists(st.sampled_from(["", *keys]), min_size=n, max_size=n))
    kinds = st.sampled_from(["", "training", "test"])
    kind = data.draw(st.lists(kinds, min_size=n, max_size=n))
    made = Volumes(
        x=np.arange(2 * n, dtype=np.float32).reshape(n, 2),
        run=np.arange(1, n + 1, dtype=np.int32),
        block=np.arange(1, n + 1, dtype=np.int32),
        data_type=np.array(kind),
        y=y,
        stimulus=np.array(shown),
        classes=tuple(classes),
        rois={},
        position=None,
        subject="someone",
    )
    write_bdata(tmp_path / "a.h5", made)
    assert_same(read_bdata(tmp_path / "a.h5"), made)


def test_permuted_voxels_are_the_same_voxels(subject, tmp_path):
    made = subject()
    order = np.random.default_rng(1).permutation(6)
    rois = {name: member[order] for name, member in made.rois.items()}
    moved = made._replace(x=made.x[:, order], rois=rois, position=made.position[order])
    write_bdata(tmp_path / "a.h5", moved)
    found = read_bdata(tmp_path / "a.h5", roi="ROI_VC")
    np.testing.assert_array_equal(found.x, made.x[:, order[order < 4]])
    np.testing.assert_array_equal(found.position, made.position[order[order < 4]])


def test_a_failure_leaves_the_old_file(subject, tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    write_bdata(path, subject())
    before = path.read_bytes()

    def stop(*_):
        raise RuntimeError("killed")

    monkeypatch.setattr("kdjax.data.fmri.writing._metadata", stop)
    with pytest.raises(RuntimeError, match="killed"):
        write_bdata(path, subject(seed=1))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_refused(subject, tmp_path):
    made = subject()
    path = tmp_path / "a.h5"
    with pytest.raises(InputError, match=r"a.mat: expected a name that ends in .h5"):
        write_bdata(tmp_path / "a.mat", made)
    with pytest.raises(
        InputError, match=r"a.h5: block: expected \(36,\), found \(2,\)"
    ):
        write_bdata(path, made._replace(block=made.block[:2]))
    with pytest.raises(InputError, match=r"classes: expected no class named 'rest'$"):
        write_bdata(path, subject(classes=("rest", "cat")))
    kinds = np.where(made.run == 1, "pilot", made.data_type)
    with pytest.raises(InputError, match=r"data_type: expected training, .*'pilot'$"):
        write_bdata(path, made._replace(data_type=kinds))
    assert not path.exists()
