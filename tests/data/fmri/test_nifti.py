import sys

import numpy as np
import pytest

from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.nifti import nifti_to_bdata
from kdjax.errors import InputError

nibabel = pytest.importorskip("nibabel", reason="the extra kdjax[fmri]")

SHAPE = (4, 5, 3)
AFFINE = np.array([[-3.0, 0, 0, 40], [0, 3, 0, -60], [0, 0, 3.5, 10], [0, 0, 0, 1]])
VOLUMES, TR = 12, 2.5
ROWS = (
    ("5", "7.5", "cat", "cats/1.png"),
    ("12.5", "5.1", "shoe", "shoes/7.png"),
    ("20", "5", "rest", "n/a"),
)


def save(path, data, *, affine=AFFINE, tr=TR, unit="sec"):
    image = nibabel.Nifti1Image(data, affine)
    if data.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
        image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)
    return path


def write_events(path, rows=ROWS, head="onset\tduration\ttrial_type\tstim_file"):
    path.write_text("\n".join([head, *("\t".join(row) for row in rows)]))
    return path


@pytest.fixture
def recording(tmp_path):
    """Two runs and two masks that share a voxel: the arguments, data, and masks."""
    rng = np.random.default_rng(0)
    data = rng.normal(500, 20, (2, *SHAPE, VOLUMES)).astype(np.float32)
    masks = np.zeros((2, *SHAPE), np.uint8)
    masks[0, 1, 2, 0] = masks[0, 1:3, 4, 2] = masks[1, 2, 4, 2] = masks[1, 3, 0, 0] = 1
    names = [f"run-{k}" for k in (1, 2)]
    arguments = {
        "images": [
            save(tmp_path / f"{n}.nii.gz", x) for n, x in zip(names, data, strict=True)
        ],
        "events": [
            write_events(tmp_path / "run-1.tsv"),
            write_events(
                tmp_path / "run-2.tsv", [*ROWS[:1], ("29", "0.2", "cat", "n/a")]
            ),
        ],
        "masks": {
            "FFA": save(tmp_path / "ffa.nii.gz", masks[0]),
            "ROI_PPA": save(tmp_path / "ppa.nii", masks[1][..., None]),
        },
        "out": tmp_path / "sub-01.h5",
    }
    return arguments, data, masks


def test_runs_become_volumes(recording, assert_same):
    arguments, data, masks = recording
    made = nifti_to_bdata(**arguments)
    inside = masks.any(0)
    expected = np.concatenate([run[inside].T for run in data])
    np.testing.assert_array_equal(made.x, expected)
    assert list(made.rois) == ["ROI_FFA", "ROI_PPA"]
    np.testing.assert_array_equal(made.rois["ROI_FFA"], masks[0][inside] == 1)
    np.testing.assert_array_equal(made.rois["ROI_PPA"], masks[1][inside] == 1)
    assert made.rois["ROI_FFA"].sum() == 3
    assert len(made.x.T) == 4
    places = np.array(np.nonzero(inside))
    mm = AFFINE @ np.concatenate([places, np.ones((1, 4))])
    np.testing.assert_allclose(made.position, mm[:3].T)
    assert made.run.tolist() == [1] * 12 + [2] * 12
    assert made.classes == ("cat", "shoe")
    # Volumes 2 to 4 are cat, 5 and 6 shoe (till 17.6 s), 8 and 9 the event rest.
    assert made.y[:12].tolist() == [-1, -1, 0, 0, 0, 1, 1, -1, -1, -1, -1, -1]
    assert made.block[:12].tolist() == [1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 6]
    assert made.stimulus[:8].tolist() == [
        *("", "", "cats/1", "cats/1", "cats/1", "shoes/7", "shoes/7", ""),
    ]
    assert made.y[12:].tolist() == [-1, -1, 0, 0, 0, -1, -1, -1, -1, -1, -1, 0]
    assert made.block[12:].tolist() == [7, 7, 8, 8, 8, 9, 9, 9, 9, 9, 9, 10]
    assert made.subject == "sub-01"
    assert set(made.data_type) == {""}
    assert_same(read_bdata(arguments["out"]), made)


def test_facts_may_be_given(recording):
    arguments, *_ = recording
    made = nifti_to_bdata(
        **arguments, subject="S7", data_type=["training", "test"], rest=("rest", "shoe")
    )
    assert made.subject == read_bdata(arguments["out"]).subject == "S7"
    assert made.data_type.tolist() == ["training"] * 12 + ["test"] * 12
    assert made.classes == ("cat",)


@pytest.mark.parametrize(
    ("tr", "unit", "given"), [(2.5, "sec", None), (2500, "msec", None), (9, "sec", 2.5)]
)
def test_seconds_come_from_the_header_or_the_argument(recording, tr, unit, given):
    arguments, data, _ = recording
    expected = nifti_to_bdata(**arguments)
    for path, run in zip(arguments["images"], data, strict=True):
        save(path, run, tr=tr, unit=unit)
    found = nifti_to_bdata(**arguments, tr=given)
    np.testing.assert_array_equal(found.y, expected.y)


@pytest.mark.parametrize(
    ("onset", "duration", "volumes"),
    [
        (0, 2.5, [0]),
        (1.25, 2.5, [0]),
        (1.3, 2.5, [1]),
        (1.3, 1.0, [0]),
        (2.4999999, 0, [1]),
        (2.5, 0, [1]),
        (27.5, 2.5, [11]),
        (26.3, 3.7, [11]),
        (0, 30, list(range(12))),
    ],
)
def test_an_event_has_the_volumes_whose_middle_it_covers(
    recording, onset, duration, volumes
):
    arguments, *_ = recording
    rows = [(f"{onset!r}", f"{duration!r}", "cat", "n/a")]
    write_events(arguments["events"][0], rows)
    made = nifti_to_bdata(**arguments)
    assert np.flatnonzero(made.y[:12] == 0).tolist() == volumes


def test_wrong_events_are_named(recording):
    arguments, *_ = recording
    cases = {
        r"run-1.tsv: line 2: expected an event in the run's 30 s, found 25 to 32.5$": [
            ("25", "7.5", "cat", "")
        ],
        r"run-1.tsv: line 2: expected an event in the run's 30 s, found 30 to 30$": [
            ("30", "0", "cat", "")
        ],
        r"run-1.tsv: line 2: .* found -2 to 3$": [("-2", "5", "cat", "")],
        r"line 3: expected one event in a volume, found two in volume 3, the other of "
        r"line 2$": [("5", "5", "cat", ""), ("7.5", "5", "shoe", "")],
        r"run-1.tsv: line 2: onset: expected seconds, found 'soon'$": [
            ("soon", "5", "cat", "")
        ],
    }
    for message, rows in cases.items():
        write_events(arguments["events"][0], rows)
        with pytest.raises(InputError, match=message):
            nifti_to_bdata(**arguments)
    for path in arguments["events"]:
        write_events(path, head="onset\tduration\tkind\tstim_file")
    with pytest.raises(InputError, match=r"run-1.tsv: expected a column trial_type"):
        nifti_to_bdata(**arguments)
    assert not arguments["out"].exists()
    found = nifti_to_bdata(**arguments, label="kind", stimulus="kind")
    assert found.classes == ("cat", "shoe")
    assert set(found.stimulus) == {"", "cat", "shoe", "rest"}


def test_files_that_do_not_fit_are_named(recording, tmp_path):
    arguments, data, masks = recording
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.5
    one = data[0]
    cases = {
        r"run-2.nii.gz: expected shape \(4, 5, 3\), as in .*run-1.*, found \(3, 5, 3": (
            "run-2.nii.gz",
            data[1][:3],
            {},
        ),
        r"run-2.nii.gz: expected the affine of .*run-1.nii.gz, found another \(by up": (
            "run-2.nii.gz",
            data[1],
            {"affine": shifted},
        ),
        r"run-2.nii.gz: expected 4 axes, found shape \(4, 5, 3\)$": (
            "run-2.nii.gz",
            data[1][..., 0],
            {},
        ),
        r"ffa.nii.gz: expected shape \(4, 5, 3\), as in": (
            "ffa.nii.gz",
            masks[0][1:],
            {},
        ),
        r"ffa.nii.gz: expected the affine of": (
            "ffa.nii.gz",
            masks[0],
            {"affine": shifted},
        ),
        r"ffa.nii.gz: expected 3 axes, found shape \(4, 5, 3, 12\)$": (
            "ffa.nii.gz",
            one,
            {},
        ),
        r"ffa.nii.gz: expected voxels above 0, found none$": (
            "ffa.nii.gz",
            0 * masks[0],
            {},
        ),
        r"run-1.nii.gz: expected a TR above 0, found 0: give tr$": (
            "run-1.nii.gz",
            one,
            {"tr": 0},
        ),
    }
    for message, (name, wrong, options) in cases.items():
        path = tmp_path / name
        before = path.read_bytes()
        save(path, wrong, **options)
        with pytest.raises(InputError, match=message) as caught:
            nifti_to_bdata(**arguments)
        assert str(caught.value).startswith(str(path))
        path.write_bytes(before)
    assert not arguments["out"].exists()


def test_damaged_and_missing_files_are_named(recording, tmp_path):
    arguments, *_ = recording
    path = arguments["images"][1]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"run-2.nii.gz: damaged or cut short \("):
        nifti_to_bdata(**arguments)
    path.write_bytes(b"spam")
    with pytest.raises(InputError, match=r"run-2.nii.gz: expected a NIfTI file \("):
        nifti_to_bdata(**arguments)
    path.unlink()
    with pytest.raises(
        InputError, match=r"run-2.nii.gz: expected this file, found none"
    ):
        nifti_to_bdata(**arguments)


def test_wrong_arguments_are_refused(recording):
    arguments, *_ = recording
    cases = [
        ({"images": []}, r"^images: expected a file or more, found none$"),
        ({"events": []}, r"^events: expected 2, one for each image, found 0$"),
        ({"data_type": ["test"]}, r"^data_type: expected 2, one for .*, found 1$"),
        ({"data_type": ["test", ""]}, r"^data_type: expected training, .*found ''$"),
        ({"masks": {}}, r"^masks: expected a file or more, found none$"),
        ({"tr": 0}, r"^tr: expected a number > 0, found 0$"),
    ]
    for changed, message in cases:
        with pytest.raises(InputError, match=message):
            nifti_to_bdata(**arguments | changed)


def test_without_nibabel_the_extra_is_named(recording, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(InputError, match=r'found none: pip install "kdjax\[fmri\]"$'):
        nifti_to_bdata(**recording[0])
