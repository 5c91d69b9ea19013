"""Where bdpy is absent, as above Python 3.11, BData files alone cannot be read."""

import sys

import pytest

from kdjax.data.fmri import bdata
from kdjax.data.fmri.bdata import read_bdata
from kdjax.data.fmri.writing import write_bdata
from kdjax.errors import InputError


@pytest.fixture(autouse=True)
def absent(monkeypatch):
    for name in ("bdpy", "h5py"):
        monkeypatch.setitem(sys.modules, name, None)


def test_its_absence_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(bdata, "NO_BDPY", (4, 0))
    with pytest.raises(
        InputError, match=r"^BData: expected bdpy, found none: install "
    ):
        read_bdata(tmp_path / "a.h5")
    monkeypatch.setattr(bdata, "NO_BDPY", (3, 0))
    with pytest.raises(
        InputError, match=r"bdpy has no release for Python 3.\d+, use 3."
    ):
        read_bdata(tmp_path / "a.h5")


def test_nothing_is_written(subject, tmp_path):
    with pytest.raises(InputError, match=r"^BData: expected h5py, found none: install"):
        write_bdata(tmp_path / "a.h5", subject())
    assert not list(tmp_path.iterdir())
