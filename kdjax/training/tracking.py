"""Experiment trackers beside metrics.jsonl: TensorBoard, Weights & Biases, MLflow.

`config.training.track` names them. Each is optional, and set up by its own environment
variables: WANDB_MODE=offline, WANDB_PROJECT, MLFLOW_TRACKING_URI and so on. The log in
metrics.jsonl is what reports are made of; a tracker that fails while a stage trains is
said once, and the training goes on without it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdjax import files
from kdjax.errors import InputError, MachineError, lookup

WHERE = "config.training.track"
# {tracker: the run's id there}: a run that goes on is the same run there
IDS = "tracking.json"
PROJECT = "kdjax"


class Tracker(NamedTuple):
    """log(numbers by name, step); close()."""

    log: Callable[[Mapping[str, float], int], None]
    close: Callable[[], None]


def check(names: Sequence[str]) -> None:
    """InputError for a tracker that is not known, or whose package is not installed."""
    for name in names:
        package, _ = lookup(name, TRACKERS, where=WHERE)
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"{WHERE}: {package} is not installed (pip install 'kdjax[{name}]')"
            )


def begin(names: Sequence[str], folder: Path, after_step: int) -> list[Tracker]:
    """The trackers of a stage, which goes on after a step (0: begins).

    The stage's folder is RUN/seed_<k>/<stage>, which names the run there. MachineError
    if a tracker cannot begin, as where its server does not answer.
    """
    path = folder / IDS
    ids = files.read_json(path) if path.exists() else {}
    begun = []
    for name in names:
        _, open_tracker = lookup(name, TRACKERS, where=WHERE)
        try:
            tracker, ids[name] = open_tracker(folder, after_step, ids.get(name))
        except Exception as error:
            raise MachineError(
                f"{WHERE}: {name}: {' '.join(str(error).split())}"
            ) from error
        begun.append(_forgiving(name, tracker))
    if names:
        files.write_json(path, ids)
    return begun


def _forgiving(name: str, tracker: Tracker) -> Tracker:
    """The tracker, but what it raises is said, once, and ends no training."""
    failed = False

    def tried(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            nonlocal failed
            if failed:
                return
            try:
                function(*arguments)
            except Exception as error:
                failed = True
                why = " ".join(str(error).split())
                print(f"kdjax: {name} failed, and gets no more: {why}", file=sys.stderr)

        return call

    return Tracker(tried(tracker.log), tried(tracker.close))


def _tensorboard(
    folder: Path, after_step: int, known: str | None
) -> tuple[Tracker, str]:
    """Event files in the stage's folder; those after the step are purged."""
    from tensorboardX import SummaryWriter

    place = folder / "tensorboard"
    events = SummaryWriter(str(place), purge_step=after_step + 1)

    def log(numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            events.add_scalar(name, value, step)

    return Tracker(log, events.close), known or place.name


def _wandb(folder: Path, after_step: int, known: str | None) -> tuple[Tracker, str]:
    """A run of the project "kdjax" or $WANDB_PROJECT, its group the run's folder."""
    del after_step
    import wandb

    own = known or uuid.uuid4().hex
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=_name(folder),
        group=folder.resolve().parents[1].name,
        dir=str(folder),
        config=_config(folder),
        id=own,
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(silent=True, console="off"),
    )

    def log(numbers: Mapping[str, float], step: int) -> None:
        run.log(dict(numbers), step=step)

    return Tracker(log, run.finish), own


def _mlflow(folder: Path, after_step: int, known: str | None) -> tuple[Tracker, str]:
    """A run of the experiment "kdjax", in RUN/mlflow.db if no server is named."""
    del after_step
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    run_folder = folder.resolve().parents[1]
    default = f"sqlite:///{run_folder / 'mlflow.db'}"
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", default))
    if known is None:
        there = client.get_experiment_by_name(PROJECT)
        of = there.experiment_id if there else client.create_experiment(PROJECT)
        tags = {"run": run_folder.name}
        known = client.create_run(of, run_name=_name(folder), tags=tags).info.run_id
        fields = [Param(key, text) for key, text in _leaves(_config(folder))]
        for start in range(0, len(fields), 100):  # as many as it takes at once
            client.log_batch(known, params=fields[start : start + 100])
    own = known

    def log(numbers: Mapping[str, float], step: int) -> None:
        values = [Metric(k, v, 0, step) for k, v in numbers.items()]
        client.log_batch(own, metrics=values)

    return Tracker(log, lambda: client.set_terminated(own)), own


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    return files.read_json(path) if path.exists() else {}


def _leaves(fields: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    """("model.width", "16") of every field of a config."""
    for key, value in fields.items():
        inner = f"{place}.{key}" if place else key
        if isinstance(value, Mapping):
            yield from _leaves(value, inner)
        else:
            yield inner, str(value)


# {name: (its package, how it begins)}
TRACKERS: dict[str, tuple[str, Callable[..., tuple[Tracker, str]]]] = {
    "mlflow": ("mlflow", _mlflow),
    "tensorboard": ("tensorboardX", _tensorboard),
    "wandb": ("wandb", _wandb),
}
