"""Datasets by name: files read into NumPy, split by subject and standardised."""

from __future__ import annotations

from typing import Any

from kdjax.data.dataset import (
    Dataset,
    Examples,
    epoch_order,
    index_batches,
    require,
    take,
)
from kdjax.data.synthetic import synthetic_wearable
from kdjax.data.tables import arrays, digits
from kdjax.data.wearable import pamap2, uci_har
from kdjax.errors import call, lookup

LOADERS = {
    "arrays": arrays,
    "digits": digits,
    "pamap2": pamap2,
    "synthetic_wearable": synthetic_wearable,
    "uci_har": uci_har,
}

__all__ = [
    "LOADERS",
    "Dataset",
    "Examples",
    "arrays",
    "digits",
    "epoch_order",
    "index_batches",
    "load",
    "pamap2",
    "synthetic_wearable",
    "take",
    "uci_har",
]


def load(name: str, *, seed: int, **fields: Any) -> Dataset:
    """The dataset `name` of `LOADERS`, given the fields that its loader takes.

    `seed` draws the validation split (and the training labels, if only some are used);
    the test set is the same for every seed. Raises an InputError that names the field
    or the file at fault.
    """
    require(seed, 0, 2**32 - 1, where="config.seeds")
    loader = lookup(name, LOADERS, where="config.data.name")
    dataset: Dataset = call(loader, fields, where="config.data", seed=seed)
    return dataset
