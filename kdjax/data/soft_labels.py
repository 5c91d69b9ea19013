"""Soft labels: a teacher's logits keyed by example id, in one file.

`soft_labels.npz` holds key [n] str, label [n] int32, split [n] str, logits
[n, classes] float32 and header, a JSON string. They are joined by key, never by row,
and are logits: the reader applies its softmax, once.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax import files
from kdjax.data.dataset import Examples, as_float, index_batches
from kdjax.errors import InputError


class SoftLabels(NamedTuple):
    """Logits float32 `[n, classes]` with label int `[n]` and split str `[n]`."""

    label: np.ndarray
    split: np.ndarray
    logits: np.ndarray


def write_soft_labels(
    path: Path,
    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    splits: Mapping[str, Examples],
    header: Mapping[str, Any],
    *,
    batch_size: int = 512,
) -> None:
    """Writes `predict(x [batch_size, ...]) -> logits` of every split's examples.

    `label` is each example's `y` as it is: -1 where training has none.
    """
    logits = []
    for examples in splits.values():
        for batch in index_batches(len(examples.y), batch_size):
            rows = predict(as_float(examples.x[batch["index"]]))
            logits.append(rows[batch["mask"] > 0])
    arrays: dict[str, Any] = {
        "key": np.concatenate([examples.key for examples in splits.values()]),
        "label": np.concatenate([examples.y for examples in splits.values()]),
        "split": np.concatenate([[k] * len(v.y) for k, v in splits.items()]),
        "logits": np.concatenate(logits),
        "header": np.array(json.dumps(dict(header))),
    }
    files.write(path, functools.partial(np.savez, **arrays))


def read_soft_labels(path: Path, *, classes: int) -> SoftLabels | None:
    """The soft labels in a file, None where there is none; InputError if damaged."""
    if not path.exists():
        return None
    labels = files.read_arrays(path, SoftLabels)
    expected = (labels.label.size, classes)
    if labels.logits.shape != expected:
        raise InputError(
            f"{path}: logits: expected shape {expected}, found {labels.logits.shape}"
        )
    return labels
