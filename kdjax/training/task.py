"""What is trained, and how long: the contracts of a task and of its training."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.checks import integer, number
from kdjax.errors import InputError, lookup
from kdjax.training import processes, tracking
from kdjax.training.metrics import Metric
from kdjax.training.state import TrainState

Tree = Any
Batch = dict[str, np.ndarray]


class Source(NamedTuple):
    """One split's batches.

    size: the number of examples.
    batches: (batch_size, *, epoch) -> iterator of {name: [batch, ...]}. With an epoch:
      shuffled by it, and the ragged last batch dropped. With None: in order, the last
      batch padded, and "mask" 0 on the padding.
    streamed: whether a batch holds the examples, not indices or the numbers of keys:
      the batches of several steps would take as many times the memory. Its `batches`
      takes `rows`, the slice of every batch that is wanted, and `skip`, how many
      batches are not: no other is read.
    """

    size: int
    batches: Callable[..., Iterator[Batch]]
    streamed: bool = False

    def own(
        self, batch_size: int, *, epoch: int | None, skip: int = 0
    ) -> Iterator[Batch]:
        """This process's part (of one: the whole) of all but the first batches."""
        rows = slice(None)
        if processes.count() > 1:
            part = batch_size // processes.count()
            rows = slice(part * processes.index(), part * (processes.index() + 1))
        if self.streamed:
            return self.batches(batch_size, epoch=epoch, rows=rows, skip=skip)
        every = self.batches(batch_size, epoch=epoch)
        return (
            {name: x[rows] for name, x in batch.items()}
            for batch in itertools.islice(every, skip, None)
        )


class Task(NamedTuple):
    """What is trained: pure functions and their data.

    init: rng -> TrainState, on one device; called on the host.
    step: (state, batch, constants, rng) -> (state, metrics). One device's part, with
      collectives over parallel.AXIS; state and metrics equal on all devices, `loss` and
      `grad_norm` among the metrics.
    evaluate: (model, batch, constants) -> {name: (sum, count)}, summed over devices,
      leaving out the examples whose batch["mask"] is 0; model = model_of(state).
    summarize: {name: (sum, count)} of a whole split -> {name: value} (on the host),
      `loss` among them.
    metrics: {name: Metric} of what `summarize` gives and a checkpoint can be chosen by.
    data: {"train": Source, "validation": Source, "test": Source}.
    constants: () -> the pytree that every step reads and none changes: the examples
      that live on the device, a frozen teacher. An argument, because a closure would
      compile it in as a literal; not state, because it is not saved.
    finish: (models, folder) -> None. Writes what later stages and the report read,
      from {"last": model, "best": model}, each {"params", "model_state"}.
    about: what results.json says of it beside the metrics (data, classes, teacher).
    microbatches: in how many parts the step takes a device's part of a batch.
    program: tasks of one program have the same `step` and `evaluate` but for what is in
      their state and constants, and can be trained together; None: with no other.
    """

    init: Callable[[jax.Array], TrainState]
    step: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
    evaluate: Callable[..., dict[str, tuple[jax.Array, jax.Array]]]
    summarize: Callable[[Mapping[str, tuple[Any, Any]]], dict[str, Any]]
    metrics: Mapping[str, Metric]
    data: Mapping[str, Source]
    constants: Callable[[], Tree]
    finish: Callable[[Mapping[str, Tree], Path], None]
    about: Mapping[str, Any]
    microbatches: int = 1
    program: str | None = None


@dataclasses.dataclass(frozen=True)
class Training:
    """The config's `training` section.

    epochs: passes over the training split; 0 evaluates the network as it starts.
    batch_size, eval_batch_size: over all devices together.
    checkpoint_epochs: validate and save every so many epochs, and at the end.
    checkpoint_steps, checkpoint_minutes: save inside an epoch, too, every so many steps
      of the run, or when so many minutes have passed; None: at SIGTERM alone.
    keep_last, keep_every_epochs: which checkpoints at the end of epochs stay: so many
      of the latest, and of every so many epochs.
    eval_epochs: validate every so many epochs as well.
    log_steps: one row of means in metrics.jsonl every so many steps.
    steps_per_call: how many steps a call of the compiled program takes, one after the
      other: less overhead where a step is short. The losses of every step are kept. On
      CPU not for convolutions, which are slow inside a loop there. A row of the log is
      of whole calls.
    select: the validation metric that chooses `best`; its direction is its own.
    track: trackers that get the log, too: "tensorboard", "wandb", "mlflow"; each needs
      the extra of its name, such as kdjax[wandb] (`kdjax.training.tracking`).
    stream: which stream of random numbers the seed gives: initial parameters, order of
      examples, augmentation. Stages of one stream share them, so that a comparison
      paired by seed is between stages that differ in nothing else. None: 0, and one
      more than that of the stage that `start` goes on from, whose order it would
      otherwise repeat.
    """

    epochs: int
    batch_size: int
    eval_batch_size: int = 512
    eval_epochs: int = 1
    checkpoint_epochs: int = 1
    log_steps: int = 50
    steps_per_call: int = 1
    select: str = "accuracy"
    track: Sequence[str] = ()
    stream: int | None = None
    checkpoint_steps: int | None = None
    checkpoint_minutes: int | float | None = None
    keep_last: int = 2
    keep_every_epochs: int | None = None

    def __post_init__(self) -> None:
        where = "config.training"
        for field in dataclasses.fields(self):
            if field.type == "int":
                least = 0 if field.name == "epochs" else 1
                value = getattr(self, field.name)
                integer(value, low=least, where=f"{where}.{field.name}")
        if not isinstance(self.select, str):
            raise InputError(
                f"{where}.select: expected a metric's name, found {self.select!r}"
            )
        tracking.check(self.track)
        if self.stream is not None:
            integer(self.stream, low=0, where=f"{where}.stream")
        for name in ("checkpoint_steps", "keep_every_epochs"):
            if getattr(self, name) is not None:
                integer(getattr(self, name), low=1, where=f"{where}.{name}")
        if self.checkpoint_minutes is not None:
            minutes = f"{where}.checkpoint_minutes"
            number(self.checkpoint_minutes, above=0, where=minutes)

    def total_steps(self, examples: int) -> int:
        return self.epochs * self.steps_per_epoch(examples)

    def steps_per_epoch(self, examples: int) -> int:
        if self.epochs and examples < self.batch_size:
            raise InputError(
                f"config.training.batch_size: {self.batch_size} is more than the "
                f"{examples} training examples"
            )
        return examples // self.batch_size

    def check_untrained(self, what: str) -> None:
        """InputError unless there are no epochs, for `what` is not trained."""
        if self.epochs:
            raise InputError(
                f"config.training.epochs: expected 0, for {what} is not trained; "
                f"found {self.epochs}"
            )

    def check_metric(self, metrics: Mapping[str, Metric]) -> Metric:
        """The metric that chooses `best`; InputError if it is not one of these."""
        metric: Metric = lookup(self.select, metrics, where="config.training.select")
        return metric

    def check_source(self, source: Source) -> None:
        if source.streamed and self.steps_per_call > 1:
            raise InputError(
                "config.training.steps_per_call: expected 1, since these examples are "
                f"read from files step by step, found {self.steps_per_call}"
            )

    def check_devices(self, devices: int, *, microbatches: int = 1) -> None:
        if self.batch_size % (devices * microbatches):
            cut = f" x {microbatches} microbatches" if microbatches > 1 else ""
            raise InputError(
                f"config.training.batch_size: {self.batch_size} is not divisible by "
                f"{devices} devices{cut}"
            )
        if self.eval_batch_size % devices:
            raise InputError(
                f"config.training.eval_batch_size: {self.eval_batch_size} is not "
                f"divisible by {devices} devices"
            )
