"""A representational dissimilarity matrix (RDM) in a file, its rows by example key.

`rdm.npz` holds key [n] str and rdm [n, n] float32, NaN where a pair has no
dissimilarity. Rows are joined by key, never by their place.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from kdjax import files
from kdjax.data.dataset import rows_of
from kdjax.data.dissimilarities import check_rdm

FILE = "rdm.npz"


class Stored(NamedTuple):
    """The arrays of the file."""

    key: np.ndarray
    rdm: np.ndarray


def write_rdm(path: Path, *, key: np.ndarray, rdm: Num[np.ndarray, "n n"]) -> None:
    """Writes an RDM and the keys of its rows."""
    files.write_arrays(path, {"key": key, "rdm": rdm.astype(np.float32)})


def read_rdm(path: Path, key: np.ndarray) -> Float[np.ndarray, "m m"]:
    """The RDM of the examples of these keys, in their order, in float64.

    InputError if the file is absent or damaged, its RDM is not symmetric or holds Inf,
    or a key stands in it twice or not at all.
    """
    stored = files.read_arrays(path, Stored)
    where, images = f"{path}: rdm", stored.key.size
    rdm = check_rdm(stored.rdm, where=where, images=images, missing=True)
    rows = rows_of(stored.key, key, where=f"{path}: key")
    return rdm[np.ix_(rows, rows)]
