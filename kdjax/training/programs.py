"""The compiled programs of a task: its steps, of one member or several, its scores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.machine import threads
from kdjax.training import preemption
from kdjax.training.metrics import add_sums
from kdjax.training.parallel import Parallel
from kdjax.training.state import TrainState
from kdjax.training.task import Batch, Task, Training

Tree = Any


def compiled_step(task: Task, devices: Parallel, steps: int = 1) -> Callable[..., Any]:
    """(state, constants, sharded batch) -> (state, metrics), compiled.

    Of several steps the batch is [batch, steps, ...], and the metrics are [steps].
    """
    return devices.compile(_steps(task, steps), donate=True)


def _steps(task: Task, steps: int) -> Callable[[TrainState, Tree, Tree], Tree]:
    def step(state: TrainState, constants: Tree, batch: Tree) -> Tree:
        task_constants, rng = constants
        rng = jax.random.fold_in(rng, state.step)
        return task.step(state, batch, task_constants, rng)

    def several(state: TrainState, constants: Tree, batch: Tree) -> Tree:
        batches = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), batch)
        return lax.scan(lambda s, b: step(s, constants, b), state, batches)

    return step if steps == 1 else several


def of_call(batches: list[Batch], steps_per_call: int) -> Batch:
    """The batches of a call as one: [batch, steps, ...] where it may take several."""
    if steps_per_call == 1:
        return batches[0]
    return {name: np.stack([b[name] for b in batches], 1) for name in batches[0]}


def separate(task: Task, training: Training, devices: Parallel) -> Callable[..., Any]:
    """(states, constants, batches), each a list -> (states, metrics), a call for each.

    On one CPU device the members' calls run side by side, one on each core: the cores
    have little to share out within so small a step.
    """
    step = compiled_step(task, devices, training.steps_per_call)
    alone = devices.devices > 1 or jax.default_backend() != "cpu"
    workers = 1 if alone else threads()
    queued: list[Tree] = []  # metrics

    def call(state: Tree, own: Tree, batch: Batch) -> Any:
        return step(state, own, devices.shard(batch))

    def done(*member: Any) -> Any:
        return jax.block_until_ready(call(*member))

    def advance(states: list[Tree], constants: list[Tree], batches: list[Batch]) -> Any:
        if workers > 1 and len(states) > 1:
            # jax runs the calls of one thread one after another
            with ThreadPoolExecutor(workers) as pool:
                results = list(pool.map(done, states, constants, batches))
        else:
            results = []
            for member in zip(states, constants, batches, strict=True):
                results.append(call(*member))
                queued.append(results[-1][1])
                if len(queued) > 1:  # more than two deadlock host devices
                    jax.block_until_ready(queued.pop(0))
        return [state for state, _ in results], [metrics for _, metrics in results]

    return advance


def vmapped(task: Task, training: Training, devices: Parallel) -> Callable[..., Any]:
    """As `separate`, all members in one call."""
    of_one: Callable[..., Any] = jax.vmap(
        _steps(task, training.steps_per_call), in_axes=(0, 0, 1)
    )

    def step(states: list[Tree], constants: list[Tree], batch: Tree) -> Any:
        members = range(len(states))
        stacked = (jax.tree.map(_stack, *trees) for trees in (states, constants))
        results = of_one(*stacked, batch)
        return [jax.tree.map(lambda a, i=i: a[i], results) for i in members]

    compiled = devices.compile(step, donate=True)

    def advance(states: list[Tree], constants: list[Tree], batches: list[Batch]) -> Any:
        batch = {name: np.stack([b[name] for b in batches], 1) for name in batches[0]}
        results = compiled(states, constants, devices.shard(batch))
        return [state for state, _ in results], [metrics for _, metrics in results]

    return advance


def _stack(*leaves: jax.Array) -> jax.Array:
    return jnp.stack(leaves)


def compiled_scores(
    task: Task, training: Training, devices: Parallel
) -> Callable[[Task, Tree, Tree, str], dict[str, Any]]:
    """(task, replicated model and constants, split) -> metrics, exactly.

    Over the whole split of a task of this one's program.
    """

    def part(model: Tree, constants: Tree, batch: Tree) -> Tree:
        return task.evaluate(model, batch, constants[0])

    compiled = devices.compile(part)

    def scores(task: Task, model: Tree, constants: Tree, split: str) -> dict[str, Any]:
        total = None
        for batch in task.data[split].own(training.eval_batch_size, epoch=None):
            sums = compiled(model, constants, devices.shard(batch))
            total = add_sums(total, jax.device_get(sums))
            preemption.check()
        return task.summarize(total or {})

    return scores
