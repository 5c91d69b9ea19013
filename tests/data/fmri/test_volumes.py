import numpy as np
import pytest

from kdjax.data.fmri.volumes import check, keep_voxels, region, take
from kdjax.errors import InputError


def test_rows_and_columns_are_taken_from_every_field(subject):
    made = subject()
    rows = np.array([5, 2])
    few = take(made, rows)
    np.testing.assert_array_equal(few.x, made.x[[5, 2]])
    for name in ("run", "block", "data_type", "y", "stimulus"):
        np.testing.assert_array_equal(getattr(few, name), getattr(made, name)[rows])
    assert take(made, made.y >= 0).y.min() == 0
    assert few.classes == made.classes

    odd = keep_voxels(made, np.array([3, 1, 5]))
    np.testing.assert_array_equal(odd.x, made.x[:, [3, 1, 5]])
    assert odd.rois["ROI_VC"].tolist() == [True, True, False]
    np.testing.assert_array_equal(odd.position, made.position[[3, 1, 5]])
    assert keep_voxels(made._replace(position=None), np.array([0])).position is None


def test_a_region_is_found_by_its_exact_name(subject):
    rois = subject().rois
    where = {"where": "file"}
    assert (
        region(rois, "ROI_V2", **where).tolist() == [False] * 2 + [True] + [False] * 3
    )
    assert region(rois, ("ROI_V1", "ROI_V2"), **where).sum() == 3
    with pytest.raises(
        InputError,
        match=r"^file: roi: expected one of ROI_V1, ROI_V2, ROI_VC, found 'ROI_V'$",
    ):
        region(rois, ["ROI_V1", "ROI_V"], **where)
    with pytest.raises(InputError, match=r"expected one of none, found 'ROI_V1'$"):
        region({}, "ROI_V1", **where)
    with pytest.raises(InputError, match=r"^file: roi: expected a name or more"):
        region(rois, [], **where)
    with pytest.raises(InputError, match=r"^file: ROI_A: expected voxels in it, found"):
        region({"ROI_A": np.zeros(3, bool)}, "ROI_A", **where)


def dead(made, columns, value=0.0):
    x = made.x.copy()
    x[:, columns] = value
    return made._replace(x=x)


@pytest.mark.parametrize("value", [0.0, 7.5, np.nan])
def test_dead_voxels_are_refused_or_dropped(subject, capsys, value):
    made = dead(subject(), [2, 4], value)
    with pytest.raises(
        InputError,
        match=r"^S1: expected voxels that vary, found 2 of 6 constant, the first in "
        r"column 2$",
    ):
        check(made)
    kept = check(made, drop_constant=True)
    np.testing.assert_array_equal(kept.x, made.x[:, [0, 1, 3, 5]])
    assert kept.rois["ROI_V2"].tolist() == [False] * 4
    assert capsys.readouterr().err == (
        "kdjax: S1: 2 of 6 voxels are constant and left out\n"
    )
    with pytest.raises(
        InputError, match=r"^a.h5: expected voxels that vary, found non"
    ):
        check(dead(made, np.arange(6), value), where="a.h5", drop_constant=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("drop", [False, True])
def test_a_number_missing_is_no_dead_voxel(subject, value, drop):
    made = subject()
    made.x[7, 3] = made.x[9, 3] = made.x[8, 5] = value
    with pytest.raises(
        InputError,
        match=r"^S1: expected finite numbers, found NaN or Inf in 2 of 6 voxels, "
        r"the first in column 3, volume 7$",
    ):
        check(made, drop_constant=drop)


def test_sound_volumes_pass_unchanged(subject):
    made = subject()
    assert check(made) is made
    assert check(made, drop_constant=True) is made


def test_what_does_not_fit_is_refused(subject):
    made = subject()
    cases = {
        r"^S1: run 2: expected a class in some volume, found none \(1 such of 3": (
            made._replace(y=np.where(made.run == 2, -1, made.y).astype(np.int32))
        ),
        r"^S1: y: expected -1 to 2, found -1 to 3$": made._replace(
            y=np.where(made.y == 2, 3, made.y).astype(np.int32)
        ),
        r"^S1: y: expected -1 to 2, found -2 to 2$": made._replace(
            y=np.where(made.y == 1, -2, made.y).astype(np.int32)
        ),
        r"^S1: block: expected \(36,\), found \(35,\)$": made._replace(
            block=made.block[1:]
        ),
        r"^S1: ROI_A: expected \(6,\), found \(5,\)$": made._replace(
            rois={"ROI_A": np.ones(5, bool)}
        ),
        r"^S1: x: expected volumes and voxels, found 0 of 6 voxels$": take(
            made, np.empty(0, int)
        ),
    }
    for message, wrong in cases.items():
        with pytest.raises(InputError, match=message):
            check(wrong)
