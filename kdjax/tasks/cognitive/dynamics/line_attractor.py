"""`line_attractor_test`: whether points lie along a line that the dynamics keep."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kdjax.errors import InputError
from kdjax.tasks.cognitive.dynamics.fixed_points import linearised
from kdjax.tasks.cognitive.dynamics.flows import Flow, States


class LineAttractor(NamedTuple):
    """What was measured of the points, in their order along the first component.

    verdict: whether every threshold is met. points: their number.
    variance: the first principal component's share of the points' variance.
    length: from the first to the last point along it.
    slowest, second: ms of each point's slowest mode (infinite if it neither falls nor
      grows) and of its next: the size of the time constant, infinite if it grows.
    angle: degrees between the slowest mode and the points' local direction.
    lines: the share of points at which slowest, second and angle meet theirs.
    """

    verdict: bool
    points: int
    variance: float
    length: float
    slowest: Float[np.ndarray, " points"]
    second: Float[np.ndarray, " points"]
    angle: Float[np.ndarray, " points"]
    lines: float


def line_attractor_test(
    flow: Flow,
    states: Float[np.ndarray, "points units"],
    *,
    points: int = 5,
    variance: float = 0.9,
    slow: float = 1000.0,
    ratio: float = 10.0,
    angle: float = 15.0,
    share: float = 0.9,
) -> LineAttractor:
    """Whether fixed or slow points lie along a line attractor, with what was measured.

    It is one if there are at least `points` points; their first principal component
    holds at least `variance` of their variance; and at a `share` of them the slowest
    mode lasts at least `slow` ms and at least `ratio` times the next, which falls, and
    is within `angle` degrees of the direction from the point before to the point after.
    A ring or a strongly bent line has little variance in one component: lower
    `variance` for these. InputError for fewer than 2 points or fewer than 2 units.
    """
    if states.ndim != 2 or min(states.shape) < 2:
        raise InputError(
            f"states: expected 2 points or more of 2 units or more, found "
            f"{states.shape}"
        )
    centred = states - states.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    along = centred @ axes[0]
    order = np.argsort(along)
    x = states[order]
    direction = np.gradient(x, axis=0)
    total = np.square(sizes).sum()
    explained = float(np.square(sizes[0]) / total) if total > 0 else 0.0
    _, rates, modes = linearised(flow, x)
    with np.errstate(divide="ignore"):
        slowest = 1 / np.abs(rates[:, 0].real)
        second = np.where(rates[:, 1].real < 0, -1 / rates[:, 1].real, np.inf)
    degrees = _angle(modes[:, :, 0], direction)
    line = (slowest >= slow) & (slowest >= ratio * second) & (degrees <= angle)
    line &= np.isfinite(second)
    verdict = len(x) >= points and explained >= variance and line.mean() >= share
    return LineAttractor(
        bool(verdict),
        len(x),
        explained,
        float(np.ptp(along)),
        slowest,
        second,
        degrees,
        float(line.mean()),
    )


def _angle(mode: np.ndarray, direction: States) -> Float[np.ndarray, " points"]:
    """Degrees between each direction and the line, or plane, of a (complex) mode."""
    cosines = []
    for vector, way in zip(mode, direction, strict=True):
        basis = np.stack([vector.real, vector.imag], axis=1)
        left, sizes, _ = np.linalg.svd(basis, full_matrices=False)
        left = left[:, sizes > 1e-9 * sizes[0]]
        length = np.linalg.norm(way)
        cosines.append(float(np.linalg.norm(left.T @ way) / length) if length else 0)
    return np.degrees(np.arccos(np.clip(cosines, 0, 1)))
