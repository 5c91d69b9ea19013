"""What a loss term trains beside the student: its adapter (`kdjax.models.adapters`).

Adapters have the student's optimiser and a state of it of their own; both are kept
with the optimiser's state, apart from the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from kdjax.training.parallel import AXIS
from kdjax.training.state import LossFn, Metrics, TrainState, gradient_step

Tree = Any
Call = Callable[..., Any]
STUDENT, ADAPTERS, OPTIMIZER = "student", "adapters", "optimizer"


def adapted(module: Callable[..., nn.Module]) -> Callable[[Call], Call]:
    """Marks a term as one whose parameter `adapter` is such a module, applied.

    It calls `adapter(student, teacher)`, on whatever it was given of both: arrays, or
    arrays by name.
    """

    def mark(term: Call) -> Call:
        vars(term)["adapter_of"] = module
        return term

    return mark


def module_of(term: Call) -> Callable[..., nn.Module] | None:
    """The module that a term is marked with; None where it is not."""
    found: Callable[..., nn.Module] | None = getattr(term, "adapter_of", None)
    return found


class Modules(NamedTuple):
    """The adapters by name, and what each is called with, in shapes and types."""

    module: Mapping[str, nn.Module]
    called_with: Mapping[str, tuple[Tree, ...]]

    def variables(self, rng: Array) -> tuple[Tree, Tree]:
        """(params, model_state), each by name, at step 0."""
        params, state = {}, {}
        for i, (name, module) in enumerate(self.module.items()):
            zeros = jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype), self.called_with[name]
            )
            made = dict(module.init(jax.random.fold_in(rng, i), *zeros, train=False))
            params[name], state[name] = made.pop("params"), made
        return params, state


class Recorder:
    """Finds the adapters: stands in their place while a loss is traced on shapes."""

    def __init__(self) -> None:
        self.modules = Modules({}, {})

    def __call__(self, name: str, made_by: Callable[..., nn.Module]) -> Call:
        module = made_by(axis=AXIS)

        def call(*given: Tree) -> Any:
            shapes = jax.tree.map(jax.typeof, given)
            self.modules = Modules(
                {**self.modules.module, name: module},
                {**self.modules.called_with, name: shapes},
            )
            return module.init_with_output(jax.random.key(0), *given, train=False)[0]

        return call


class Applied:
    """The adapters of one step; `moved` are their batch statistics after it."""

    def __init__(self, modules: Modules, params: Tree, state: Tree) -> None:
        self._modules, self._params, self._state = modules, params, state
        self.moved: dict[str, Tree] = dict(state)

    def __call__(self, name: str, made_by: Callable[..., nn.Module]) -> Call:
        del made_by

        def call(*given: Tree) -> Any:
            variables = {"params": self._params[name], **self._state[name]}
            output, moved = self._modules.module[name].apply(
                variables, *given, train=True, mutable=list(self._state[name])
            )
            self.moved[name] = moved
            return output

        return call


def init(
    begin: Callable[[Array], TrainState],
    modules: Modules,
    optimizer: optax.GradientTransformation,
) -> Callable[[Array], TrainState]:
    """`begin`, with the adapters and their optimiser's state beside the student's."""

    def both(rng: Array) -> TrainState:
        state = begin(rng)
        # a stream of its own: the student starts as it does without adapters
        params, model_state = modules.variables(jax.random.fold_in(rng, 1))
        kept = {"params": params, "model_state": model_state}
        states = {STUDENT: state.opt_state, ADAPTERS: optimizer.init(params)}
        return state._replace(opt_state={OPTIMIZER: states, ADAPTERS: kept})

    return both


def step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    beside: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """`gradient_step` of a student by `optimizer` and its adapters by `beside`.

    `loss_fn` is given params and a state of which each is {"student", "adapters"}.
    """
    inner = gradient_step(loss_fn, _each(optimizer, beside), schedule)

    def both(
        state: TrainState, batch: Tree, constants: Tree, rng: Array
    ) -> tuple[TrainState, Metrics]:
        kept = state.opt_state[ADAPTERS]
        joined = state._replace(
            params={STUDENT: state.params, ADAPTERS: kept["params"]},
            model_state={STUDENT: state.model_state, ADAPTERS: kept["model_state"]},
            opt_state=state.opt_state[OPTIMIZER],
        )
        moved, metrics = inner(joined, batch, constants, rng)
        kept = {
            "params": moved.params[ADAPTERS],
            "model_state": moved.model_state[ADAPTERS],
        }
        parted = moved._replace(
            params=moved.params[STUDENT],
            model_state=moved.model_state[STUDENT],
            opt_state={OPTIMIZER: moved.opt_state, ADAPTERS: kept},
        )
        return parted, metrics

    return both


def _each(
    student: optax.GradientTransformation, adapters: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Each side by its own; patterns and clipping see the student alone."""
    sides = {STUDENT: student, ADAPTERS: adapters}

    def start(params: Tree) -> Tree:
        return {name: side.init(params[name]) for name, side in sides.items()}

    def update(updates: Tree, state: Tree, params: Tree = None) -> tuple[Tree, Tree]:
        moves, states = {}, {}
        for name, side in sides.items():
            moves[name], states[name] = side.update(
                updates[name], state[name], params[name]
            )
        return moves, states

    return optax.GradientTransformation(start, update)
