"""NumPy: a stage's arrays and its record, for a runtime of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdjax.export.graph import Graph

RECORD = "record"


def write(graph: Graph, path: Path) -> dict[str, Any]:
    """The arrays by their paths, "params/encoder/stem/kernel", and the record as JSON.

    No graph: what is computed with them is for the reader to write, from the record's
    `settings` and `preprocessing`.
    """
    leaves = jax.tree_util.tree_leaves_with_path(graph.predictor.model)
    arrays = {jax.tree_util.keystr(p, simple=True, separator="/"): a for p, a in leaves}
    record = json.dumps(graph.predictor.record)
    with path.open("wb") as file:
        stored: dict[str, Any] = {RECORD: record, **arrays}
        np.savez(file, **stored)
    with np.load(path, allow_pickle=False) as found:
        same = all(np.array_equal(found[name], a) for name, a in arrays.items())
    if not same or set(found.files) != {RECORD, *arrays}:
        raise OSError(f"{path}: its arrays are not those that were written")
    return {"arrays": len(arrays)}
