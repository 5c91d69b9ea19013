"""Gated recurrent networks, LSTM and GRU: what CTRNNs are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from kdjax.checks import integer, one_of
from kdjax.models.layers import DTYPES, WHERE
from kdjax.models.recurrent import Recurrent, uniform

Tree = Any
CELLS: dict[str, Callable[..., nn.RNNCellBase]] = {
    "lstm": nn.OptimizedLSTMCell,
    "gru": nn.GRUCell,
}


class Weights(NamedTuple):
    """The cell's parameters as flax has them, and the readout's."""

    cell: Tree
    readout: Array
    readout_bias: Array


class Gated(Recurrent):
    """flax's LSTM or GRU cell (`kind`) with a linear readout of its output h.

    Its `rates` are h. It has no time constant and no noise.
    """

    kind: str = "gru"

    @property
    def _cell(self) -> nn.RNNCellBase:
        dtype = None if self.dtype == "float32" else self.dtype  # None: as x is
        return CELLS[self.kind](self.units, dtype=dtype, parent=None)

    def setup(self) -> None:
        def first(key: Array) -> Tree:
            begin, u = self._zeros(1), jnp.zeros((1, self.inputs))
            return self._cell.init(key, begin, u)["params"]

        self._params = self.param("cell", first)
        shape = (self.units, self.outputs)
        self._readout = self.param("readout", uniform(self.units), shape)
        zeros = jax.nn.initializers.zeros
        self._readout_bias = self.param("readout_bias", zeros, (self.outputs,))

    def weights(self) -> Weights:
        return Weights(self._params, self._readout, self._readout_bias)

    def _zeros(self, batch: int) -> Tree:
        zeros = jnp.zeros((batch, self.units))
        return (zeros, zeros) if self.kind == "lstm" else zeros

    def begin(self, weights: Weights, batch: int) -> Tree:
        del weights
        return self._zeros(batch)

    def rates(self, state: Tree) -> Array:
        h: Array = state[1] if self.kind == "lstm" else state
        return h

    def advance(
        self, weights: Weights, state: Tree, u: Array, keys: Array | None
    ) -> Tree:
        del keys  # it has no noise
        state, _ = self._cell.apply({"params": weights.cell}, state, u)
        return state


def gated(
    kind: str,
    *,
    inputs: int,
    outputs: int,
    dt: float,
    units: Any = 128,
    output_activation: Any = "linear",
    chunk: Any = None,
    dtype: Any = "float32",
) -> Gated:
    """An LSTM or GRU (`kind`) of `units` units, stepped once every dt ms.

    The other fields are those of `kdjax.models.ctrnn.ctrnn`. An InputError names a
    field with a value it cannot take.
    """
    del dt  # a gated network knows steps alone
    integer(units, low=1, where=f"{WHERE}.units")
    known = ("linear", "sigmoid")
    one_of(output_activation, known, where=f"{WHERE}.output_activation")
    one_of(dtype, DTYPES, where=f"{WHERE}.dtype")
    if chunk is not None:
        integer(chunk, low=0, where=f"{WHERE}.chunk")
    return Gated(
        inputs=inputs,
        outputs=outputs,
        units=units,
        chunk=chunk,
        kind=kind,
        output_activation=output_activation,
        dtype=dtype,
    )
