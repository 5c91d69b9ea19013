"""Recordings of a population: read from a file, and matched to a network's trials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax import files
from kdjax.checks import number
from kdjax.errors import InputError, nearest
from kdjax.tasks.cognitive.dynamics.trajectories import Means, by_condition

_DIGITS = 6  # to which values of a condition are equal: a network's are float32


class Recordings(NamedTuple):
    """Trials of a brain or a network: rates, what each trial was, and the time step.

    rates: [trials, time, units], from the same moment of every trial. conditions:
    vectors [trials] by name. dt: ms, None if unknown.
    """

    rates: np.ndarray
    conditions: Mapping[str, np.ndarray]
    dt: float | None = None


class Matched(NamedTuple):
    """Condition means [conditions, time, units] of both, step by step the same.

    conditions: {name: [conditions]}. dt: ms, of their common steps.
    """

    recorded: np.ndarray
    network: np.ndarray
    conditions: dict[str, np.ndarray]
    dt: float


def read_recordings(path: Path) -> Recordings:
    """The recordings in an .npz file: `rates`, condition vectors, perhaps `dt`.

    rates: numbers [trials, time, units]. Every other array but `dt`, one number in ms,
    is a condition: numbers or text [trials]. Nothing is unpickled.

    InputError with the file and the array: absent or damaged, of another rank or
    length, empty, not numbers, NaN or infinite; or no condition at all.
    """
    arrays = files.read_all_arrays(path, "rates")
    rates = _finite(arrays.pop("rates"), path, "rates")
    if rates.ndim != 3 or rates.size == 0:
        raise InputError(
            f"{path}: rates: expected [trials, time, units], found shape {rates.shape}"
        )
    dt = arrays.pop("dt", None)
    if not arrays:
        raise InputError(
            f"{path}: expected a vector [{len(rates)}] for each condition, found none"
        )
    for name, values in arrays.items():
        if values.shape != rates.shape[:1]:
            raise InputError(
                f"{path}: {name}: expected one value for each of the {len(rates)}"
                f" trials, found shape {values.shape}"
            )
        if values.dtype.kind != "U":
            arrays[name] = _finite(values, path, name)
    return Recordings(rates.astype(np.float64), arrays, _step(dt, path))


def _finite(values: np.ndarray, path: Path, name: str) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise InputError(f"{path}: {name}: expected numbers, found {values.dtype}")
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        raise InputError(
            f"{path}: {name}: expected finite values, found {len(wrong)} that are not,"
            f" the first at {tuple(wrong[0].tolist())}"
        )
    return values


def _step(dt: np.ndarray | None, path: Path) -> float | None:
    if dt is None:
        return None
    value = dt.item() if dt.size == 1 else dt.tolist()
    return number(value, above=0, where=f"{path}: dt")


def match(recordings: Recordings, network: Recordings) -> Matched:
    """Condition means of both, of the recorded conditions, at common steps.

    A condition is a combination of the recordings' vectors; the network's further
    vectors are averaged over, and so are left out its conditions that were not
    recorded. Both begin at the same moment. Where dt differs, the finer is averaged
    over each step of the coarser, every sample standing for the dt after it; then both
    are cut to the shorter. Recordings without dt have the network's.

    InputError: a condition that the network lacks, by vector or by value; or less than
    one common step. ValueError: the network has no dt.
    """
    if network.dt is None:
        raise ValueError("network.dt: expected ms, found None")
    for name in recordings.conditions:
        if name not in network.conditions:
            raise InputError(
                f"recordings: the network has no condition {name!r}"
                f"{nearest(name, network.conditions)}"
            )
    names = list(recordings.conditions)
    recorded = by_condition(recordings.rates, recordings.conditions)
    own = by_condition(network.rates, {k: network.conditions[k] for k in names})
    place = {key: row for row, key in enumerate(_keys(own))}
    keys = _keys(recorded)
    unknown = [key for key in keys if key not in place]
    if unknown:
        raise InputError(
            f"recordings: expected conditions of the network, found"
            f" {'; '.join(_described(names, key) for key in unknown)}"
        )
    rows = [place[key] for key in keys]
    dts = (recordings.dt or network.dt, network.dt)
    dt = max(dts)
    means = [
        _coarser(rates, fine, dt)
        for rates, fine in zip((recorded.rates, own.rates[rows]), dts, strict=True)
    ]
    steps = min(m.shape[1] for m in means)
    if steps == 0:
        raise InputError(
            f"recordings: expected at least one step of {dt:g} ms in common, found none"
        )
    first, second = (m[:, :steps] for m in means)
    return Matched(first, second, recorded.conditions, dt)


def _keys(means: Means) -> list[tuple[Any, ...]]:
    """Each condition's values, rounded so that equal ones compare equal."""
    columns = [
        v.tolist() if v.dtype.kind == "U" else [f"{x:.{_DIGITS}g}" for x in v.tolist()]
        for v in means.conditions.values()
    ]
    return list(zip(*columns, strict=True))


def _described(names: list[str], key: tuple[Any, ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(names, key, strict=True))


def _coarser(rates: np.ndarray, dt: float, coarse: float) -> np.ndarray:
    """[conditions, time, units] averaged over each whole step of `coarse` ms.

    The integral of the samples, each held for dt, is read at the coarse steps' edges.
    """
    if dt == coarse:
        return rates
    integral = np.cumsum(rates, axis=1) * dt
    integral = np.concatenate([np.zeros_like(integral[:, :1]), integral], axis=1)
    end = rates.shape[1] * dt
    edges = np.arange(int(end / coarse + 1e-9) + 1) * coarse / dt
    below = np.minimum(edges.astype(int), rates.shape[1] - 1)
    part = (edges - below)[None, :, None]
    read = (1 - part) * integral[:, below] + part * integral[:, below + 1]
    return np.diff(read, axis=1) / coarse
