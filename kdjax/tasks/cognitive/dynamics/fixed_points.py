"""`find`: the fixed and slow points of a network at held inputs, each certified."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import threadpoolctl
from jaxtyping import Bool, Float, Int, Shaped

from kdjax.errors import InputError
from kdjax.tasks.cognitive.dynamics.flows import BATCH, ArrayLike, Flow, States

FIXED, SLOW, UNFINISHED, KINK = "fixed", "slow", "unfinished", "kink"
SHARES = 0.5 ** np.arange(6)  # of a Newton step that are tried, longest first
LEAST_DAMPING = 1e-3  # less would amplify rounding errors along a line of points
TRIES = 40  # of a damping four times larger: 1e24
WIDTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # of rounded kinks
WHOLE_STEPS = 10  # of Newton before any is shortened
LONGEST = 1e3  # a longer one leads nowhere
RELAXED, RELAXING = 4, 25  # how often, and for how many steps of tau / 5

Search = Callable[[Flow, States], tuple[np.ndarray, np.ndarray]]


class Points(NamedTuple):
    """The points where searches ended, smallest q first; of each start, which one.

    states; q = |F|^2 / 2; status: "fixed", "slow" (a local minimum of q that is not 0)
    or "unfinished" (out of iterations).
    eigenvalues: of the linearised dynamics, longest-lived first: of a flow those of
    diag(1 / tau) J in 1/ms, of a map those of its own Jacobian dG/dx.
    time_constants: ms in which each mode falls (or, negative, grows) by e.
    periods: ms of one turn of each complex mode; infinite for a real one.
    unstable: the number of growing modes. stable: whether there are none.
    ends, ends_q, point: of each start where its search ended, q there, and the index
    of its point.
    """

    states: Float[np.ndarray, "points units"]
    q: Float[np.ndarray, " points"]
    status: Shaped[np.ndarray, " points"]
    eigenvalues: Shaped[np.ndarray, "points units"]
    time_constants: Float[np.ndarray, "points units"]
    periods: Float[np.ndarray, "points units"]
    unstable: Int[np.ndarray, " points"]
    stable: Bool[np.ndarray, " points"]
    ends: Float[np.ndarray, "starts units"]
    ends_q: Float[np.ndarray, " starts"]
    point: Int[np.ndarray, " starts"]


def find(
    flow: Flow,
    starts: ArrayLike,
    *,
    tolerance: float = 1e-20,
    distance: float = 1e-5,
    singular: float = 1e5,
    flat: float = 1e-7,
    iterations: int = 200,
) -> Points:
    """The fixed and slow points that a search from each start [n, units] ends at.

    First a few whole Newton steps are taken, and where kinks of ReLU defeat them, again
    after the dynamics themselves have led on for a while: most starts are then at a
    point. The others begin anew. Each iteration takes Newton's step, halved until q
    falls. Where J is near singular
    (|J^-1| at least `singular`), where plain Newton would throw points along a line
    attractor, or where no share of Newton's step is downhill, it takes a
    Levenberg-Marquardt step instead: (J^T J + S + mu |F|) s = -J^T F, with S the rest
    of q's Hessian and mu from the last step's success. A start leaves the batch as
    "fixed" once q < `tolerance`, and as "slow" once q has no slope,
    |J^T F| <= `flat` |F|. Where a kink of ReLU leaves no step downhill, the search
    goes on with the kinks rounded over 0.1, ... 1e-6 of the drive; its end is "fixed"
    if the flow itself gets below `tolerance` from there, else "slow": a minimum to that
    precision.

    Ends of one status are one point if they lie within `distance` (1 + |x|) of the one
    of them with the smallest q, which stands for them all.
    """
    x = _checked(flow, starts)
    search = functools.partial(
        _search,
        tolerance=tolerance,
        singular=singular,
        flat=flat,
        iterations=iterations,
    )
    # several threads on such small matrices wait for one another: 50 times slower
    whole = functools.partial(
        _undamped,
        tolerance=tolerance,
        singular=singular,
        iterations=min(iterations, WHOLE_STEPS),
    )
    quick: list[Search] = [whole]
    if flow.rounded is not None:
        quick.append(functools.partial(_relaxed, whole))
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        return _points(flow, *_ends(flow, x, search, quick, distance), distance)


def _ends(
    flow: Flow, x: States, search: Search, quick: Sequence[Search], distance: float
) -> tuple[States, Shaped[np.ndarray, " n"]]:
    """(where each start ends, its status), past kinks where it meets them."""
    x, status = x.copy(), np.full(len(x), UNFINISHED)
    for attempt in quick:
        at = np.flatnonzero(status == UNFINISHED)
        if len(at):
            ends, fixed = attempt(flow, x[at])
            x[at[fixed]], status[at[fixed]] = ends[fixed], FIXED
    at = np.flatnonzero(status == UNFINISHED)
    if len(at):
        x[at], status[at] = search(flow, x[at])
    at = np.flatnonzero((status == KINK) | (status == UNFINISHED))
    if len(at) and flow.rounded is not None:
        x[at], status[at] = _past_kinks(flow, x[at], search, distance)
    # without a kink, only the arithmetic's precision can hide a way down
    return x, np.where(status == KINK, SLOW, status)


def _search(
    flow: Flow,
    x: States,
    *,
    tolerance: float,
    singular: float,
    flat: float,
    iterations: int,
) -> tuple[States, Shaped[np.ndarray, " n"]]:
    """(where each start ends, its status)."""
    x, status = x.copy(), np.full(len(x), UNFINISHED)
    damping = np.ones(len(x))
    F, left = flow.drift(x), np.arange(len(x))
    for _ in range(iterations):
        status[left[_q(F) < tolerance]] = FIXED
        going = status[left] == UNFINISHED
        left, F = left[going], F[going]
        if not len(left):
            break
        x[left], F, stuck = _newton(flow, x[left], F, singular)
        if stuck.any():
            at = left[stuck]
            x[at], F[stuck], damping[at], status[at] = _levenberg_marquardt(
                flow, x[at], F[stuck], damping[at], flat
            )
    return x, status


def _undamped(
    flow: Flow, x: States, *, tolerance: float, singular: float, iterations: int
) -> tuple[States, Bool[np.ndarray, " n"]]:
    """(where a few whole Newton steps lead, whether that is a fixed point).

    q need not fall at each: so most starts are at a point at once, kinks or not.
    """
    x, left = x.copy(), np.arange(len(x))
    fixed = np.zeros(len(x), bool)
    for _ in range(iterations):
        F = flow.drift(x[left])
        fixed[left] = _q(F) < tolerance
        F, left = F[~fixed[left]], left[~fixed[left]]
        if not len(left):
            break
        steps, inverse = flow.newton(x[left], F)
        near = (inverse < singular) & (np.linalg.norm(steps, axis=1) < LONGEST)
        left = left[near]
        x[left] += steps[near]
    return x, fixed


def _relaxed(
    whole: Search, flow: Flow, x: States
) -> tuple[States, Bool[np.ndarray, " n"]]:
    """(where the dynamics lead and whole Newton steps from there, whether fixed)."""
    x, ends = x.copy(), x.copy()
    fixed = np.zeros(len(x), bool)
    for _ in range(RELAXED):
        left = np.flatnonzero(~fixed)
        if not len(left):
            break
        for _ in range(RELAXING):
            x[left] += flow.drift(x[left]) / 5
        x[left] = np.nan_to_num(x[left])
        ends[left], fixed[left] = whole(flow, x[left])
    return ends, fixed


def _past_kinks(
    flow: Flow,
    x: States,
    search: Search,
    distance: float,
) -> tuple[States, Shaped[np.ndarray, " n"]]:
    """Searches on with the kinks rounded, less and less, and then not at all.

    Starts whose ends have become one point go on as one.
    """
    assert flow.rounded is not None
    point = np.arange(len(x))
    for width in WIDTHS:
        smooth = flow.rounded(width)
        x, rounded = search(smooth, x)
        best, joined = _merge(x, _q(smooth.drift(x)), rounded, distance)
        x, rounded, point = x[best], rounded[best], joined[point]
    ends, status = search(flow, x)
    fixed = status == FIXED
    x = np.where(fixed[:, None], ends, x)
    slow = np.where(rounded == UNFINISHED, UNFINISHED, SLOW)
    return x[point], np.where(fixed, FIXED, slow)[point]


def _merge(
    ends: States, q: np.ndarray, status: np.ndarray, distance: float
) -> tuple[Int[np.ndarray, " points"], Int[np.ndarray, " n"]]:
    """(the ends that stand for points, by q; which point each end is)."""
    point = np.full(len(ends), -1)
    best: list[int] = []
    for i in np.argsort(q, kind="stable"):
        if point[i] < 0:
            free = np.flatnonzero((point < 0) & (status == status[i]))
            apart = np.linalg.norm(ends[free] - ends[i], axis=1)
            near = apart <= distance * (1 + np.linalg.norm(ends[i]))
            point[free[near]] = len(best)
            best.append(int(i))
    return np.array(best), point


def _checked(flow: Flow, starts: ArrayLike) -> States:
    x = np.array(starts, np.float64)
    units = "units" if flow.units is None else flow.units
    if x.ndim != 2 or not len(x) or flow.units not in (None, x.shape[1]):
        raise InputError(f"starts: expected [n, {units}], found {x.shape}")
    bad = ~np.isfinite(x).all(1)
    if bad.any():
        raise InputError(
            f"starts: expected finite numbers, found {bad.sum()} of {len(x)} starts "
            f"with NaN or infinity, the first at row {bad.argmax()}"
        )
    return x


def _q(F: States) -> Float[np.ndarray, " n"]:
    return np.einsum("nu,nu->n", F, F) / 2


def _newton(
    flow: Flow, x: States, F: States, singular: float
) -> tuple[States, States, Bool[np.ndarray, " n"]]:
    """(states, their F, whether Newton's step was of no use and x is as before)."""
    steps, inverse = flow.newton(x, F)
    q, x, F = _q(F), x.copy(), F.copy()
    stuck = np.ones(len(x), bool)
    untried = np.flatnonzero(inverse < singular)
    for share in SHARES:
        new = x[untried] + share * steps[untried]
        F_new = flow.drift(new)
        lower = _q(F_new) <= (1 - 0.1 * share) * q[untried]
        done, untried = untried[lower], untried[~lower]
        x[done], F[done], stuck[done] = new[lower], F_new[lower], False
        if not len(untried):
            break
    return x, F, stuck


def _levenberg_marquardt(
    flow: Flow, x: States, F: States, damping: np.ndarray, flat: float
) -> tuple[np.ndarray, ...]:
    """(states, their F, the next damping, status) after one step of each."""
    parts = [
        _one_batch(
            flow, x[i : i + BATCH], F[i : i + BATCH], damping[i : i + BATCH], flat
        )
        for i in range(0, len(x), BATCH)
    ]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _one_batch(
    flow: Flow, x: States, F: States, damping: np.ndarray, flat: float
) -> tuple[np.ndarray, ...]:
    J = flow.jacobian(x)
    hessian = J.transpose(0, 2, 1) @ J + flow.curvature(x, F)
    slope = np.einsum("nij,ni->nj", J, F)
    size, q = np.linalg.norm(F, axis=1), _q(F)
    x, F, damping = x.copy(), F.copy(), damping.copy()
    flat_here = np.linalg.norm(slope, axis=1) <= flat * size
    status = np.where(flat_here, SLOW, UNFINISHED)
    left = np.flatnonzero(~flat_here)
    for _ in range(TRIES):
        if not len(left):
            break
        added = (damping[left] * size[left])[:, None, None] * np.eye(x.shape[1])
        step = np.linalg.solve(hessian[left] + added, -slope[left, :, None])[..., 0]
        new = x[left] + step
        F_new = flow.drift(new)
        expected = -np.einsum("nu,nu->n", slope[left], step) / 2
        gain = (q[left] - _q(F_new)) / np.where(expected > 0, expected, -np.inf)
        lower = gain > 0.01
        damping[left] *= np.where(gain > 0.5, 0.25, np.where(lower, 1.0, 4.0))
        damping = np.maximum(damping, LEAST_DAMPING)
        done = left[lower]
        x[done], F[done] = new[lower], F_new[lower]
        left = left[~lower]
    status[left] = KINK
    return x, F, damping, status


def _points(flow: Flow, ends: States, status: np.ndarray, distance: float) -> Points:
    q = _q(flow.drift(ends))
    best, point = _merge(ends, q, status, distance)
    eigenvalues, rates, _ = linearised(flow, ends[best])
    with np.errstate(divide="ignore"):
        time_constants = -1 / rates.real
        periods = 2 * np.pi / np.abs(rates.imag)
    unstable = (rates.real > 0).sum(1)
    return Points(
        ends[best],
        q[best],
        status[best],
        eigenvalues,
        time_constants,
        periods,
        unstable,
        unstable == 0,
        ends,
        q,
        point,
    )


def linearised(flow: Flow, x: States) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(eigenvalues as in `Points`, rates, modes [n, units, mode]), longest-lived first.

    rates: in 1/ms, each mode goes as exp(rate t): a flow's eigenvalues, or of a map
    log(eigenvalue) / dt.
    """
    values, rates, modes = [], [], []
    for i in range(0, len(x), BATCH):
        J = flow.jacobian(x[i : i + BATCH])
        if flow.kind == "map":
            value, mode = np.linalg.eig(J + np.eye(x.shape[1]))
            rate = 1j * np.angle(value) / flow.tau
            with np.errstate(divide="ignore"):  # a mode that is gone after one step
                rate.real = np.log(np.abs(value)) / flow.tau
        else:
            tau = np.broadcast_to(flow.tau, x.shape[1:])
            value, mode = np.linalg.eig(J / tau[:, None])
            rate = value.astype(np.complex128)
        order = np.argsort(-rate.real, axis=1, kind="stable")
        values.append(np.take_along_axis(value.astype(np.complex128), order, 1))
        rates.append(np.take_along_axis(rate, order, 1))
        modes.append(np.take_along_axis(mode, order[:, None, :], 2))
    return np.concatenate(values), np.concatenate(rates), np.concatenate(modes)
