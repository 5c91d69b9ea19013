import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from kdjax.data.fmri import contents
from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.volumes import check
from kdjax.data.fmri.writing import write_bdata
from kdjax.errors import InputError

HAXBY = (
    *("bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"),
)


@pytest.fixture
def haxby(shared_data):
    return shared_data / "haxby" / "haxby2001_sub001_slice.h5"


def test_real_volumes(haxby):
    found = check(read_bdata(haxby))
    assert found.x.shape == (1452, 469)
    assert found.x.dtype == np.float32
    assert found.classes == HAXBY
    assert np.unique(found.run, return_counts=True)[1].tolist() == [121] * 12
    assert found.run.max() == 12
    assert found.block.max() == 204
    assert (np.bincount(found.y + 1)[1:] == 108).all()
    assert found.y[:7].tolist() == [-1] * 6 + [HAXBY.index("scissors")]
    assert [found.rois[f"ROI_{side}"].sum() for side in ("LEFT", "RIGHT")] == [227, 242]
    assert found.position[0].tolist() == [3, 18, 0]
    assert found.subject == "haxby2001_sub001_slice"
    assert not found.synthetic
    assert set(found.stimulus) == set(found.data_type) == {""}


def test_real_volumes_are_bdpy_s(haxby):
    bdpy = pytest.importorskip("bdpy", reason="no release for this Python")
    data = bdpy.BData(str(haxby))
    found = read_bdata(haxby, roi="ROI_LEFT")
    np.testing.assert_array_equal(found.x, data.select("ROI_LEFT").astype(np.float32))
    np.testing.assert_array_equal(found.run, data.get("Run")[:, 0])
    np.testing.assert_array_equal(found.block, data.get("Block")[:, 0])
    label = np.array([*found.classes, "rest"])[found.y]
    assert label.tolist() == data.get_label("Label")
    np.testing.assert_array_equal(
        found.position[:, 1], data.get_metadata("voxel_y", "ROI_LEFT")
    )


def test_two_sessions_go_on(haxby):
    one, two = read_bdata(haxby), read_bdata([haxby, str(haxby)], roi="ROI_RIGHT")
    np.testing.assert_array_equal(two.run, np.concatenate([one.run, one.run + 12]))
    np.testing.assert_array_equal(two.block, [*one.block, *(one.block + 204)])
    np.testing.assert_array_equal(two.x[1452:], one.x[:, one.rois["ROI_RIGHT"]])
    np.testing.assert_array_equal(two.y, [*one.y, *one.y])


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
        min_size=1,
        max_size=3,
    )
)
def test_runs_and_blocks_are_successive(subject, tmp_path, sizes):
    paths = []
    for k, (runs, blocks, length) in enumerate(sizes):
        made = subject(runs=runs, blocks=blocks, length=length)
        made = made._replace(y=np.zeros(len(made.y), np.int32), position=None)
        paths.append(tmp_path / f"{k}.h5")
        write_bdata(paths[-1], made)
    found = read_bdata(paths)
    lengths = [b * length for r, b, length in sizes for _ in range(r)]
    np.testing.assert_array_equal(
        found.run, np.repeat(np.arange(1, len(lengths) + 1), lengths)
    )
    lengths = [length for r, b, length in sizes for _ in range(r * b)]
    np.testing.assert_array_equal(
        found.block, np.repeat(np.arange(1, len(lengths) + 1), lengths)
    )


def test_sessions_of_other_classes_are_joined(subject, tmp_path):
    one = subject(classes=("cat", "shoe"))
    two = subject(classes=("bird", "shoe", "cat"))
    for name, made in (("a", one), ("b", two)):
        write_bdata(tmp_path / f"{name}.h5", made)
    both = read_bdata([tmp_path / "a.h5", tmp_path / "b.h5"])
    assert both.classes == ("cat", "shoe", "bird")
    names = np.array([*both.classes, ""])[both.y]
    expected = [np.array([*m.classes, ""])[m.y] for m in (one, two)]
    np.testing.assert_array_equal(names, np.concatenate(expected))


def test_regions_and_data_types_are_selected(subject, tmp_path):
    made = subject()
    path = tmp_path / "S1.h5"
    write_bdata(path, made)
    few = read_bdata(path, roi=["ROI_V2", "ROI_V1"], data_type="test")
    rows = made.data_type == "test"
    np.testing.assert_array_equal(few.x, made.x[rows, :3])
    assert set(few.run) == {3}, "a run keeps its number"
    assert few.block.tolist() == made.block[rows].tolist()
    assert list(few.rois) == ["ROI_V1", "ROI_V2", "ROI_VC"]
    assert few.rois["ROI_V1"].tolist() == [True, True, False]
    np.testing.assert_array_equal(few.position, made.position[:3])
    both = read_bdata([path, path], data_type=("training", "test"))
    assert len(both.run) == 2 * len(made.run)
    later = read_bdata([path, path], data_type="test")
    assert set(later.run) == {3, 6}


def test_a_type_may_be_in_one_session_alone(subject, tmp_path):
    for kind in ("training", "test"):
        made = subject()
        kinds = np.full(len(made.run), kind)
        write_bdata(tmp_path / f"{kind}.h5", made._replace(data_type=kinds))
    paths = [tmp_path / "training.h5", tmp_path / "test.h5"]
    found = read_bdata(paths, data_type="test")
    assert set(found.run) == {4, 5, 6}
    with pytest.raises(
        InputError,
        match=r"ing.h5: DataType: expected volumes of imagery, found test, training$",
    ):
        read_bdata(paths, data_type="imagery")


def test_god_s_columns(write_by_hand, tmp_path, capsys):
    """Runs are numbered anew in each data type; imagery shows nothing."""
    ids = [2071294.046212, 1443537.022563, 1443537.022563, 1443537.022563, 0.0, np.nan]
    columns = {
        "DataType": np.array([1, 1, 2, 3, 2, np.nan]),
        "Run": np.array([1, 2, 1, 1, 1, 7]),
        "stimulus_id": np.array(ids),
        "category_index": np.array([1, 2, 1, 1, np.nan, 3]),
    }
    path = write_by_hand(tmp_path / "Subject1.h5", columns, rows=6)
    found = read_bdata(path)
    assert found.run.tolist() == [1, 2, 3, 4, 3, 5]
    assert found.block.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.data_type.tolist() == [
        *("training", "training", "test", "imagery", "test", ""),
    ]
    assert found.classes == ("n01443537", "n02071294")
    assert found.y.tolist() == [1, 0, 0, 0, -1, -1]
    goldfish = "n01443537_22563"
    assert found.stimulus.tolist() == [
        "n02071294_46212",
        goldfish,
        goldfish,
        "",
        "",
        "",
    ]
    assert found.subject == "Subject1"
    assert found.position is None
    assert found.rois == {}
    assert capsys.readouterr().err == ""
    assert read_bdata(path, data_type="training").classes == found.classes
    assert read_bdata(path, data_type="test").classes == ("n01443537",)


def test_a_wrong_category_index_is_said_once(write_by_hand, tmp_path, capsys):
    columns = {
        "Run": np.ones(4),
        "stimulus_id": np.array([2071294.1, 2071294.2, 1443537.1, 1443537.2]),
        "category_index": np.array([1, 2, 1, 2]),
    }
    path = write_by_hand(tmp_path / "a.h5", columns)
    assert read_bdata(path).y.tolist() == [1, 1, 0, 0]
    error = capsys.readouterr().err
    assert error.startswith(f"kdjax: {path}: category_index disagrees")
    assert error.count("\n") == 1


def test_flags_of_other_names_are_regions_too(write_by_hand, tmp_path):
    flags = {
        "ROI_V1": [1, 0, np.nan],
        "hcp180_L_V1": [np.nan, 1, 1],
        "ROI_none": [np.nan] * 3,
        "tval": [0.5, 1, 2],
        "voxel_x": [1, 0, 1],
    }
    columns = {"Run": np.ones(4), "Label": np.array([0, 1, 1, 0])}
    path = tmp_path / "a.h5"
    vmap = {"Label": {"0.0": "rest", "1.0": "cat"}}
    write_by_hand(path, columns, flags=flags, vmap=vmap)
    found = read_bdata(path)
    assert list(found.rois) == ["ROI_V1", "hcp180_L_V1", "ROI_none"]
    assert found.rois["hcp180_L_V1"].tolist() == [False, True, True]
    assert found.y.tolist() == [-1, 0, 0, -1]
    assert read_bdata(path, rest=("cat",)).classes == ("rest",)


def test_another_subject_is_refused(subject, tmp_path):
    made = subject()
    first = tmp_path / "a.h5"
    write_bdata(first, made)
    rois = made.rois | {"ROI_V2": np.arange(6) == 4}
    moved = made.position + np.float32(1) * (np.arange(6) == 3)[:, None]
    cases = {
        r"metadata ROI_V2: expected the voxels of .*a.h5, found another value in 2 of 6"
        r" voxels: two subjects concatenated$": made._replace(rois=rois),
        r"metadata voxel_x: .* found another value in 1 of 6": made._replace(
            position=moved
        ),
        r"metadata VoxelData: .* found 5 voxels instead of 6": subject(voxels=5),
        r"metadata ROI_VC: .* found no such row": made._replace(
            rois={k: made.rois[k] for k in ("ROI_V1", "ROI_V2")}
        ),
        r"metadata ROI_A: .* found a row that is not there": made._replace(
            rois=made.rois | {"ROI_A": rois["ROI_V2"]}
        ),
        r"header subject: expected 'S1', as in .*, found 'S2': two": made._replace(
            subject="S2"
        ),
    }
    for message, other in cases.items():
        write_bdata(tmp_path / "b.h5", other)
        with pytest.raises(InputError, match=message) as caught:
            read_bdata([first, tmp_path / "b.h5"], roi="ROI_V1")
        assert str(caught.value).startswith(f"{tmp_path / 'b.h5'}: ")


def test_voxels_without_metadata_are_counted(write_by_hand, tmp_path):
    columns = {"Run": np.ones(4), "Label": np.ones(4)}
    vmap = {"Label": {"1.0": "cat"}}
    one = write_by_hand(tmp_path / "a.h5", columns, vmap=vmap)
    two = write_by_hand(tmp_path / "b.h5", columns, voxels=4, vmap=vmap)
    with pytest.raises(
        InputError, match=r"b.h5: metadata VoxelData: .* 4 voxels inste"
    ):
        read_bdata([one, two])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Label": [1, 1, 1, 1]}, "expected a column Run, found VoxelData, Label"),
        ({"Run": [1, 1, np.nan, 1], "Label": [1] * 4}, "Run: expected .* NaN in row 2"),
        (
            {"Run": [1] * 4, "Block": [1, np.nan, 1, 1], "Label": [1] * 4},
            "Block: expected numbers, found NaN in row 1",
        ),
        (
            {"Run": [1] * 4},
            "expected a column stimulus_id or Label, found VoxelData, Run",
        ),
        (
            {"Run": [1] * 4, "Label": [1, 2, 5, 5]},
            r"Label: expected values that its vmap names \(1, 2\), found 5 in row 2",
        ),
        (
            {"Run": [1] * 4, "Label": [1] * 4, "Stimulus": [1] * 4},
            "Stimulus: expected a vmap that names its values, found none",
        ),
        (
            {"Run": [1] * 4, "Label": [1] * 4, "DataType": [1, 2, 3, 4]},
            "DataType: expected 1, 2 or 3, found 4 in row 3",
        ),
        (
            {"Run": [1] * 4, "stimulus_id": [-1.0] * 4},
            "stimulus_id: expected a WordNet id and six decimals, found -1 in row 0",
        ),
    ],
)
def test_a_wrong_column_is_named(write_by_hand, tmp_path, columns, message):
    path = tmp_path / "a.h5"
    vmap = {"Label": {"1.0": "cat", "2.0": "shoe"}}
    write_by_hand(path, {k: np.array(v) for k, v in columns.items()}, vmap=vmap)
    with pytest.raises(InputError, match=message) as caught:
        read_bdata(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_ids_in_single_precision_are_refused(write_by_hand, tmp_path):
    columns = {"Run": np.ones(4), "stimulus_id": np.full(4, 1443537.022563)}
    path = write_by_hand(tmp_path / "a.h5", columns, dtype=np.float32)
    with pytest.raises(InputError, match=r"stimulus_id: expected float64, .*float32$"):
        read_bdata(path)


@pytest.mark.parametrize("by", [contents.by_bdpy, contents.by_h5py])
def test_what_is_no_bdata_file_is_refused(
    by, write_by_hand, tmp_path, haxby, monkeypatch
):
    import h5py

    if by is contents.by_bdpy:
        pytest.importorskip("bdpy", reason="no release for this Python")
    monkeypatch.setattr(contents, "reader", lambda: by)
    with pytest.raises(InputError, match=r"a.h5: expected this file, found none$"):
        read_bdata(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(haxby.read_bytes()[:100_000])
    (tmp_path / "c.txt").write_text("spam")
    (tmp_path / "m.mat").write_text("spam")
    savemat(tmp_path / "whole.mat", {"dataset": np.ones(99)}, do_compression=True)
    (tmp_path / "n.mat").write_bytes((tmp_path / "whole.mat").read_bytes()[:-5])
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"] = 1
    for name in ("b.h5", "c.txt", "d.h5", "m.mat", "n.mat", "whole.mat"):
        with pytest.raises(InputError, match=r"expected a BData file \(") as caught:
            read_bdata(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)
    columns = {"Run": np.ones(4)}
    path = write_by_hand(tmp_path / "e.h5", columns, flags={"VoxelData": np.zeros(3)})
    with pytest.raises(
        InputError, match=r"e.h5: expected columns VoxelData, found Voxel"
    ):
        read_bdata(path)
    path = write_by_hand(tmp_path / "f.h5", columns)
    with h5py.File(path, "r+") as file:
        value = file["metadata/value"][:, :-1]
        del file["metadata/value"]
        file["metadata/value"] = value
    with pytest.raises(
        InputError, match=r"metadata VoxelData: expected 4 ent.*found 3$"
    ):
        read_bdata(path)
    path = write_by_hand(tmp_path / "g.h5", columns)
    with h5py.File(path, "r+") as file:
        file["metadata/value"][1] = 1
    with pytest.raises(
        InputError, match=r"g.h5: Run: expected one column, found 4 mark"
    ):
        read_bdata(path)


def test_wrong_arguments_are_refused(haxby):
    with pytest.raises(
        InputError, match=r"^BData: expected a file or more, found none"
    ):
        read_bdata([])
    with pytest.raises(
        InputError, match=r"^data_type: expected one of training, .*'tes"
    ):
        read_bdata(haxby, data_type="tes")
    with pytest.raises(
        InputError, match=r"DataType: expected .* found none with a type"
    ):
        read_bdata(haxby, data_type="test")
    with pytest.raises(
        InputError, match=r"slice.h5: roi: expected one of ROI_ALL, .*RI"
    ):
        read_bdata(haxby, roi="ROI_L")


def test_memory_holds_one_copy_more_at_most(subject, tmp_path):
    made = subject(runs=20, blocks=5, length=5, voxels=3000)
    write_bdata(tmp_path / "a.h5", made)
    read_bdata(tmp_path / "a.h5")
    tracemalloc.start()
    try:
        read_bdata(tmp_path / "a.h5")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    doubles = 8 * made.x.size
    assert doubles < peak < 2 * doubles


@pytest.mark.parametrize("dataset", [3.5, np.ones(4), np.ones((2, 2, 2)), [[b"a"]]])
def test_a_dataset_that_is_no_table_is_named(write_by_hand, tmp_path, dataset):
    import h5py

    path = tmp_path / "a.h5"
    write_by_hand(path, {"Run": np.ones(4)})
    with h5py.File(path, "r+") as file:
        del file["dataset"]
        file["dataset"] = dataset
    with pytest.raises(InputError, match=r"a\.h5: (dataset: )?expected "):
        read_bdata(path)
