"""Attention maps in a file: joined by key, and what is wrong is named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdjax.data.stored_attention import FILE, overlaps, read_attention, write_attention
from kdjax.errors import InputError

RNG = np.random.default_rng(0)
KEY = np.array(["a", "b", "c", "d"])
MAPS = RNG.dirichlet(np.ones(6), size=4).reshape(4, 2, 3).astype(np.float32)
FOLD = np.array([0, 1, 1, -1])


def written(folder, **changes):
    arrays = {"key": KEY, "fold": FOLD, "maps": MAPS} | changes
    write_attention(folder / FILE, **arrays, header={"seed": 3})
    return folder / FILE


def test_maps_are_found_by_key(tmp_path):
    path = written(tmp_path)
    key, fold, maps = read_attention(path, KEY[[3, 0, 2]])
    np.testing.assert_array_equal(maps, MAPS[[3, 0, 2]])
    np.testing.assert_array_equal(fold, [-1, 0, 1])
    np.testing.assert_array_equal(key, ["d", "a", "c"])
    order = RNG.permutation(4)
    path = written(tmp_path, key=KEY[order], fold=FOLD[order], maps=MAPS[order])
    np.testing.assert_array_equal(read_attention(path, KEY).maps, MAPS)
    with np.load(path, allow_pickle=False) as file:
        assert json.loads(str(file["header"])) == {"seed": 3}


def changed(value):
    maps = MAPS.copy()
    maps[1, 1, 2] = value
    return maps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": changed(np.nan)}, "maps: expected shares that sum to 1, .* in 'b'"),
        ({"maps": changed(-0.1)}, "maps: expected shares .* found -0.1 to .* in 'b'"),
        ({"maps": changed(2.0)}, "maps: expected shares that sum to 1, .* in 'b'"),
        ({"fold": FOLD[:2]}, r"maps: expected \[n, rows, columns\] and fold \[n\]"),
        ({"key": KEY[:3]}, r"key: expected \(4,\), one for each map, found \(3,\)"),
        (
            {"key": np.array(["a", "a", "c", "d"])},
            "key: .* found 'a' 2 times",
        ),
        (
            {"key": np.array(["a", "x", "c", "d"])},
            "key: .*none for 1 of 4, .* 'b'",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    arrays = {"key": KEY, "fold": FOLD, "maps": MAPS} | changes
    np.savez(tmp_path / FILE, **arrays)
    with pytest.raises(InputError, match=rf"attention\.npz: {message}"):
        read_attention(tmp_path / FILE, KEY)


def test_no_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"attention\.npz: .*no such file"):
        read_attention(tmp_path / FILE, KEY)


@given(st.integers(1, 12), st.integers(1, 12))
def test_overlaps_are_means_over_what_is_covered(places, cells):
    """As counted on a grid so fine that it divides both."""
    found = overlaps(places, cells)
    fine = np.arange(places * cells)
    expected = np.zeros((cells, places))
    np.add.at(expected, (fine // places, fine // cells), 1 / places)
    np.testing.assert_allclose(found, expected, atol=1e-12)
