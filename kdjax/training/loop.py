"""The training loop: one task, one folder, resumable to the bit.

The order of examples is a function of (seed, epoch), the randomness of (seed, step,
example), so a run that was killed and goes on from `last` is the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from kdjax.training.checkpoint import Checkpoints, Progress, model_of
from kdjax.training.metrics import Metric, MetricsLog, add_sums
from kdjax.training.parallel import Parallel, to_host
from kdjax.training.state import TrainState
from kdjax.training.task import Task, Training

Tree = Any


class Diverged(RuntimeError):
    """A loss, gradient or score that is not finite."""


class _Run(NamedTuple):
    """One stage's run: what the loop below needs and does not change."""

    task: Task
    training: Training
    devices: Parallel
    constants: Tree
    step: Callable[[TrainState, Tree, Tree], tuple[TrainState, dict[str, jax.Array]]]
    scores: Callable[[Tree, str], dict[str, Any]]
    log: MetricsLog
    label: str
    metric: Metric


def run(
    task: Task,
    training: Training,
    *,
    folder: Path,
    seed: int,
    devices: Parallel,
    label: str,
) -> dict[str, dict[str, Any]]:
    """Trains (or goes on) in `folder`, then evaluates both checkpoints.

    Returns {"last" | "best": {"epoch", "step", "validation": metrics, "test": ...}}.
    Raises Diverged, with nothing written over the last good checkpoint.
    """
    training.check_devices(devices.devices, microbatches=task.microbatches)
    metric = training.check_metric(task.metrics)
    folder.mkdir(parents=True, exist_ok=True)
    init_rng, step_rng = jax.random.split(random_key(seed, training.stream))
    constants = devices.replicate((task.constants(), step_rng))
    checkpoints = Checkpoints(folder)
    begun = checkpoints.resume(jax.eval_shape(task.init, init_rng))
    state, progress, best = begun or (task.init(init_rng), Progress(), None)
    log = MetricsLog(folder, after_step=progress.step, tensorboard=training.tensorboard)
    step = compiled_step(task, devices)
    scores = compiled_scores(task, training, devices, constants)
    this = _Run(task, training, devices, constants, step, scores, log, label, metric)
    try:
        state, progress, best = _train(
            this, checkpoints, devices.replicate(state), progress, best
        )
    except Diverged as error:
        where = checkpoints.latest()
        raise Diverged(f"{error}; last good checkpoint: {where}") from None
    finally:
        log.close()
        checkpoints.close()
    models = {"last": to_host(model_of(state)), "best": best}
    reached: dict[str, dict[str, Any]] = {
        "last": {"epoch": progress.epoch, "step": progress.step},
        "best": {"epoch": progress.best_epoch, "step": progress.best_step},
    }
    for kind, model in models.items():
        replicated = devices.replicate(model)
        for split in ("validation", "test"):
            reached[kind][split] = scores(replicated, split)
    task.finish(models, folder)
    return reached


def random_key(seed: int, stream: int | None) -> jax.Array:
    """The key of a seed's stream; stream 0, the common one, is the seed's own key."""
    key = jax.random.key(seed)
    return jax.random.fold_in(key, stream) if stream else key


def compiled_step(task: Task, devices: Parallel) -> Callable[..., Any]:
    def step(state: TrainState, constants: Tree, batch: Tree) -> Tree:
        task_constants, rng = constants
        rng = jax.random.fold_in(rng, state.step)
        return task.step(state, batch, task_constants, rng)

    return devices.compile(step, donate=True)


def compiled_scores(
    task: Task, training: Training, devices: Parallel, constants: Tree
) -> Callable[[Tree, str], dict[str, Any]]:
    """(replicated model, split) -> metrics over the whole split, exactly."""

    def part(model: Tree, constants: Tree, batch: Tree) -> Tree:
        return task.evaluate(model, batch, constants[0])

    compiled = devices.compile(part)

    def scores(model: Tree, split: str) -> dict[str, Any]:
        total = None
        for batch in task.data[split].batches(training.eval_batch_size, epoch=None):
            sums = compiled(model, constants, devices.shard(batch))
            total = add_sums(total, jax.device_get(sums))
        return task.summarize(total or {})

    return scores


def _train(
    this: _Run,
    checkpoints: Checkpoints,
    state: TrainState,
    progress: Progress,
    best: Tree,
) -> tuple[TrainState, Progress, Tree]:
    training = this.training
    steps = training.steps_per_epoch(this.task.data["train"].size)
    if training.epochs == 0 and best is None:
        best = to_host(model_of(state))
        if jax.tree.leaves(best):  # another stage may read it
            checkpoints.save_best(best, progress)
            checkpoints.save_last(state, progress)
    for epoch in range(progress.epoch + 1, training.epochs + 1):
        state = _epoch(this, state, epoch, steps)
        progress = progress._replace(epoch=epoch, step=epoch * steps)
        end = epoch == training.epochs
        saves = end or epoch % training.checkpoint_epochs == 0
        if saves or epoch % training.eval_epochs == 0:
            values = this.scores(model_of(state), "validation")
            _check_finite(this, {"validation loss": values["loss"]}, progress.step)
            this.log.write("validation", step=progress.step, epoch=epoch, values=values)
            if this.metric.better(values[training.select], progress.best_score):
                best = to_host(model_of(state))
                progress = progress._replace(
                    best_score=values[training.select],
                    best_epoch=epoch,
                    best_step=progress.step,
                )
        if saves:
            checkpoints.save_best(best, progress)
            checkpoints.save_last(state, progress)
    return state, progress, best


def _epoch(this: _Run, state: TrainState, epoch: int, steps: int) -> TrainState:
    """One pass over the training split; epochs count from 1."""
    done = (epoch - 1) * steps
    pending: list[dict[str, jax.Array]] = []  # metrics not yet read from the device
    source = this.task.data["train"]
    with tqdm(
        source.batches(this.training.batch_size, epoch=epoch),
        total=steps,
        desc=f"{this.label} {epoch}/{this.training.epochs}",
        disable=None,  # off where stderr is not a terminal
        leave=False,
    ) as batches:
        for batch in batches:
            batch = this.devices.shard(batch)
            state, metrics = this.step(state, this.constants, batch)
            pending.append(metrics)
            done += 1
            if len(pending) > 1:  # more than two queued deadlock host devices
                jax.block_until_ready(pending[-2])
            if len(pending) > this.training.log_steps:
                _log_means(this, pending[:-1], done - 1, steps)
                del pending[:-1]
        _log_means(this, pending, done, steps)
    return state


def _log_means(
    this: _Run, pending: list[dict[str, jax.Array]], step: int, steps: int
) -> None:
    """Logs the mean of the metrics of the steps that end at `step`."""
    rows = jax.device_get(pending)
    for i, row in enumerate(rows):
        finite = {name: row[name] for name in ("loss", "grad_norm")}
        _check_finite(this, finite, step - len(rows) + 1 + i)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    this.log.write("train", step=step, epoch=step / steps, values=means)


def _check_finite(this: _Run, values: Mapping[str, Any], step: int) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise Diverged(f"{this.label}: {name} is {value} at step {step}")
