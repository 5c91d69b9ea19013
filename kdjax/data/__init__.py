"""Datasets by name: files read into NumPy, split, checked and scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdjax.checks import integer
from kdjax.data.dataset import (
    UNLABELLED,
    Dataset,
    Examples,
    as_float,
    draw_fraction,
    draw_groups,
    draw_per_class,
    epoch_order,
    index_batches,
    keep_labels,
    normals,
    take,
    train_on,
)
from kdjax.data.ecg.mitbih import mitbih
from kdjax.data.ecg.records import read_beats
from kdjax.data.ecg.synthetic import synthetic_ecg
from kdjax.data.fmri.dataset import bdata, synthetic_fmri
from kdjax.data.human.human92 import human92
from kdjax.data.images import cifar10, image_folder
from kdjax.data.mocap import mocap
from kdjax.data.series.loader import series
from kdjax.data.stream import ImageFiles, read_ahead
from kdjax.data.synthetic import synthetic_wearable
from kdjax.data.tables import arrays, digits
from kdjax.data.wearable import pamap2, uci_har
from kdjax.data.wisdm import wisdm
from kdjax.errors import InputError, call, look_up_or_import

# By name: the loader, or "module:loader".
LOADERS: dict[str, Callable[..., Dataset] | str] = {
    "arrays": arrays,
    "bdata": bdata,
    "cifar10": cifar10,
    "digits": digits,
    "human92": human92,
    "image_folder": image_folder,
    "mitbih": mitbih,
    "mocap": mocap,
    "pamap2": pamap2,
    "series": series,
    "synthetic_ecg": synthetic_ecg,
    "synthetic_fmri": synthetic_fmri,
    "synthetic_wearable": synthetic_wearable,
    "uci_har": uci_har,
    "wisdm": wisdm,
}

__all__ = [
    "LOADERS",
    "UNLABELLED",
    "Dataset",
    "Examples",
    "ImageFiles",
    "arrays",
    "as_float",
    "bdata",
    "cifar10",
    "digits",
    "epoch_order",
    "human92",
    "image_folder",
    "index_batches",
    "load",
    "mitbih",
    "mocap",
    "normals",
    "pamap2",
    "read_ahead",
    "read_beats",
    "series",
    "synthetic_ecg",
    "synthetic_fmri",
    "synthetic_wearable",
    "take",
    "train_on",
    "uci_har",
    "wisdm",
]


def load(
    name: str,
    *,
    seed: int,
    labels_per_class: int | None = None,
    label_fraction: float | int | None = None,
    labelled_groups: int | None = None,
    normal_only: bool = False,
    **fields: Any,
) -> Dataset:
    """The dataset `name` of `LOADERS`, or "module:loader", of the fields that it takes.

    `seed` draws the validation split; the test set is the same for every seed.
    `labels_per_class` (a number) or `label_fraction` (of each class, in (0, 1], one at
    least) keeps so many training labels, drawn by `seed`: the other training examples
    stay, `UNLABELLED`. The labels of a smaller fraction are among those of a larger.
    `labelled_groups` keeps those of so many training groups, as of people, instead, and
    those of fewer are among those of more.
    `normal_only` keeps the training examples of class 0 alone, as a detector of
    anomalies does.

    Raises an InputError that names the field or the file at fault.
    """
    integer(seed, low=0, high=2**32 - 1, where="config.seeds")
    few = {
        "labels_per_class": labels_per_class,
        "label_fraction": label_fraction,
        "labelled_groups": labelled_groups,
    }
    given = [field for field, value in few.items() if value is not None]
    if len(given) > 1:
        raise InputError(
            f"config.data.{given[1]}: expected this or {given[0]}, found both"
        )
    loader = look_up_or_import(name, LOADERS, where="config.data.name")
    dataset: Dataset = call(loader, fields, where="config.data", seed=seed)
    dataset = dataset._replace(loader=name)
    if normal_only:
        dataset = train_on(dataset, normals(dataset.train))
    y = dataset.train.y
    if labels_per_class is not None:
        where = "config.data.labels_per_class"
        index = draw_per_class(y, count=labels_per_class, seed=seed, where=where)
    elif label_fraction is not None:
        where = "config.data.label_fraction"
        index = draw_fraction(y, fraction=label_fraction, seed=seed, where=where)
    elif labelled_groups is not None:
        where = "config.data.labelled_groups"
        group = dataset.train.group
        index = draw_groups(group, count=labelled_groups, seed=seed, where=where)
    else:
        return dataset
    return dataset._replace(train=keep_labels(dataset.train, index))
