"""Embeddings: the test examples in two principal components of the representations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax import files
from kdjax.data.dataset import Examples
from kdjax.errors import InputError
from kdjax.stages.representations import Features

EMBEDDINGS = "embeddings.npz"


class Embeddings(NamedTuple):
    """Test examples in two principal components, [n, 2], their labels, and the fraction
    of the training representations' variance in each."""

    position: np.ndarray
    label: np.ndarray
    explained: np.ndarray


def write_embeddings(folder: Path, test: Examples, features: Features) -> None:
    """Writes EMBEDDINGS; the components are those of the training representations."""
    from sklearn.decomposition import PCA  # imported here: it takes a second

    pca = PCA(2, random_state=0).fit(features.x[features.train])
    arrays: dict[str, Any] = {
        "key": test.key,
        "label": test.y,
        "position": pca.transform(features.x[-len(test.y) :]).astype(np.float32),
        "explained": pca.explained_variance_ratio_.astype(np.float32),
    }
    files.write(folder / EMBEDDINGS, lambda file: np.savez(file, **arrays))


def read_embeddings(path: Path, classes: int) -> Embeddings:
    """What `write_embeddings` wrote; InputError if it is damaged."""
    read = files.read_arrays(path, Embeddings)
    if read.position.shape != (read.label.size, 2) or read.label.max() >= classes:
        raise InputError(
            f"{path}: expected positions ({read.label.size}, 2) of {classes} classes, "
            f"found {read.position.shape} of {read.label.max() + 1}"
        )
    return read
