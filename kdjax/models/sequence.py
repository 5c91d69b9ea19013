"""Classifiers of series by a recurrent network, alone or beside an FCN.

LSTM-FCN: Karim et al., IEEE Access 2018. Its LSTM reads time step by step here; tsai's
by default is given the channels as if they were time. Theirs drops .8 of the LSTM's
outputs in training; this one has no dropout.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from kdjax.checks import integer
from kdjax.models.fcn import FCN
from kdjax.models.layers import WHERE, check_series
from kdjax.models.ops.batch_norm import BatchNorm, Norm
from kdjax.models.ops.products import product

GATES = {"lstm": 4, "gru": 3}


class RecurrentLayer(nn.Module):
    """An LSTM or GRU (`kind`): x [batch, time, channels] -> h [batch, time, units].

    LSTM: `i, f, o = sigmoid`, `g = tanh` of `x W + h U + b`; `c = f c + i g`,
    `h = o tanh(c)`. GRU: `r, z = sigmoid(x W + h U + b)`,
    `n = tanh(x W + b + r (h U + b'))`, `h = (1 - z) n + z h`. The products with x are
    one, for all steps; the state between steps is float32.
    """

    units: int = 100
    kind: str = "lstm"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"]
    ) -> Float[Array, "batch time units"]:
        gates = GATES[self.kind] * self.units
        initial = nn.initializers.lecun_normal()
        w = self.param("input_kernel", initial, (x.shape[-1], gates))
        u = self.param("kernel", nn.initializers.orthogonal(), (self.units, gates))
        b = self.param("bias", nn.initializers.zeros, (gates,))
        given = product(x, w.astype(x.dtype)).astype(jnp.float32) + b[None, None]
        u = u.astype(x.dtype)
        zeros = jnp.zeros((x.shape[0], self.units))
        begin: tuple[Array, ...]
        if self.kind == "lstm":
            begin, step = (zeros, zeros), self._lstm
        else:
            inner = self.param("inner_bias", nn.initializers.zeros, (self.units,))
            begin, step = (zeros,), self._gru(inner)

        def advance(state: tuple[Array, ...], given: Array) -> tuple[Any, Array]:
            of_h = (state[0].astype(x.dtype) @ u).astype(jnp.float32)
            state = step(state, given, of_h)
            return state, state[0].astype(x.dtype)

        _, h = lax.scan(advance, begin, jnp.swapaxes(given, 0, 1))
        return jnp.swapaxes(h, 0, 1)

    def _lstm(
        self, state: tuple[Array, ...], given: Array, of_h: Array
    ) -> tuple[Array, ...]:
        i, f, o, g = jnp.split(given + of_h, 4, axis=-1)
        c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    def _gru(self, inner: Array) -> Any:
        def step(
            state: tuple[Array, ...], given: Array, of_h: Array
        ) -> tuple[Array, ...]:
            r, z, n = jnp.split(given, 3, axis=-1)
            r_h, z_h, n_h = jnp.split(of_h, 3, axis=-1)
            r, z = jax.nn.sigmoid(r + r_h), jax.nn.sigmoid(z + z_h)
            n = jnp.tanh(n + r * (n_h + inner[None]))
            return ((1 - z) * n + z * state[0],)

        return step


class LastStep(nn.Module):
    """A recurrent layer and its output at the last step.

    Features: `steps` [batch, time, units] and `last` [batch, units].
    """

    units: int = 100
    kind: str = "lstm"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        del train  # the same in training and evaluation
        check_series(x)
        steps = RecurrentLayer(self.units, self.kind, name=self.kind)(x)
        return OrderedDict(steps=steps, last=steps[:, -1])


class LSTMFCN(nn.Module):
    """An LSTM's last output beside an FCN's mean over time.

    Features: the FCN's layers, `steps` [batch, time, units], and `joined`.
    """

    units: int = 100
    batch_norm: Norm = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> OrderedDict[str, Array]:
        check_series(x)
        features = FCN(batch_norm=self.batch_norm, name="fcn")(x, train=train)
        pooled = features.pop("pooled")
        features["steps"] = steps = RecurrentLayer(self.units, "lstm", name="lstm")(x)
        features["joined"] = jnp.concatenate([steps[:, -1], pooled], axis=-1)
        return features


def last_step(kind: str, *, batch_norm: Norm = BatchNorm, units: Any = 100) -> LastStep:
    """An LSTM or GRU (`kind`) of `units` units, one layer; InputError."""
    del batch_norm  # it has none
    return LastStep(integer(units, low=1, where=f"{WHERE}.units"), kind)


def lstm_fcn(*, batch_norm: Norm = BatchNorm, units: Any = 100) -> LSTMFCN:
    """An LSTM of `units` units beside an FCN of 128, 256, 128; InputError."""
    return LSTMFCN(integer(units, low=1, where=f"{WHERE}.units"), batch_norm)
