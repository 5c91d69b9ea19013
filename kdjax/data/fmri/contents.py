"""What a BData file holds: read by bdpy, or by h5py where there is no bdpy."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from kdjax.errors import InputError

NO_BDPY = (3, 12)  # no release from this Python on


class Contents(NamedTuple):
    """`dataset` [volumes, columns]; `value` [rows, columns], a row of metadata for each
    of `keys`, says which column is what; `vmap` names the values of some columns."""

    dataset: NDArray[np.float64]
    keys: list[str]
    value: NDArray[np.float64]
    vmap: dict[str, dict[float, str]]
    header: dict[str, Any]


def reader() -> Callable[[Path], Contents]:
    """`by_bdpy` or else `by_h5py`; InputError where neither package is installed."""
    for name, read in (("bdpy", by_bdpy), ("h5py", by_h5py)):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        return read
    wanted = "h5py" if sys.version_info >= NO_BDPY else "bdpy"
    raise InputError(f"BData: expected bdpy or h5py, found none: install {wanted}")


def by_bdpy(path: Path) -> Contents:
    """A file's contents as `bdpy.BData` has them; raises whatever bdpy raises."""
    import bdpy

    data = bdpy.BData(str(path))
    vmap = {key: data.get_vmap(key) for key in data.get_vmap_keys()}
    # In a .mat file the header is an array.
    header = data.header if isinstance(data.header, dict) else {}
    return Contents(data.dataset, data.metadata.key, data.metadata.value, vmap, header)


def by_h5py(path: Path) -> Contents:
    """The same of the same file without bdpy; raises whatever h5py or SciPy raises."""
    if path.suffix == ".mat":
        return _by_scipy(path)
    if path.suffix != ".h5":
        raise ValueError(f"a name that ends in {path.suffix!r}, not in .h5 or .mat")
    import h5py

    with h5py.File(path, "r") as file:
        metadata = file["metaData" if "metaData" in file else "metadata"]
        return Contents(
            dataset=np.asarray(
                file["dataSet" if "dataSet" in file else "dataset"], dtype=float
            ),
            keys=_decoded(metadata["key"][:].tolist()),
            value=np.asarray(metadata["value"], dtype=float),
            vmap={
                key: {float(code): _decoded(name[()]) for code, name in names.items()}
                for key, names in file.get("vmap", {}).items()
            },
            header={
                key: _decoded(
                    list(fact[()]) if isinstance(fact[()], np.ndarray) else fact[()]
                )
                for key, fact in file.get("header", {}).items()
            },
        )


def _by_scipy(path: Path) -> Contents:
    """A .mat file of MATLAB's version 5 to 7.2, which the lab's older files are."""
    file = loadmat(path)
    metadata = file["metaData" if "metaData" in file else "metadata"]
    keys = [str(key[0]).strip() for key in metadata["key"][0, 0][0].tolist()]
    dataset = np.asarray(file["dataSet" if "dataSet" in file else "dataset"])
    return Contents(dataset, keys, np.asarray(metadata["value"][0, 0]), {}, {})


def _decoded(stored: Any) -> Any:
    """Bytes as text, in lists too; numbers as they are."""
    if isinstance(stored, list):
        return [_decoded(part) for part in stored]
    return stored.decode() if isinstance(stored, bytes) else stored
