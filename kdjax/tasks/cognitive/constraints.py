"""What biology imposes on a network's weights, at the start and after every update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.typing import ArrayLike

from kdjax.checks import boolean, integer, number
from kdjax.errors import InputError, call, section
from kdjax.models import CTRNN, Recurrent
from kdjax.training.state import TrainState

Tree = Any
WHERE = "config.constraints"


class Start(NamedTuple):
    """What is imposed once, before training; the defaults impose nothing.

    density: the share of recurrent weights that a random mask leaves, for good.
    excitatory: the share of units whose weights are all positive, the others' all
      negative (Dale's law); only the excitatory are read. None: no signs.
    autapses: whether a unit may drive itself; None: unless there are signs.
    positive_inputs: whether inputs excite only.
    """

    density: float = 1.0
    excitatory: float | None = None
    autapses: bool | None = None
    positive_inputs: bool = False


class Pruning(NamedTuple):
    """Gradual top-k: the smallest weights go until `density` is left.

    From the share `begin` of the run to `end`, each `every` steps, along the cubic of
    Zhu & Gupta 2017: d + (1 - d)(1 - t)^3. What is gone stays gone.
    """

    density: float = 1.0
    begin: float = 0.1
    end: float = 0.7
    every: int = 50


class Constraints(NamedTuple):
    """All of a network's; `proximal` is the strength that `build` describes."""

    start: Start
    top_k: Pruning
    proximal: float

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """What is read of them while training: members of a population differ in it."""
        return {
            "top_k": np.asarray(self.top_k.density, np.float32),
            "proximal": np.asarray(self.proximal, np.float32),
        }


NONE = Constraints(Start(), Pruning(), 0.0)


def build(spec: Mapping[str, Any] | None, network: Recurrent) -> Constraints:
    """The constraints of a config, checked against the network that is to have them."""
    made: Constraints = call(constraints, spec or {}, where=WHERE)
    share = made.start.excitatory
    if share is not None and not round(share * network.units):
        raise InputError(
            f"{WHERE}.excitatory: all {network.units} units would be inhibitory, and "
            f"only excitatory ones are read; found {share!r}"
        )
    after = made.top_k.density < 1 or made.proximal > 0
    full = isinstance(network, CTRNN) and network.rank is None
    if not full and (after or made.start != Start()):
        raise InputError(
            f"{WHERE}: expected none, of a network without a full recurrent matrix"
        )
    if after and isinstance(network, CTRNN) and "recurrent" in network.frozen:
        raise InputError(
            f"{WHERE}: expected neither top_k nor proximal where config.model.frozen "
            f"has 'recurrent', found {made.top_k.density} and {made.proximal}"
        )
    return made


def constraints(
    *,
    density: Any = 1.0,
    excitatory: Any = None,
    autapses: Any = None,
    positive_inputs: Any = False,
    top_k: Any = None,
    proximal: Any = 0.0,
) -> Constraints:
    """`Start`'s fields, `top_k`, a section with `Pruning`'s, and `proximal`.

    proximal: the strength s of L1 as a proximal step: after each update
      w <- sign(w) max(|w| - rate s, 0), which gives exact zeros, as no gradient of |w|
      does (Parikh & Boyd 2014).

    An InputError names a field with a value it cannot take.
    """
    number(density, above=0, high=1, where=f"{WHERE}.density")
    number(proximal, low=0, where=f"{WHERE}.proximal")
    boolean(positive_inputs, where=f"{WHERE}.positive_inputs")
    if autapses is not None:
        boolean(autapses, where=f"{WHERE}.autapses")
    if excitatory is not None:
        number(excitatory, low=0, high=1, where=f"{WHERE}.excitatory")
    where = f"{WHERE}.top_k"
    pruning: Pruning = call(Pruning, section(top_k or {}, where=where), where=where)
    number(pruning.density, above=0, high=1, where=f"{where}.density")
    number(pruning.begin, low=0, high=1, where=f"{where}.begin")
    number(pruning.end, low=pruning.begin, high=1, where=f"{where}.end")
    integer(pruning.every, low=1, where=f"{where}.every")
    start = Start(density, excitatory, autapses, positive_inputs)
    return Constraints(start, pruning, float(proximal))


def impose_before(start: Start, key: Array, variables: Tree) -> Tree:
    """A new network's variables with the constraints that hold from the start.

    The recurrent weights keep their spectral radius, if those that are left make a
    cycle; it is 0 otherwise. With signs, inhibitory weights are
    first made larger by as much as they are fewer, so that the two kinds balance (Song
    et al. 2016).
    """
    if start == Start():
        return variables
    recurrent, imposed = variables["params"]["recurrent"], variables["constraints"]

    def on_host(seed: ArrayLike, recurrent: ArrayLike, imposed: Tree) -> Any:
        imposed = {k: np.array(v) for k, v in imposed.items()}
        return _impose(start, int(np.asarray(seed)), np.asarray(recurrent), imposed)

    shapes = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (recurrent, imposed)
    )
    seed = jax.random.bits(key, dtype=jnp.uint32)
    recurrent, imposed = jax.pure_callback(on_host, shapes, seed, recurrent, imposed)
    params = variables["params"] | {"recurrent": recurrent}
    return {**variables, "params": params, "constraints": imposed}


def _impose(
    start: Start, seed: int, recurrent: np.ndarray, imposed: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    units = len(recurrent)
    signs = start.excitatory is not None
    allowed = np.ones((units, units), bool)
    if not (not signs if start.autapses is None else start.autapses):
        np.fill_diagonal(allowed, False)
    places = np.random.default_rng(seed).permutation(np.flatnonzero(allowed))
    mask = np.zeros((units, units), np.float32)
    mask.flat[places[: round(start.density * units**2)]] = 1
    weights = recurrent * mask
    excites = np.array(start.positive_inputs, np.float32)
    imposed |= {"recurrent": mask, "input_sign": excites}
    if start.excitatory is not None:
        excite = round(start.excitatory * units)
        sign = np.where(np.arange(units) < excite, 1, -1).astype(np.float32)
        imposed |= {"sign": sign, "readout": (sign > 0).astype(np.float32)}
        weights = np.abs(weights) * sign[:, None]
        if excite < units:
            weights[excite:] *= excite / (units - excite)
    if not np.array_equal(weights, recurrent):
        before, after = (
            np.abs(np.linalg.eigvals(w.astype(np.float64))).max()
            for w in (recurrent, weights)
        )
        if after > 0:  # exactly 0 of so few weights that they make no cycle
            weights = weights * (before / after)
    return weights.astype(np.float32), imposed


def impose_after(
    pruning: Pruning,
    optimizer: optax.GradientTransformation,
    *,
    total_steps: int,
    accumulate: int = 1,
) -> Callable[[TrainState, Mapping[str, Array], Array], TrainState]:
    """(state after a step, numbers, learning rate) -> the state on the constraints.

    `accumulate`: how many steps an update takes; the proximal step follows updates.
    The optimiser's moments are masked as the weights are, so that none that is gone
    comes back.
    """
    # the step that is counted after the first update is 1
    begin, end = (
        max(round(at * total_steps), 1) for at in (pruning.begin, pruning.end)
    )

    def prune(weights: Array, mask: Array, density: Array) -> Array:
        size = jnp.where(mask > 0, jnp.abs(weights), -1.0)
        kept = jnp.round(density * size.size).astype(jnp.int32)
        # by rank, since many weights may be equal: 0 after a proximal step
        ascending = jnp.argsort(size.ravel())
        largest = jnp.arange(size.size) >= size.size - kept
        stays = jnp.zeros(size.size, bool).at[ascending].set(largest)
        return jnp.where(stays.reshape(size.shape), mask, 0.0)

    def impose(
        state: TrainState, numbers: Mapping[str, Array], rate: Array
    ) -> TrainState:
        if "recurrent" not in state.params:  # of low rank, or gated
            return state
        imposed = state.model_state["constraints"]
        weights, mask = state.params["recurrent"], imposed["recurrent"]
        updated = state.step % accumulate == 0
        threshold = jnp.where(updated, rate * numbers["proximal"], 0.0)
        shrunk = jnp.sign(weights) * jax.nn.relu(jnp.abs(weights) - threshold)
        weights = jnp.where(threshold > 0, shrunk, weights)
        to_come = jnp.clip((end - state.step) / max(end - begin, 1), 0.0, 1.0)
        density = 1 - (1 - numbers["top_k"]) * (1 - to_come**3)
        due = (state.step % pruning.every == 0) | (state.step == end)
        due &= (density < 1) & (begin <= state.step) & (state.step <= end)
        mask = lax.cond(due, prune, lambda w, m, d: m, weights, mask, density)
        masks = dict.fromkeys(state.params, jnp.ones(())) | {"recurrent": mask}
        opt_state = optax.tree.map_params(
            optimizer, _masked, state.opt_state, masks, is_leaf=_is_held
        )
        return state._replace(
            params=state.params | {"recurrent": weights * mask},
            model_state={
                **state.model_state,
                "constraints": imposed | {"recurrent": mask},
            },
            opt_state=opt_state,
        )

    return impose


def _masked(moment: Any, mask: Array) -> Any:
    if _is_held(moment):
        return moment
    return moment * jnp.broadcast_to(mask, moment.shape)


def _is_held(moment: Any) -> bool:
    """Whether it stands for a parameter without a state, which keeps its value."""
    return isinstance(moment, optax.MaskedNode)
