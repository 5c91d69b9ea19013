"""Where bdpy is absent, as above Python 3.11, h5py reads BData files."""

import sys

import pytest

from kdjax.data.fmri import contents
from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.writing import write_bdata
from kdjax.errors import InputError


@pytest.fixture
def absent(monkeypatch):
    def absent(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return absent


def test_h5py_reads_what_bdpy_would(absent, subject, assert_same, tmp_path):
    write_bdata(tmp_path / "a.h5", subject(synthetic=True))
    absent("bdpy")
    assert contents.reader() is contents.by_h5py
    assert_same(read_bdata(tmp_path / "a.h5"), subject(synthetic=True))


@pytest.mark.parametrize(("first", "wanted"), [((4, 0), "bdpy"), ((3, 0), "h5py")])
def test_the_absence_of_both_is_said(absent, monkeypatch, tmp_path, first, wanted):
    absent("bdpy", "h5py")
    monkeypatch.setattr(contents, "NO_BDPY", first)
    with pytest.raises(InputError) as caught:
        read_bdata(tmp_path / "a.h5")
    said = "BData: expected bdpy or h5py, found none: install "
    assert str(caught.value) == said + wanted


def test_nothing_is_written(absent, subject, tmp_path):
    absent("bdpy", "h5py")
    with pytest.raises(InputError, match=r"^BData: expected h5py, found none: install"):
        write_bdata(tmp_path / "a.h5", subject())
    assert not list(tmp_path.iterdir())
