"""Dissimilarities in a file: found by key, and what does not fit is named."""

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from kdjax.data.stored_rdm import FILE, read_rdm, write_rdm
from kdjax.errors import InputError

KEY = np.array(["a", "b", "c", "d"])
RDM = squareform(np.arange(1.0, 7.0))


def written(folder, *, key=KEY, rdm=RDM):
    write_rdm(folder / FILE, key=key, rdm=rdm)
    return folder / FILE


def test_rows_are_found_by_key(tmp_path):
    path = written(tmp_path)
    np.testing.assert_array_equal(read_rdm(path, KEY), RDM)
    order = np.array([3, 0, 2])
    found = read_rdm(path, KEY[order])
    np.testing.assert_array_equal(found, RDM[np.ix_(order, order)])
    permuted = written(tmp_path, key=KEY[::-1], rdm=RDM[::-1, ::-1])
    np.testing.assert_array_equal(read_rdm(permuted, KEY), RDM)


def test_pairs_without_a_dissimilarity_stay_so(tmp_path):
    rdm = RDM.copy()
    rdm[0, 1] = rdm[1, 0] = np.nan
    np.testing.assert_array_equal(read_rdm(written(tmp_path, rdm=rdm), KEY), rdm)


def test_what_does_not_fit_is_named(tmp_path):
    with pytest.raises(InputError, match=r"rdm\.npz: key: .*none for 1 of 2.*'e'"):
        read_rdm(written(tmp_path), np.array(["a", "e"]))
    twice = written(tmp_path, key=np.array(["a", "b", "b", "d"]))
    with pytest.raises(InputError, match=r"key: expected each once, found 'b' 2 times"):
        read_rdm(twice, KEY)
    with pytest.raises(InputError, match=r"rdm: .*4 images, \(4, 4\), found \(3, 3\)"):
        read_rdm(written(tmp_path, rdm=RDM[:3, :3]), KEY)
    skewed = RDM + np.triu(np.ones((4, 4)), 1)
    with pytest.raises(InputError, match="rdm: expected a symmetric matrix"):
        read_rdm(written(tmp_path, rdm=skewed), KEY)
    with pytest.raises(InputError, match=r"rdm\.npz: expected arrays"):
        read_rdm(tmp_path / "none" / FILE, KEY)
