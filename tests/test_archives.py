"""NumPy's files of strangers: sizes are checked before a byte is unpacked."""

import io
import struct
import zipfile

import numpy as np
import pytest

from kdjax import archives
from kdjax.errors import InputError


def npy(array):
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def write_npz(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def lying(shape):
    """An array whose header says another shape."""
    content = npy(np.zeros(3))
    return content.replace(b"(3,)", shape.encode(), 1)


def test_arrays_are_read_in_their_order(tmp_path):
    arrays = {"b": np.arange(3), "a": np.array(["x", "yy"]), "c": np.ones((2, 0))}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = archives.read_npz(tmp_path / "a.npz", expected="arrays")
    assert list(found) == ["b", "a", "c"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    np.save(tmp_path / "a.npy", np.arange(4.0))
    np.testing.assert_array_equal(archives.read_npy(tmp_path / "a.npy"), range(4))


def test_a_zip_that_unpacks_to_more_than_the_memory_is_not_unpacked(
    tmp_path, monkeypatch
):
    path = write_npz(tmp_path / "a.npz", {"x": npy(np.zeros(100_000))})
    assert path.stat().st_size < 2000
    monkeypatch.setattr(archives, "most_bytes", lambda: 700_000)
    unpacked = []
    monkeypatch.setattr(np, "load", lambda *_, **__: unpacked.append(1))
    with pytest.raises(InputError, match=r"expected at most 0\.000652 GiB, half of"):
        archives.read_npz(path, expected="arrays")
    assert not unpacked


def test_the_bound_is_half_of_the_memory():
    assert 2**28 < archives.most_bytes() < 2**46


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # 8 TB, and a product that no 64 bits hold: never allocated
        (lying("(1000000000000,)"), r"a\.npz: x: damaged: expected 8,000,000,000,128"),
        (lying("(10**9, 10**9, 10**9)"), "expected arrays, found"),
        (lying("(-3,)"), "damaged"),
        (lying("(2,)"), "damaged: expected 144 bytes for float64"),
        (npy(np.array([{}, None])), "x: expected plain numbers or text, found objects"),
        (b"", "expected arrays, found EOF"),
        (b"\x93NUMPY\x03\x00" + struct.pack("<I", 0), r"an array of format \(3, 0\)"),
        (npy(np.zeros(3)).replace(b"'descr'", b"'des\nc'"), "expected arrays, found"),
        (npy(np.zeros(3)).replace(b"{'d", b"(((", 1), "expected arrays, found"),
    ],
)
def test_a_header_is_held_against_the_bytes(tmp_path, content, message):
    path = write_npz(tmp_path / "a.npz", {"x": content})
    with pytest.raises(InputError, match=message) as raised:
        archives.read_npz(path, expected="arrays")
    assert "\n" not in str(raised.value)
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npy"):
        archives.read_npy(tmp_path / "x.npy")


def test_what_is_no_archive(tmp_path):
    with pytest.raises(InputError, match="expected arrays, found no such file"):
        archives.read_npz(tmp_path / "a.npz", expected="arrays")
    (tmp_path / "a.npz").write_bytes(npy(np.zeros(3)))
    with pytest.raises(InputError, match="expected arrays, found File is not a zip"):
        archives.read_npz(tmp_path / "a.npz", expected="arrays")
    with pytest.raises(InputError, match="expected this file, found none"):
        archives.read_npy(tmp_path / "a.npy")
