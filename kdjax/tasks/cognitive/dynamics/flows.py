"""`Flow`: how a network's state changes while its inputs are held, in float64.

NumPy, because LAPACK on batches is what searches for fixed points need; only what has
no analytic Jacobian here (`map_flow`) goes through JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.special import expit, ndtr

from kdjax.errors import InputError, lookup
from kdjax.tasks.cognitive.trials.trial import Held

Kind = Literal["flow", "map"]
States = Float[np.ndarray, "n units"]
Jacobians = Float[np.ndarray, "n units units"]
ArrayLike = Any  # what np.asarray takes: lists, NumPy and JAX arrays
Function = Callable[[np.ndarray], np.ndarray]

WIDTH = 9.0  # of the noise, in standard deviations: beyond them lies 1e-19 of it
QUADRATURE = np.polynomial.legendre.leggauss(100)
BATCH = 64  # of Jacobians at 128 units: 8 MiB


class Newton(NamedTuple):
    """Newton's steps -J^-1 F, and for each a lower bound of |J^-1|."""

    steps: States
    inverse: Float[np.ndarray, " n"]


class Flow(NamedTuple):
    """A network's dynamics at held inputs: tau x' = F(x), or the map x <- x + F(x).

    drift: states [n, units] -> F [n, units], without dimension. F = 0 is a fixed point.
    jacobian: states -> J [n, units, units], J[i, j] = dF_i / dx_j.
    newton: (states, their F) -> Newton.
    curvature: (states, their F) -> sum_i F_i d2 F_i / dx2 [n, units, units]; with J^T J
      it is the Hessian of |F|^2 / 2.
    rounded: width -> the flow with its kinks rounded over that width of the drive; None
      where there are no kinks.
    tau: ms, one or one per unit; of a map the ms of one step, dt.
    units: of a state; None where any number will do.
    """

    drift: Callable[[States], States]
    jacobian: Callable[[States], Jacobians]
    newton: Callable[[States, States], Newton]
    curvature: Callable[[States, States], Jacobians]
    rounded: Callable[[float], Flow] | None
    tau: np.ndarray
    units: int | None
    kind: Kind


class Activation(NamedTuple):
    """A firing rate of its drive, and two derivatives.

    kinked: 0 below 0, with a slope that jumps to 1 there.
    """

    value: Function
    slope: Function
    curve: Function
    kinked: bool


def _tanh_slope(h: np.ndarray) -> np.ndarray:
    return 1 - np.square(np.tanh(h))


def _tanh_curve(h: np.ndarray) -> np.ndarray:
    return -2 * np.tanh(h) * _tanh_slope(h)


ACTIVATIONS = {
    "relu": Activation(
        lambda h: np.maximum(h, 0), lambda h: (h > 0) * 1.0, np.zeros_like, True
    ),
    "softplus": Activation(
        lambda h: np.logaddexp(h, 0), expit, lambda h: expit(h) * expit(-h), False
    ),
    "retanh": Activation(
        lambda h: np.tanh(np.maximum(h, 0)),
        lambda h: (h > 0) * _tanh_slope(h),
        lambda h: (h > 0) * _tanh_curve(h),
        True,
    ),
    "tanh": Activation(np.tanh, _tanh_slope, _tanh_curve, False),
}


def held_drive(
    held: Held, weights: ArrayLike, bias: ArrayLike
) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
    """What held inputs drive each unit with: (mean, standard deviation of the noise).

    mean = u W_in + b; std_i^2 = sum_j W_in[j, i]^2 std_j^2, the inputs' noise being
    independent.
    """
    w = np.asarray(weights, np.float64)
    if len(held.mean) != len(w) or np.shape(bias) != w.shape[1:]:
        raise InputError(
            f"held inputs: expected {w.shape[0]} means and {w.shape[1]} biases for "
            f"weights {w.shape}, found {len(held.mean)} and {np.shape(bias)}"
        )
    std = np.sqrt(np.square(held.std) @ np.square(w))
    return held.mean @ w + np.asarray(bias, np.float64), std


def rate_flow(
    recurrent: ArrayLike,
    drive: ArrayLike,
    activation: str,
    tau: ArrayLike,
    noise: ArrayLike | None = None,
) -> Flow:
    """tau r' = -r + f(r W + drive), W in-by-out: J = -1 + diag(f') W^T.

    With `noise`, the drift averaged over Gaussian noise of the drive, of this standard
    deviation in each unit: tau r' = -r + E[f(r W + drive + noise z)]. That is the drift
    by which mean rates move while noise is shown; it takes no account of how the rates
    themselves fluctuate.
    """
    w, d, tau = _checked(recurrent, drive, tau)
    std = np.zeros(len(w)) if noise is None else _vector(noise, len(w), "noise")
    f = averaged(activation, std)

    def drift(x: States) -> States:
        return f.value(x @ w + d) - x

    def jacobian(x: States) -> Jacobians:
        return f.slope(x @ w + d)[:, :, None] * w.T - np.eye(len(w))

    def newton(x: States, F: States) -> Newton:
        # s = F + g (s W); so u = s W solves u = F W + (g u) W
        u, inverse = _through_active(w, f.slope(x @ w + d), F @ w)
        return Newton(F + u, inverse)

    def curvature(x: States, F: States) -> Jacobians:
        return (w * (F * f.curve(x @ w + d))[:, None, :]) @ w.T

    def rounded(width: float) -> Flow:
        return rate_flow(w, d, activation, tau, np.hypot(std, width))

    return Flow(
        drift,
        jacobian,
        newton,
        curvature,
        rounded if f.kinked else None,
        tau,
        len(w),
        "flow",
    )


def voltage_flow(
    recurrent: ArrayLike,
    drive: ArrayLike,
    activation: str,
    tau: ArrayLike,
) -> Flow:
    """tau x' = -x + f(x) W + drive, W in-by-out: J = -1 + W^T diag(f').

    There is no noise-averaged form: noise of the inputs is added to x' outside of f, so
    its average drops out of the drift.
    """
    w, d, tau = _checked(recurrent, drive, tau)
    return _voltage_flow(w, d, activation, tau, 0.0)


def _voltage_flow(
    w: np.ndarray, d: np.ndarray, activation: str, tau: np.ndarray, width: float
) -> Flow:
    f = averaged(activation, np.full(len(w), width))

    def drift(x: States) -> States:
        return f.value(x) @ w + d - x

    def jacobian(x: States) -> Jacobians:
        return w.T * f.slope(x)[:, None, :] - np.eye(len(w))

    def newton(x: States, F: States) -> Newton:
        # s = F + (g s) W
        y, inverse = _through_active(w, f.slope(x), F)
        return Newton(F + y @ w, inverse)

    def curvature(x: States, F: States) -> Jacobians:
        return ((F @ w.T) * f.curve(x))[:, :, None] * np.eye(len(w))

    def rounded(width: float) -> Flow:
        return _voltage_flow(w, d, activation, tau, width)

    return Flow(
        drift,
        jacobian,
        newton,
        curvature,
        rounded if f.kinked else None,
        tau,
        len(w),
        "flow",
    )


def map_flow(step: Callable[[Array], Array], dt: float) -> Flow:
    """The map x <- G(x) of one state [units], a JAX function: F = G(x) - x.

    For LSTM, GRU (a state of several arrays is joined to one) and networks with the
    leak inside of f. `step` is traced in float64; J comes from `jax.jacfwd`.
    """

    def bent(x: Array, F: Array) -> Array:
        return jax.hessian(lambda y: step(y) @ F)(x)

    values, slopes, bends = (
        jax.jit(jax.vmap(function)) for function in (step, jax.jacfwd(step), bent)
    )

    def drift(x: States) -> States:
        new = _in_float64(values, x)
        if new.shape != x.shape:
            raise InputError(
                f"starts: expected a map of {x.shape[1]} units to as many, found "
                f"{new.shape[1:]}"
            )
        return new - x

    def jacobian(x: States) -> Jacobians:
        return _in_float64(slopes, x) - np.eye(x.shape[1])

    def newton(x: States, F: States) -> Newton:
        parts = [
            _solve(-jacobian(x[i : i + BATCH]), F[i : i + BATCH])
            for i in range(0, len(x), BATCH)
        ]
        steps, inverse = zip(*parts, strict=True)
        return Newton(np.concatenate(steps), np.concatenate(inverse))

    def curvature(x: States, F: States) -> Jacobians:
        return _in_float64(bends, x, F)

    tau = np.asarray(float(dt))
    return Flow(drift, jacobian, newton, curvature, None, tau, None, "map")


def averaged(activation: str, std: Float[np.ndarray, " units"]) -> Activation:
    """E[f(h + std z)] over z ~ N(0, 1), with its derivative by h; f where std is 0.

    ReLU in closed form: h Phi(h / std) + std phi(h / std), derivative Phi(h / std).
    Others by Gauss-Legendre quadrature of f(h + std z) phi(z) over |z| < 9, begun at
    the kink where f has one (Gauss-Hermite's error falls there only as 1 / nodes);
    tanh to 1e-12 up to std = 1, to 1e-6 at 3.
    """
    f = lookup(activation, ACTIVATIONS, where="activation")
    noisy = std > 0
    s = np.where(noisy, std, 1.0)

    def density(h: np.ndarray) -> np.ndarray:
        return np.exp(-np.square(h / s) / 2) / np.sqrt(2 * np.pi)

    def mean_of(function: Function) -> Function:
        def mean(h: np.ndarray) -> np.ndarray:
            low = np.clip(-h / s, -WIDTH, WIDTH) if f.kinked else -WIDTH
            half = (WIDTH - low) / 2
            total = np.zeros_like(h)
            for node, weight in zip(*QUADRATURE, strict=True):
                z = low + half * (node + 1)
                total += weight * function(h + s * z) * np.exp(-np.square(z) / 2)
            return half * total / np.sqrt(2 * np.pi)

        return mean

    def curve(h: np.ndarray) -> np.ndarray:
        inside = np.zeros_like(h) if activation == "relu" else mean_of(f.curve)(h)
        return inside + density(h) / s if f.kinked else inside

    if activation == "relu":
        value: Function = lambda h: h * ndtr(h / s) + s * density(h)  # noqa: E731
        slope: Function = lambda h: ndtr(h / s)  # noqa: E731
    else:
        value, slope = mean_of(f.value), mean_of(f.slope)
    if not noisy.any():
        return f
    if noisy.all():
        return Activation(value, slope, curve, False)

    def either(own: Function, mean: Function) -> Function:
        return lambda h: np.where(noisy, mean(h), own(h))

    return Activation(
        either(f.value, value),
        either(f.slope, slope),
        either(f.curve, curve),
        f.kinked,
    )


def _checked(
    recurrent: ArrayLike, drive: ArrayLike, tau: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    w = np.asarray(recurrent, np.float64)
    if w.ndim != 2 or w.shape[0] != w.shape[1] or not np.isfinite(w).all():
        raise InputError(
            f"recurrent: expected finite weights [units, units], found {w.shape}"
        )
    t = np.asarray(tau, np.float64)
    if t.shape not in ((), (len(w),)) or not (np.isfinite(t) & (t > 0)).all():
        raise InputError(f"tau: expected ms > 0, one or {len(w)}, found {tau!r}")
    return w, _vector(drive, len(w), "drive"), t


def _vector(values: ArrayLike, units: int, where: str) -> np.ndarray:
    vector = np.asarray(values, np.float64)
    if vector.shape != (units,) or not np.isfinite(vector).all():
        raise InputError(
            f"{where}: expected {units} finite numbers, found {vector.shape}"
        )
    return vector


def _in_float64(function: Callable[..., Array], *arrays: States) -> np.ndarray:
    """Of batches padded to a power of two: few sizes are compiled."""
    n, units = arrays[0].shape
    padded = np.zeros((len(arrays), 1 << (n - 1).bit_length(), units))
    padded[:, :n] = arrays
    try:
        with jax.enable_x64(True):
            return np.asarray(function(*map(jax.numpy.asarray, padded)))[:n]
    except TypeError as error:
        raise InputError(
            f"starts: the map does not take states of {units} units: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _through_active(
    w: np.ndarray, gain: States, rhs: States
) -> tuple[np.ndarray, np.ndarray]:
    """g v, where v = rhs + (g v) W; only units whose gain g is not 0 are solved for.

    A ReLU network's other units follow from these: exact, and the systems are small.
    """
    active = gain != 0
    counts = active.sum(1)
    order = np.argsort(counts)
    out, inverse = np.zeros_like(rhs), np.ones(len(rhs))
    for i in range(0, len(order), BATCH):
        rows = order[i : i + BATCH]
        k = int(counts[rows[-1]])
        if k > len(w) // 2:
            g = gain[rows]
            matrix = w.T * -g[:, None, :]
            v = rhs[rows]
        else:
            # the k units of each start: its active ones, and others whose gain is 0
            units = np.argsort(~active[rows], axis=1, kind="stable")[:, :k]
            g = np.take_along_axis(gain[rows], units, 1)
            matrix = w.T[units[:, :, None], units[:, None, :]] * -g[:, None, :]
            v = np.take_along_axis(rhs[rows], units, 1)
        matrix[:, range(matrix.shape[1]), range(matrix.shape[1])] += 1
        v, inverse[rows] = _solve(matrix, v)
        if k > len(w) // 2:
            out[rows] = g * v
        else:
            np.put_along_axis(part := np.zeros((len(rows), len(w))), units, g * v, 1)
            out[rows] = part
    return out, inverse


def _solve(matrix: np.ndarray, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(matrix^-1 rhs, |matrix^-1 p| for a fixed p of length 1); inf if singular."""
    n, k = rhs.shape
    probe = np.random.default_rng(k).choice([-1.0, 1.0], k) / np.sqrt(max(k, 1))
    both = np.stack([rhs, np.broadcast_to(probe, rhs.shape)], axis=-1)
    try:
        both = np.linalg.solve(matrix, both)
    except np.linalg.LinAlgError:  # one of the batch is exactly singular
        return np.zeros_like(rhs), np.full(n, np.inf)
    return both[..., 0], np.linalg.norm(both[..., 1], axis=1)
