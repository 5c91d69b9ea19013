"""What recurrent networks share: a pass over time whose memory can be bounded."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Key

from kdjax.models.layers import Outputs

Tree = Any
# (outputs [time, batch, outputs], rates [time, batch, units], each) -> sums
Visit = Callable[[Array, Array, Tree], Tree]

MOST_KEPT = 2**25  # bytes of states that are kept for the backward pass


class Recurrent(nn.Module):
    """A recurrent network and its linear readout, `module(x, *, train)`.

    Called with x [batch, time, inputs] it returns Outputs: as logits the readout
    [batch, time, outputs], as features the `rates` [batch, time, units]. A kind of
    network gives `begin`, `advance`, `rates`, and `weights`, which have a `readout` and
    a `readout_bias`.

    chunk: how many time steps the backward pass keeps at once, as `fold` says.
    output_activation: of the readout, "linear" or "sigmoid".
    dtype: of the products with weights in a step, "float32" or "bfloat16"; the state
      between steps and the readout are float32, or small changes would be lost.
    """

    inputs: int
    outputs: int
    units: int
    chunk: int | None = None
    output_activation: str = "linear"
    dtype: str = "float32"

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the parameters that training leaves as they start."""
        return ()

    def weights(self) -> Tree:
        """What `advance` and `read` compute with, its constraints applied."""
        raise NotImplementedError

    def begin(self, weights: Tree, batch: int) -> Tree:
        """The state before the first step, its leaves [batch, units]."""
        raise NotImplementedError

    def advance(self, weights: Tree, state: Tree, u: Array, keys: Array | None) -> Tree:
        """The state after a step with inputs `u` [batch, inputs].

        keys: of this step, one for each example; None: without noise.
        """
        raise NotImplementedError

    def rates(self, state: Tree) -> Array:
        """The rates [batch, units] of a state."""
        raise NotImplementedError

    def read(self, weights: Tree, rates: Array) -> Array:
        """The outputs [..., outputs] of rates [..., units]."""
        shape = (1,) * (rates.ndim - 1) + (self.outputs,)
        outputs: Array = rates @ weights.readout + weights.readout_bias.reshape(shape)
        sigmoid = self.output_activation == "sigmoid"
        return jax.nn.sigmoid(outputs) if sigmoid else outputs

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        *,
        train: bool = False,
        keys: Key[Array, " batch"] | None = None,
    ) -> Outputs:
        """Without `keys`, one for each example, there is no noise."""
        del train  # noise is a matter of the keys
        weights = self.weights()
        x = jnp.swapaxes(x, 0, 1)
        begin = self.begin(weights, x.shape[1])
        _, rates = self._run(weights, begin, x, jnp.arange(len(x)), keys)
        rates = jnp.swapaxes(rates, 0, 1)
        features = OrderedDict(rates=rates)
        return Outputs(self.read(weights, rates), features)

    def fold(
        self,
        x: Float[Array, "time batch inputs"],
        visit: Visit,
        each: Tree = (),
        *,
        keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Tree, Float[Array, "time batch outputs"]]:
        """(sum over time of what `visit` finds, outputs), without keeping all rates.

        `visit` is called with stretches of time, time before batch: outputs, rates, and
        that part of `each`, arrays [time, ...]. Where the states of all steps would
        take more than 32 MiB, the backward pass keeps one state for each stretch of
        some sqrt(time) steps and computes the others again (Chen et al. 2016): 4/3 of
        the time, and at 1000 steps a twentieth of the memory. `chunk` sets the stretch,
        0 that everything is kept.
        """
        weights = self.weights()
        time, batch = x.shape[:2]
        size = self._stretch(time, batch)
        steps = jnp.arange(time)
        state = self.begin(weights, batch)

        def stretch(state: Tree, part: Tree) -> tuple[Tree, Tree]:
            x, steps, each = part
            state, rates = self._run(weights, state, x, steps, keys)
            outputs = self.read(weights, rates)
            return state, (visit(outputs, rates, each), outputs)

        everything = (x, steps, each)
        if size >= time:
            found: tuple[Tree, Array] = stretch(state, everything)[1]
            return found
        whole = time // size * size
        parts = jax.tree.map(
            lambda a: a[:whole].reshape(-1, size, *a.shape[1:]), everything
        )
        state, (sums, outputs) = lax.scan(jax.checkpoint(stretch), state, parts)
        total = jax.tree.map(lambda a: jnp.sum(a, axis=0), sums)
        outputs = outputs.reshape(whole, *outputs.shape[2:])
        if whole < time:
            rest = jax.tree.map(lambda a: a[whole:], everything)
            _, (sums, last) = stretch(state, rest)
            total = jax.tree.map(jnp.add, total, sums)
            outputs = jnp.concatenate([outputs, last])
        return total, outputs

    def _stretch(self, time: int, batch: int) -> int:
        if self.chunk is not None:
            return self.chunk or time
        kept = 4 * time * batch * self.units
        return time if kept <= MOST_KEPT else math.isqrt(time)

    def _run(
        self, weights: Tree, state: Tree, x: Array, steps: Array, keys: Array | None
    ) -> tuple[Tree, Array]:
        """The state after the steps of x, and the rates at each: a scan."""

        def step(state: Tree, now: tuple[Array, Array]) -> tuple[Tree, Array]:
            u, t = now
            now_keys = None if keys is None else _at_step(keys, t)
            # inputs are projected here, one step at a time: all at once take memory
            state = self.advance(weights, state, u, now_keys)
            return state, self.rates(state)

        return lax.scan(step, state, (x, steps))


def _at_step(keys: Array, t: Array) -> Array:
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, t)


def uniform(fan_in: int) -> Callable[..., Array]:
    """Draws from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as PyTorch's linear layers."""
    bound = 1 / math.sqrt(fan_in)

    def draw(key: Array, shape: tuple[int, ...]) -> Array:
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    return draw
