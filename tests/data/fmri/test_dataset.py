"""A subject's blocks as a dataset: whole runs in each split, each cleaned by itself."""

import numpy as np
import pytest

from kdjax import data
from kdjax.data.fmri import preprocessing
from kdjax.data.fmri.bdata import read_bdata
from kdjax.errors import InputError


@pytest.fixture
def haxby(shared_data):
    return str(shared_data / "haxby" / "haxby2001_sub001_slice.h5")


def load(path, seed=0, **fields):
    return data.load("bdata", seed=seed, paths=path, **{"test": (11, 12)} | fields)


def test_blocks_of_whole_runs(haxby):
    found = load(haxby, validation=2)
    sizes = [len(s.y) for s in (found.train, found.validation, found.test)]
    assert sizes == [64, 16, 16]
    assert len(found.classes) == 8
    assert set(found.test.group) == {11, 12}
    assert found.test.key[0] == "haxby2001_sub001_slice/run_11/block_172"
    for split in (found.train, found.validation, found.test):
        for run in set(split.group):
            assert sorted(split.y[split.group == run]) == list(range(8))
    others = [set(load(haxby, seed=s, validation=2).validation.group) for s in (1, 2)]
    assert len({frozenset(s) for s in others}) == 2


def test_rows_are_means_of_cleaned_volumes(haxby):
    volumes = read_bdata(haxby, roi="ROI_LEFT")
    cleaned = preprocessing.clean(volumes.x, volumes.run, order=2)
    found = load(haxby, roi="ROI_LEFT", order=2, lag=3, series=True)
    assert found.test.x.shape == (16, 227, 1)
    block = int(found.test.key[5][-3:])
    rows = np.flatnonzero(volumes.block == block) + 3
    np.testing.assert_allclose(
        found.test.x[5, :, 0], cleaned[rows].mean(axis=0), atol=1e-5
    )


def test_a_test_run_does_not_change_the_others(haxby, tmp_path):
    """Cleaning is run by run: what another run holds is no matter."""
    from kdjax.data.fmri.writing import write_bdata

    volumes = read_bdata(haxby)
    changed = volumes._replace(x=volumes.x.copy())
    changed.x[volumes.run >= 11] *= 3
    paths = tmp_path / "a" / "s.h5", tmp_path / "b" / "s.h5"
    for path, each in zip(paths, (volumes, changed), strict=True):
        write_bdata(path, each)
    one, other = (load(str(path)) for path in paths)
    np.testing.assert_array_equal(one.train.x, other.train.x)
    np.testing.assert_array_equal(one.train.key, other.train.key)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test": None}, "config.data.test: .*no volumes of DataType test"),
        ({"test": (13,)}, r"config.data.test: expected runs of 1 to 12, found \[13\]"),
        ({"test": ()}, r"config.data.test: expected runs of 1 to 12, found \[\]"),
        ({"validation": 10}, r"config.data.validation: .*in \[1, 9\], found 10"),
        ({"roi": "ROI_V1"}, "roi: expected one of ROI_ALL, .*found 'ROI_V1'"),
        ({"lag": -1}, "config.data.lag: expected an integer >= 0, found -1"),
    ],
)
def test_fields_that_do_not_fit_are_named(haxby, fields, message):
    with pytest.raises(InputError, match=message):
        load(haxby, **fields)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.h5: expected this file, found none"):
        load(str(tmp_path / "none.h5"))


@pytest.fixture
def seen(tmp_path, subject):
    """A subject's file of training and test runs, and the folder of what was shown."""
    from PIL import Image

    from kdjax.data.fmri.writing import write_bdata

    made = subject(runs=4, blocks=7, length=1)
    write_bdata(tmp_path / "S1.h5", made)
    shown = made.data_type == "training"
    for key in made.stimulus[shown & (made.y >= 0)]:
        folder = tmp_path / "images" / "train" / str(key).split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(key), 0, 0)).save(folder / f"{key}.png")
    return made, tmp_path


def test_rows_are_keyed_by_the_image_that_was_shown(seen):
    made, folder = seen
    path, images = str(folder / "S1.h5"), folder / "images"
    found = load(path, test=[3], lag=0, images=str(images))
    rows = np.flatnonzero((made.data_type == "training") & (made.y >= 0))
    keys = np.concatenate([s.key for s in (found.train, found.validation, found.test)])
    shown = {f"train/{k.split('_')[0]}/{k}.png" for k in made.stimulus[rows]}
    assert set(keys) == shown
    assert len(keys) == len(rows) == 18
    (images / "val").symlink_to(images / "train")
    student = data.load(
        "image_folder", root=str(images), size=8, seed=0, validation=0.3
    )
    assert set(student.train.key) < shown
    assert student.classes == found.classes


def test_an_image_that_is_not_there_or_was_shown_twice_is_named(seen):
    from kdjax.data.fmri.writing import write_bdata

    made, folder = seen
    images = folder / "images"
    given = {"test": [3], "lag": 0, "images": str(images)}
    stimulus = made.stimulus.copy()
    stimulus[2] = stimulus[1]
    write_bdata(folder / "twice.h5", made._replace(stimulus=stimulus))
    with pytest.raises(InputError, match=r"unique keys, found 'train/.* 2 times"):
        load(str(folder / "twice.h5"), **given)
    gone = str(made.stimulus[1])
    next(images.rglob(f"{gone}.png")).unlink()
    with pytest.raises(
        InputError, match=f"key '{gone}': expected an image, found none"
    ):
        load(str(folder / "S1.h5"), **given)


@pytest.mark.parametrize("paths", [None, []])
def test_no_file_is_said(paths):
    with pytest.raises(InputError, match=r"config\.data\.paths: expected a BData file"):
        load(paths)
