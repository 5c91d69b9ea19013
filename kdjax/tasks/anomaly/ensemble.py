"""The task `ensemble`: what several detectors say of a heart beat, as one score.

The distance from the patient's usual beat, the errors of networks that earlier stages
trained, and the rhythm. It is slow and needs all of them: a teacher, whose scores it
leaves by the beats' keys for a stage of the task `regressor`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float

from kdjax import files
from kdjax.data.dataset import Dataset, as_float
from kdjax.errors import InputError, lookup
from kdjax.stages import batches, networks
from kdjax.stages.predictor import in_batches
from kdjax.tasks.anomaly import autoencoder, beatgan, own_median, scoring
from kdjax.tasks.anomaly import rhythm as rhythms
from kdjax.tasks.anomaly.metrics import NORMAL
from kdjax.tasks.anomaly.own_median import Templates, Usual
from kdjax.training.task import Task, Training

FILE = "soft_scores.npz"
OWN = "own_median"  # what is always a part of it
LEAST = 1e-3  # of a unit, in logarithms


class SoftScores(NamedTuple):
    """soft_scores.npz: the key and score of each of the n examples of all splits."""

    key: np.ndarray
    score: np.ndarray


class _Kind(NamedTuple):
    """A task whose networks can be members: how they are made, what they give."""

    module: Callable[..., nn.Module]
    reconstruct: Callable[..., Array]


KINDS = {
    "autoencoder": _Kind(scoring.autoencoder, autoencoder.reconstruct),
    "beatgan": _Kind(scoring.gan, beatgan.reconstruct),
}
_Score = Callable[[], Float[np.ndarray, " rows"]]


def make(
    *,
    data: Mapping[str, Any],
    training: Training,
    seed: int,
    detector: Mapping[str, Any] | None = None,
    members: Mapping[str, Mapping[str, Any]] | None = None,
    rhythm: str = "whole",
) -> Task:
    """The task of one stage; nothing is computed and no checkpoint is read here.

    The score is the mean of `in_units` over the distance from the usual beat and the
    members, and to it is added the irregularity in units (`rhythm.Rhythm`). With no
    member it ranks beats as `own_median` with its rhythm does.

    Args:
      data: fields of kdjax.data.load; class 0 is normal, the intervals are known.
      detector: fields of `own_median.Usual`.
      members: {name: {"folder", "checkpoint"} of a stage that trained an autoencoder or
        a BeatGAN}.
      rhythm: "whole", or "past": what is known when a beat ends.
      training: `epochs` must be 0.

    Raises InputError on anything in the config or the data that does not fit.
    """
    inputs = scoring.inputs(data, training, seed)
    dataset = inputs.dataset
    how = own_median.chosen(detector, dataset)
    kind = lookup(rhythm, {kind: kind for kind in rhythms.KINDS}, where="config.rhythm")
    training.check_untrained("an ensemble")
    if dataset.intervals is None:
        raise InputError(
            "config.data: expected heart beats whose intervals are known, found "
            f"{dataset.name!r}"
        )
    size = training.eval_batch_size
    scores = {
        name: _member(spec, dataset, size, where=f"config.members.{name}")
        for name, spec in (members or {}).items()
    }
    if OWN in scores:
        raise InputError(f"config.members: {OWN!r} is always one; choose another name")
    solved = functools.cache(functools.partial(_solve, dataset, how, kind, scores))
    finish = functools.partial(_finish, dataset, how, solved)
    return scoring.solved_task(inputs, lambda: solved()[1], finish)


def in_units(
    score: Float[np.ndarray, " n"], normal: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """`(ln(score) - ln(m)) / (ln(q) - ln(m))`, by scores of `normal` beats.

    m is their median, q what 1 % of them exceed: 0 is as usual a beat as any, 1 as odd
    as 1 % of the normal ones. Where they are all alike, the divisor is 1e-3.
    """
    median = np.median(rhythms.logs(normal))
    return (rhythms.logs(score) - median) / max(rhythms.weight(normal), LEAST)


def _member(
    spec: Mapping[str, Any], dataset: Dataset, batch_size: int, *, where: str
) -> _Score:
    """A function to the scores of all rows by a stage's network."""
    task = networks.config_of(spec, where=where).get("task")
    kind = lookup(task, KINDS, where=f"{where}: its task")
    trained = networks.read(spec, dataset, where=where, module=kind.module)
    score = scoring.squared_error(functools.partial(kind.reconstruct, trained.module))

    def scores() -> np.ndarray:
        model, of_batch = jax.device_put(trained.load()), jax.jit(score)
        x = as_float(scoring.every(dataset, "x"))
        return in_batches(lambda part: of_batch(model, part), x, batch_size)

    return scores


def _solve(
    dataset: Dataset, how: Usual, kind: str, members: Mapping[str, _Score]
) -> tuple[Templates, np.ndarray]:
    """The training groups' usual beats, and the scores of all rows."""
    templates = own_median.learn(dataset.train)
    of_group = functools.partial(own_median.distances, templates, how)
    parts = batches.splits(dataset)
    own = np.concatenate([own_median.by_group(of_group, p) for p in parts.values()])
    split = np.repeat(list(parts), [len(part.y) for part in parts.values()])
    normal = (split == "validation") & (scoring.every(dataset, "y") == NORMAL)
    units = [in_units(own, own[normal])]
    for member in members.values():
        score = member()
        units.append(in_units(score, score[normal]))
    known = rhythms.of_dataset(dataset)
    assert known is not None, "`make` has looked"
    assert dataset.intervals is not None
    odd = rhythms.irregularity(np.concatenate(dataset.intervals), past=kind == "past")
    score = np.mean(units, axis=0) + odd / getattr(known, f"{kind}_unit")
    return templates, score.astype(np.float32)


def _finish(
    dataset: Dataset, how: Usual, solved: Any, reached: Mapping[str, Any], folder: Path
) -> None:
    own_median.finish(dataset, how, solved, reached, folder)
    soft = SoftScores(scoring.every(dataset, "key"), solved()[1])
    files.write(folder / FILE, lambda file: np.savez(file, **soft._asdict()))
