"""Recurrent networks in continuous time (CTRNN): one cell, three kinds of state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from kdjax.checks import boolean, integer, number, one_of
from kdjax.errors import InputError
from kdjax.losses import euler_step
from kdjax.models.layers import DTYPES, WHERE
from kdjax.models.recurrent import Recurrent, uniform

Tree = Any

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "retanh": lambda x: jnp.tanh(jax.nn.relu(x)),
    "tanh": jnp.tanh,
}
STATES = ("rate", "leak_inside", "voltage")
SOLVERS = ("euler", "heun", "rk4")
STARTS = ("uniform", "normal", "orthogonal", "identity")
PARAMETERS = ("input", "recurrent", "bias", "readout", "readout_bias")


class Weights(NamedTuple):
    """A CTRNN's weights with its constraints applied, kernels as [in, out].

    recurrent: [units, units], or of a network of low rank the factors [units, rank] and
    [rank, units] whose product it is. drive: the last of them, the input's and the bias
    below one another, [units or rank + inputs + 1, units]. alpha: dt / tau, [units].
    """

    input: Array
    recurrent: tuple[Array, ...]
    bias: Array
    drive: Array
    readout: Array
    readout_bias: Array
    initial: Array
    alpha: Array

    @property
    def matrix(self) -> Array:
        """The recurrent weights as one matrix."""
        first, *rest = self.recurrent
        return first @ rest[0] if rest else first


class CTRNN(Recurrent):
    """A CTRNN with a linear readout o = r W_out + b_out, stepped by `dt` ms.

    With the drive d(r) = r W + u W_in + b, the state is by `state`

        "rate"         r,  tau r' = -r + f(d(r)): the leak outside of f
        "leak_inside"  r,  r <- f((1 - a) r + a d(r)), a = dt / tau: a map
        "voltage"      x,  tau x' = -x + d(f(x)),  r = f(x)

    Parameters: `input`, `recurrent` (of low rank `recurrent_in`, `recurrent_out`),
    `bias`, `readout`, `readout_bias`, and `initial`, `tau` where they are learnt. The
    collection `constraints` holds what is imposed on them, as numbers, so that networks
    with other constraints are one program: `recurrent`, the mask of the weights;
    `sign` of each unit's weights, 0 where it is free (Dale's law); `input_sign`, 1
    where inputs excite; `readout`, the mask of the units that are read.
    """

    dt: float = 20.0
    tau: float = 100.0
    learn_tau: bool = False
    state: str = "rate"
    solver: str = "euler"
    activation: str = "relu"
    recurrent_noise: float = 0.0
    input_noise: float = 0.0
    noise_inside: bool = True
    learn_initial: bool = False
    start: str = "uniform"
    spectral_radius: float | None = None
    rank: int | None = None
    frozen: tuple[str, ...] = ()

    def setup(self) -> None:
        units, inputs, outputs = self.units, self.inputs, self.outputs
        self._input = self.param("input", uniform(inputs), (inputs, units))
        if self.rank is None:
            matrix = self.param("recurrent", self._first, (units, units))
            self._recurrent: tuple[Array, ...] = (matrix,)
        else:
            draw = jax.nn.initializers.normal(1 / math.sqrt(units))
            self._recurrent = (
                self.param("recurrent_in", draw, (units, self.rank)),
                self.param("recurrent_out", draw, (self.rank, units)),
            )
        zeros = jax.nn.initializers.zeros
        self._bias = self.param("bias", zeros, (units,))
        self._readout = self.param("readout", uniform(units), (units, outputs))
        self._readout_bias = self.param("readout_bias", zeros, (outputs,))
        if self.learn_initial:
            self._initial = self.param("initial", zeros, (units,))
        if self.learn_tau:
            # tau = dt (1 + softplus(w)): never below dt, where Euler's step overshoots
            more = self.tau / self.dt - 1
            at = more + math.log(-math.expm1(-more))  # softplus(at) = more
            self._tau = self.param("tau", jax.nn.initializers.constant(at), (units,))

        def constraint(name: str, value: float, shape: tuple[int, ...]) -> Array:
            made = self.variable("constraints", name, jnp.full, shape, value)
            return made.value

        self._mask = constraint("recurrent", 1.0, (units, units))
        self._sign = constraint("sign", 0.0, (units,))
        self._input_sign = constraint("input_sign", 0.0, ())
        self._read = constraint("readout", 1.0, (units,))

    @property
    def held(self) -> tuple[str, ...]:
        factors = ("recurrent_in", "recurrent_out")
        parts = {} if self.rank is None else {"recurrent": factors}
        return tuple(p for name in self.frozen for p in parts.get(name, (name,)))

    def _first(self, key: Array, shape: tuple[int, ...]) -> Array:
        units = shape[0]
        draws: dict[str, Callable[[], Array]] = {
            "uniform": lambda: uniform(units)(key, shape),
            "normal": lambda: jax.random.normal(key, shape) / math.sqrt(units),
            "orthogonal": lambda: jax.nn.initializers.orthogonal()(key, shape),
            "identity": lambda: jnp.eye(units),
        }
        weights = draws[self.start]()
        if self.spectral_radius is None:
            return weights
        return weights * (self.spectral_radius / spectral_radius(weights))

    def weights(self) -> Weights:
        def free(name: str, value: Array) -> Array:
            frozen = name in self.frozen
            return jax.lax.stop_gradient(value) if frozen else value

        into, read = free("input", self._input), free("readout", self._readout)
        into = jnp.where(self._input_sign > 0, jnp.abs(into), into)
        recurrent = tuple(free("recurrent", factor) for factor in self._recurrent)
        if self.rank is None:
            recurrent = (constrained(recurrent[0], self._mask, self._sign),)
        bias = free("bias", self._bias)
        ratio = self.dt / self.tau
        alpha = jnp.full((self.units,), ratio)
        if self.learn_tau:
            alpha = 1 / (1 + jax.nn.softplus(self._tau))
        return Weights(
            into,
            recurrent,
            bias,
            jnp.concatenate([recurrent[-1], into, bias[None, :]]),
            read * self._read[:, None],
            free("readout_bias", self._readout_bias),
            self._initial if self.learn_initial else jnp.zeros(self.units),
            alpha,
        )

    def begin(self, weights: Weights, batch: int) -> Array:
        return jnp.broadcast_to(weights.initial[None, :], (batch, self.units))

    def rates(self, state: Array) -> Array:
        return ACTIVATIONS[self.activation](state) if self._of_voltage else state

    @property
    def _of_voltage(self) -> bool:
        return self.state == "voltage"

    def advance(
        self, weights: Weights, state: Array, u: Array, keys: Array | None
    ) -> Array:
        alpha = weights.alpha[None, :]
        inside: Array | float = 0.0
        outside: Array | float = 0.0
        on_inputs, own = self._noise(keys)
        if on_inputs is not None:
            # by sqrt(2 / alpha), so that what a unit integrates does not depend on dt
            u = u + math.sqrt(2 * self.tau / self.dt) * on_inputs
        if own is not None and self.noise_inside:
            inside = jnp.sqrt(2 / alpha) * own
        elif own is not None:
            outside = jnp.sqrt(2 * alpha) * own
        given = jnp.concatenate([u, jnp.ones_like(u[:, :1])], axis=1)

        def drive(rates: Array) -> Array:
            for factor in weights.recurrent[:-1]:
                rates = self._times(rates, factor)
            # one product for units, inputs and bias: at 512 units 7 % less of a step
            everything = jnp.concatenate([rates, given], axis=1)
            return self._times(everything, weights.drive) + inside

        return self._solve(drive, weights.alpha, state) + outside

    def _times(self, x: Array, matrix: Array) -> Array:
        """`x @ matrix` in the network's dtype, as x has it."""
        if self.dtype == "float32":  # or wider: as x is
            return x @ matrix
        return (x.astype(self.dtype) @ matrix.astype(self.dtype)).astype(x.dtype)

    def _noise(self, keys: Array | None) -> tuple[Array | None, Array | None]:
        """The noise of a step on the inputs, and on the units; None where it is 0."""
        sizes = (
            self.inputs if self.input_noise else 0,
            self.units if self.recurrent_noise else 0,
        )
        if keys is None or not sum(sizes):
            return None, None
        drawn = jax.vmap(lambda key: jax.random.normal(key, (sum(sizes),)))(keys)
        on_inputs = self.input_noise * drawn[:, : sizes[0]] if sizes[0] else None
        own = self.recurrent_noise * drawn[:, sizes[0] :] if sizes[1] else None
        return on_inputs, own

    def _solve(
        self, drive: Callable[[Array], Array], alpha: Array, state: Array
    ) -> Array:
        """A step of dt, with what `drive` adds to the rates' part held constant."""
        f = ACTIVATIONS[self.activation]
        if self.state != "voltage" and self.solver == "euler":
            inside = self.state == "leak_inside"
            now = drive(state)
            return euler_step(state, now, alpha=alpha, activation=f, leak_inside=inside)

        def change(x: Array) -> Array:
            towards = drive(f(x)) if self._of_voltage else f(drive(x))
            return alpha[None, :] * (towards - x)

        first = change(state)
        if self.solver == "euler":
            return state + first
        if self.solver == "heun":
            return state + (first + change(state + first)) / 2
        second = change(state + first / 2)
        third = change(state + second / 2)
        last = change(state + third)
        return state + (first + 2 * second + 2 * third + last) / 6


def constrained(recurrent: Array, mask: Array, sign: Array) -> Array:
    """Recurrent weights [in, out] under a mask and the signs of the units they leave.

    A unit of sign s has the weights s |w|; of sign 0, w. The gradient of a masked
    weight is exactly 0.
    """
    signs = sign[:, None]
    return jnp.where(signs == 0, recurrent, jnp.abs(recurrent) * signs) * mask


def spectral_radius(matrix: Array) -> Array:
    """The largest absolute eigenvalue, computed on the host: not every device can."""

    def on_host(matrix: ArrayLike) -> np.ndarray:
        values = np.linalg.eigvals(np.asarray(matrix, np.float64))
        return np.asarray(np.abs(values).max(), shape.dtype)

    shape = jax.ShapeDtypeStruct((), matrix.dtype)
    return jax.pure_callback(on_host, shape, matrix)


def ctrnn(
    *,
    inputs: int,
    outputs: int,
    dt: float,
    units: Any = 128,
    tau: Any = 100.0,
    learn_tau: Any = False,
    state: Any = "rate",
    solver: Any = "euler",
    activation: Any = "relu",
    output_activation: Any = "linear",
    recurrent_noise: Any = 0.0,
    input_noise: Any = 0.0,
    noise_inside: Any = True,
    learn_initial: Any = False,
    start: Any = "uniform",
    spectral_radius: Any = None,
    rank: Any = None,
    frozen: Any = (),
    chunk: Any = None,
    dtype: Any = "float32",
) -> CTRNN:
    """A CTRNN of `units` units for trials of `inputs` and `outputs` at steps of dt ms.

    Args:
      tau: the time constant in ms, above dt; with `learn_tau` where each unit's starts.
      state: "rate", "leak_inside" or "voltage", three dynamical systems (`CTRNN`).
      solver: "euler", "heun" or "rk4", the input held constant over a step; of
        "leak_inside", which is a map, only "euler".
      activation: "relu", "softplus", "retanh" (tanh of ReLU) or "tanh".
      output_activation: "linear", or "sigmoid" for outputs in [0, 1].
      recurrent_noise, input_noise: SD of what is added to each unit's drive, and to
        each input, in training: white noise, scaled by sqrt(2 tau / dt) so that the
        variance s^2 that it gives to a linear unit at steady state hardly depends on
        dt: 2 s^2 / (2 - dt / tau). Rectified it has a mean, which does: of "rate" about
        s sqrt(tau / dt / pi). With `noise_inside` false it is added to the state
        instead, by sqrt(2 dt / tau), and may take a rate below 0.
      learn_initial: learn the state at the first step, which is 0 otherwise.
      start: of the recurrent weights: "uniform", +-1/sqrt(units) as PyTorch's linear
        layer; "normal", of variance 1/units; "orthogonal"; or "identity".
      spectral_radius: scale them to this largest absolute eigenvalue.
      rank: of the recurrent weights, learnt as two factors; None: full.
      frozen: parameters that stay as they start: "input", "recurrent", "bias",
        "readout", "readout_bias".
      chunk: see `Recurrent.fold`; None: by the memory that is needed.
      dtype: of the products in a step, "float32" or "bfloat16"; see `Recurrent`.

    An InputError names a field with a value it cannot take.
    """
    where = f"{WHERE}."
    integer(units, low=1, where=where + "units")
    number(tau, above=0, where=where + "tau")
    if dt >= tau:
        raise InputError(
            f"{where}tau: expected more than a step, config.trials.dt ({dt:g} ms), "
            f"found {tau!r}"
        )
    for name, value in (
        ("learn_tau", learn_tau),
        ("noise_inside", noise_inside),
        ("learn_initial", learn_initial),
    ):
        boolean(value, where=where + name)
    for name, value, known in (
        ("state", state, STATES),
        ("solver", solver, SOLVERS),
        ("activation", activation, tuple(ACTIVATIONS)),
        ("output_activation", output_activation, ("linear", "sigmoid")),
        ("start", start, STARTS),
        ("dtype", dtype, DTYPES),
    ):
        one_of(value, known, where=where + name)
    if state == "leak_inside" and solver != "euler":
        raise InputError(
            f"{where}solver: 'leak_inside' is a map, which only 'euler' steps; "
            f"found {solver!r}"
        )
    number(recurrent_noise, low=0, where=where + "recurrent_noise")
    number(input_noise, low=0, where=where + "input_noise")
    if spectral_radius is not None:
        number(spectral_radius, above=0, where=where + "spectral_radius")
    if rank is not None:
        integer(rank, low=1, high=units, where=where + "rank")
        if spectral_radius is not None:
            raise InputError(
                f"{where}spectral_radius: expected none beside a rank, "
                f"found {spectral_radius!r}"
            )
    if chunk is not None:
        integer(chunk, low=0, where=where + "chunk")
    if not isinstance(frozen, list | tuple):
        raise InputError(f"{where}frozen: expected names, found {frozen!r}")
    for name in frozen:
        one_of(name, PARAMETERS, where=where + "frozen")
    return CTRNN(
        inputs=inputs,
        outputs=outputs,
        units=units,
        chunk=chunk,
        dt=float(dt),
        tau=float(tau),
        learn_tau=learn_tau,
        state=state,
        solver=solver,
        activation=activation,
        output_activation=output_activation,
        recurrent_noise=float(recurrent_noise),
        input_noise=float(input_noise),
        noise_inside=noise_inside,
        learn_initial=learn_initial,
        start=start,
        spectral_radius=spectral_radius,
        rank=rank,
        frozen=tuple(frozen),
        dtype=dtype,
    )
