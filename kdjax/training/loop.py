"""The training loop: one task, one folder, resumable to the bit; or several together.

The order of examples is a function of (seed, epoch), the randomness of (seed, step,
example), so a run that was killed and goes on from `last`, or from within an epoch, is
the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from kdjax.console import say
from kdjax.training import preemption, processes, programs, within
from kdjax.training.checkpoint import Checkpoints, Progress, model_of
from kdjax.training.metrics import Metric, MetricsLog
from kdjax.training.parallel import Parallel, to_host
from kdjax.training.preemption import Preempted
from kdjax.training.state import TrainState
from kdjax.training.task import Task, Training
from kdjax.training.watch import Profile, Watch

Tree = Any
NO_STEPS = contextlib.nullcontext()


class Diverged(RuntimeError):
    """A loss, gradient or score that is not finite: (of which stage, what it is)."""

    def __str__(self) -> str:
        return ": ".join(self.args)


class Member(NamedTuple):
    """One of the stages that are trained together: its task, and where it is."""

    task: Task
    folder: Path
    seed: int
    label: str


@dataclasses.dataclass
class _Member:
    """A member while it trains."""

    task: Task
    label: str
    constants: Tree
    checkpoints: Checkpoints
    log: MetricsLog
    state: TrainState
    progress: Progress
    best: Tree


class _Run(NamedTuple):
    """What the loop below needs beside the members, and does not change."""

    training: Training
    devices: Parallel
    advance: Callable[..., tuple[list[TrainState], list[dict[str, jax.Array]]]]
    scores: Callable[[Task, Tree, Tree, str], dict[str, Any]]
    metric: Metric
    watch: Watch


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
    Raises Diverged, with nothing written over the last good checkpoint, and Preempted,
    when all that was trained is saved.
    """
    member = Member(task, folder, seed, label)
    return run_together([member], training, devices=devices)[0]


def run_together(
    members: Sequence[Member],
    training: Training,
    *,
    devices: Parallel,
    vmapped: bool | None = None,
    profile: Profile | None = None,
) -> list[dict[str, dict[str, Any]]]:
    """`run` of several members of one program, in step with one another.

    The members share the compiled program; each has its own state, constants, log,
    `best` and checkpoints, and ends as it would alone. They go on from the last epoch
    that all of them have. `vmapped`: all members in one call, which accelerators are
    fast at, or a call for each, which keeps a CPU's cache; None: by the platform.
    `profile`: which steps are traced, and where to.
    """
    first = members[0].task
    training.check_devices(devices.devices, microbatches=first.microbatches)
    training.check_source(first.data["train"])
    metric = training.check_metric(first.metrics)
    if vmapped is None:
        vmapped = jax.default_backend() != "cpu"
    advance = programs.vmapped if vmapped and len(members) > 1 else programs.separate
    scores = programs.compiled_scores(first, training, devices)
    watch = Watch(
        _label(members), training.total_steps(first.data["train"].size), profile=profile
    )
    this = _Run(
        training, devices, advance(first, training, devices), scores, metric, watch
    )
    trained = _begin(members, this)
    if trained[0].progress.step and processes.is_first():
        say(f"{_label(members)}: goes on from step {trained[0].progress.step}")
    try:
        with watch, preemption.deferred() if training.epochs else NO_STEPS:
            _train(this, trained)
    finally:
        for member in trained:
            member.log.close()
            member.checkpoints.close()
    return [
        _finished(this, member, given.folder)
        for member, given in zip(trained, members, strict=True)
    ]


def _begin(members: Sequence[Member], this: _Run) -> list[_Member]:
    """The members as they start, or where all of them can go on from."""
    keys = [
        jax.random.split(random_key(member.seed, this.training.stream))
        for member in members
    ]
    templates = [
        jax.eval_shape(member.task.init, init_rng)
        for member, (init_rng, _) in zip(members, keys, strict=True)
    ]
    for member in members if processes.is_first() else ():
        member.folder.mkdir(parents=True, exist_ok=True)
    every = this.training.keep_every_epochs
    size = members[0].task.data["train"].size
    if every is not None:
        every *= this.training.steps_per_epoch(size)
    checkpoints = [
        Checkpoints(member.folder, keep=this.training.keep_last, keep_every=every)
        for member in members
    ]
    begun = [c.resume(t) for c, t in zip(checkpoints, templates, strict=True)]
    while True:
        steps = [at[1].step if at else 0 for at in begun]
        if min(steps) == max(steps):
            break
        # killed while they were saved; a member may lack what the least one has
        begun = [
            c.resume(t, at_most=min(steps))
            for c, t in zip(checkpoints, templates, strict=True)
        ]
    trained = []
    for member, saved, at, (init_rng, step_rng) in zip(
        members, checkpoints, begun, keys, strict=True
    ):
        # reads what may be wrong: before the log is open
        constants = this.devices.replicate((member.task.constants(), step_rng))
        state, progress, best = at or (member.task.init(init_rng), Progress(), None)
        log = MetricsLog(
            member.folder,
            after_step=within.last_logged(progress),
            after_epoch=progress.epoch,
            track=this.training.track,
        )
        state = this.devices.replicate(state)
        trained.append(
            _Member(
                member.task, member.label, constants, saved, log, state, progress, best
            )
        )
    return trained


def _finished(this: _Run, member: _Member, folder: Path) -> dict[str, dict[str, Any]]:
    """What a trained member has reached, its task's own files written."""
    progress = member.progress
    models = {"last": to_host(model_of(member.state)), "best": member.best}
    reached: dict[str, dict[str, Any]] = {
        "last": {"epoch": progress.epoch, "step": progress.step},
        "best": {"epoch": progress.best_epoch, "step": progress.best_step},
    }
    for kind, model in models.items():
        replicated = this.devices.replicate(model)
        for split in ("validation", "test"):
            reached[kind][split] = this.scores(
                member.task, replicated, member.constants, split
            )
    if processes.is_first():
        member.task.finish(models, folder)
        if this.training.epochs:
            this.watch.write(folder)
    return reached


def random_key(seed: int, stream: int | None) -> jax.Array:
    """The key of a seed's stream; stream 0, the common one, is the seed's own key."""
    key = jax.random.key(seed)
    return jax.random.fold_in(key, stream) if stream else key


def _train(this: _Run, members: list[_Member]) -> None:
    """Trains the members in place; they are all at the same epoch."""
    training, first = this.training, members[0]
    steps = training.steps_per_epoch(first.task.data["train"].size)
    if training.epochs == 0:
        for member in members:
            _keep_start(member)
    for epoch in range(first.progress.epoch + 1, training.epochs + 1):
        _epoch(this, members, epoch, steps)
        end = epoch == training.epochs
        saves = end or epoch % training.checkpoint_epochs == 0
        states = [member.state for member in members]
        trained = _inside(members, states, epoch * steps, [])
        try:
            for member in members:
                member.progress = member.progress._replace(
                    epoch=epoch, step=epoch * steps, unlogged=()
                )
                if saves or epoch % training.eval_epochs == 0:
                    _validate(this, member)
        except Preempted as asked:  # they are validated again
            _save_within(members, trained)
            raise Preempted(_where(members, epoch * steps)) from asked
        for member in members if saves else ():
            member.checkpoints.save_best(member.best, member.progress)
            member.checkpoints.save_last(member.state, member.progress, member.best)


class _Within(NamedTuple):
    """What a member's checkpoint within an epoch holds."""

    state: TrainState
    progress: Progress
    best: Tree


def _save_within(members: list[_Member], found: list[_Within]) -> None:
    for member, at in zip(members, found, strict=True):
        member.checkpoints.save_within(*at)


def _where(members: Sequence[_Member], step: int) -> str:
    return f"{_label(members)}, saved at step {step}"


def _label(members: Sequence[Member | _Member]) -> str:
    more = f" and {len(members) - 1} more" if len(members) > 1 else ""
    return members[0].label + more


def _keep_start(member: _Member) -> None:
    """Saves a network that is not trained: another stage may read it."""
    if member.best is None:
        member.best = to_host(model_of(member.state))
        if jax.tree.leaves(member.best):
            member.checkpoints.save_best(member.best, member.progress)
            member.checkpoints.save_last(member.state, member.progress, member.best)


def _validate(this: _Run, member: _Member) -> None:
    """Logs the validation metrics, and keeps the model if it is the best so far."""
    progress, select = member.progress, this.training.select
    model = model_of(member.state)
    values = this.scores(member.task, model, member.constants, "validation")
    _check_finite(member, {"validation loss": values["loss"]}, progress.step)
    member.log.write(
        "validation", step=progress.step, epoch=progress.epoch, values=values
    )
    if this.metric.better(values[select], progress.best_score):
        member.best = to_host(model)
        member.progress = progress._replace(
            best_score=values[select],
            best_epoch=progress.epoch,
            best_step=progress.step,
        )


def _epoch(this: _Run, members: list[_Member], epoch: int, steps: int) -> None:
    """The rest of a pass over the training split; epochs count from 1."""
    training = this.training
    done = members[0].progress.step
    begun = done - (epoch - 1) * steps
    pending = within.restored([member.progress for member in members])
    sources = [
        member.task.data["train"].own(training.batch_size, epoch=epoch, skip=begun)
        for member in members
    ]
    saving = within.Saving(training, done)
    constants = [member.constants for member in members]
    states = [member.state for member in members]
    with tqdm(
        total=steps,
        initial=begun,
        desc=f"{_label(members)} {epoch}/{training.epochs}",
        # off where stderr is not a terminal
        disable=None if processes.is_first() else True,
        leave=False,
    ) as bar:
        for calls in _calls(zip(*sources, strict=True), training.steps_per_call):
            batches = [
                programs.of_call(list(own), training.steps_per_call)
                for own in zip(*calls, strict=True)
            ]
            states, metrics = this.advance(states, constants, batches)
            pending.append(within.Logged(metrics, len(calls)))
            done += len(calls)
            bar.update(len(calls))
            if len(pending) > 1:  # more than two queued deadlock host devices
                jax.block_until_ready(pending[-2].metrics)
            this.watch.step(done, len(calls))
            before = sum(call.steps for call in pending[:-1])
            if before >= training.log_steps:
                _log_means(this, members, pending[:-1], done - len(calls), steps)
                del pending[:-1]
            try:
                preemption.check()
            except Preempted as asked:
                _save_within(members, _inside(members, states, done, pending))
                raise Preempted(_where(members, done)) from asked
            if saving.is_due(done) and done % steps:
                _save_within(members, _inside(members, states, done, pending))
        if pending:  # a run that was stopped at the epoch's validation has none
            _log_means(this, members, pending, done, steps)
    this.watch.pause()
    for member, state in zip(members, states, strict=True):
        member.state = state


def _inside(
    members: list[_Member],
    states: list[TrainState],
    step: int,
    pending: list[within.Logged],
) -> list[_Within]:
    """What is saved of each member after so many steps, in the midst of an epoch."""
    unlogged = within.unlogged(pending, len(members))
    return [
        _Within(state, member.progress._replace(step=step, unlogged=calls), member.best)
        for member, state, calls in zip(members, states, unlogged, strict=True)
    ]


def _calls(batches: Iterator[Any], steps: int) -> Iterator[list[Any]]:
    """`steps` batches at a time; the last may be fewer."""
    while call := list(itertools.islice(batches, steps)):
        yield call


def _log_means(
    this: _Run,
    members: list[_Member],
    pending: list[within.Logged],
    step: int,
    steps: int,
) -> None:
    """Logs the mean of the metrics of the steps that end at `step`."""
    read = jax.device_get([call.metrics for call in pending])
    for i, member in enumerate(members):
        calls = [metrics[i] for metrics in read]
        rows = {
            name: [float(v) for call in calls for v in np.atleast_1d(call[name])]
            for name in calls[0]
        }
        count = sum(call.steps for call in pending)
        for at in range(count):
            finite = {name: rows[name][at] for name in ("loss", "grad_norm")}
            _check_finite(member, finite, step - count + 1 + at)
            this.watch.loss(member.label, step - count + 1 + at, finite["loss"])
        means = {n: float(np.mean(row, dtype=np.float32)) for n, row in rows.items()}
        member.log.write("train", step=step, epoch=step / steps, values=means)


def _check_finite(member: _Member, values: Mapping[str, Any], step: int) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise Diverged(
                member.label,
                f"{name} is {value} at step {step}; "
                f"last good checkpoint: {member.checkpoints.latest()}",
            )
