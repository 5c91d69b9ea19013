"""The task `own_median`: how far a beat is from its patient's own usual beat.

No network, and nothing but normal examples to learn from: of each training group, a
patient, the median of the normal ones. A new patient's usual beat is then the median of
those of his beats that are nearest to any of these, which half of a recording may be.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from kdjax import files
from kdjax.checks import integer, number
from kdjax.data.dataset import Dataset, Examples, as_float, take
from kdjax.errors import InputError, call
from kdjax.stages.predictor import Predictor
from kdjax.stages.record import Stage
from kdjax.tasks.anomaly import scoring
from kdjax.tasks.anomaly.metrics import NORMAL
from kdjax.training.task import Task, Training

TEMPLATES = "templates.npz"
WHERE = "config.detector"
EVERY = 10  # beats after which a running template is made anew


class Usual(NamedTuple):
    """How a group's usual example is found.

    causal: from the past alone, as a monitor must, and not from the whole recording.
    fraction: of the group's examples (of the last `memory`, if causal), those nearest
      to the training groups' usual ones count; .5 bears recordings of which up to three
      quarters are abnormal.
    memory: how many examples a causal one looks back.
    start: how many examples a causal one needs; until then the distance is that to the
      nearest of the training groups'.
    """

    causal: bool = False
    fraction: float | int = 0.5
    memory: int = 300
    start: int = 10


class Templates(NamedTuple):
    """templates.npz: `usual` [groups, ...], the training groups' usual normal
    examples, and `limit`, the farthest that one of them is from its nearest."""

    usual: Float[np.ndarray, "groups ..."]
    limit: Float[np.ndarray, ""]


def make(
    *,
    data: Mapping[str, Any],
    training: Training,
    seed: int,
    detector: Mapping[str, Any] | None = None,
) -> Task:
    """The task of one stage; nothing is computed here.

    The score is the mean squared distance from the group's usual example. Groups hold
    their examples in the order of time, as recordings do.

    Args:
      data: fields of kdjax.data.load, of which class 0 is normal, in groups.
      detector: fields of `Usual`.
      training: `epochs` must be 0.

    Raises InputError on anything in the config or the data that does not fit.
    """
    inputs = scoring.inputs(data, training, seed)
    how: Usual = call(Usual, detector or {}, where=WHERE)
    number(how.fraction, above=0, high=1, where=f"{WHERE}.fraction")
    integer(how.memory, low=1, where=f"{WHERE}.memory")
    integer(how.start, low=1, where=f"{WHERE}.start")
    training.check_untrained("a detector")
    dataset = inputs.dataset
    if len(np.unique(dataset.test.group)) == len(dataset.test.group):
        raise InputError(
            "config.data: expected groups of several examples, such as patients, found "
            "each test example alone"
        )
    solved = functools.cache(functools.partial(solve, dataset, how))
    finish = functools.partial(_finish, dataset, how, solved)
    return scoring.solved_task(inputs, lambda: solved()[1], finish)


def learn(normal: Examples) -> Templates:
    """The usual examples of the groups of these normal ones."""
    x = as_float(normal.x)
    usual = np.stack(
        [
            np.median(x[normal.group == group], axis=0)
            for group in np.unique(normal.group)
        ]
    ).astype(np.float32)
    apart = [
        nearest(np.delete(usual, place, axis=0), usual[place : place + 1])[0]
        for place in range(len(usual))
        if len(usual) > 1
    ]
    return Templates(usual, np.asarray(max(apart, default=np.inf)))


def nearest(
    usual: Float[np.ndarray, "groups ..."], x: Float[np.ndarray, "n ..."]
) -> Float[np.ndarray, " n"]:
    """The mean squared distance of each x from the nearest of these."""
    return np.min([_distance(x, one) for one in usual], axis=0)


def own(
    templates: Templates, how: Usual, x: Float[np.ndarray, "n ..."]
) -> Float[np.ndarray, "n ..."]:
    """The usual example beside which each of a group's, in the order of time, is put.

    NaN beside those that come before a causal one can know: there are `how.start`.
    """
    odd = nearest(templates.usual, x)
    if not how.causal:
        return np.broadcast_to(_median_of_nearest(x, odd, how.fraction), x.shape)
    found = np.full_like(x, np.nan)
    for first in range(how.start, len(x), EVERY):
        known = slice(max(0, first - how.memory), first)
        found[first : first + EVERY] = _median_of_nearest(
            x[known], odd[known], how.fraction
        )
    return found


def distances(
    templates: Templates, how: Usual, x: Float[np.ndarray, "n ..."]
) -> Float[np.ndarray, " n"]:
    """The score of each of a group's examples, in the order of time."""
    apart = _distance(x, own(templates, how, x))
    early = np.isnan(apart)
    if early.any():
        apart[early] = nearest(templates.usual, x[early])
    return apart


def doubtful(templates: Templates, how: Usual, x: Float[np.ndarray, "n ..."]) -> bool:
    """Whether a group's usual example, from all of it, may itself be abnormal.

    It is farther from those of the training groups than any of them from the others.
    """
    last = own(templates, how._replace(causal=False), x)[:1]
    return bool(nearest(templates.usual, last)[0] > templates.limit)


def _median_of_nearest(x: np.ndarray, odd: np.ndarray, fraction: float) -> np.ndarray:
    count = max(1, round(fraction * len(x)))
    median: np.ndarray = np.median(x[np.argsort(odd, kind="stable")[:count]], axis=0)
    return median.astype(np.float32)


def _distance(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    apart: np.ndarray = np.square(x - other).mean(axis=tuple(range(1, x.ndim)))
    return apart


def solve(dataset: Dataset, how: Usual) -> tuple[Templates, np.ndarray]:
    """The training groups' usual examples, and the held-out rows' scores."""
    train = dataset.train
    templates = learn(take(train, np.flatnonzero(train.y == NORMAL)))
    scores = [np.zeros(len(train.y), np.float32)]  # which nothing asks for
    for part in (dataset.validation, dataset.test):
        x, score = as_float(part.x), np.empty(len(part.y), np.float32)
        for group in np.unique(part.group):
            rows = part.group == group
            score[rows] = distances(templates, how, x[rows])
        scores.append(score)
    return templates, np.concatenate(scores)


def _finish(
    dataset: Dataset, how: Usual, solved: Any, reached: Mapping[str, Any], folder: Path
) -> None:
    templates, scores = solved()
    held = scores[len(dataset.train.y) :]
    scoring.write(folder, dataset, dict.fromkeys(reached, held), None)
    files.write(folder / TEMPLATES, lambda file: np.savez(file, **templates._asdict()))
    both = scoring.held_out(dataset)
    x, unsure = as_float(both.x), []
    for group in np.unique(both.group):
        rows = both.group == group
        if doubtful(templates, how, x[rows]):
            unsure.append(str(both.key[rows][0]))
    about = {"groups_learnt_from": len(templates.usual), "doubtful": unsure}
    files.write_json(folder / "detector.json", about)


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Scores [n] of a whole group's raw examples, in the order of time."""
    del checkpoint
    templates = files.read_arrays(stage.folder / TEMPLATES, Templates)
    how = Usual(**stage.section("detector"))
    return _OfGroup(
        kind="scores",
        record=stage.record,
        model={},
        forward=_of_one,
        reconstruction=None,
        templates=templates,
        how=how,
    )


def _of_one(model: Any, x: Any) -> Any:
    raise InputError("own_median: expected a whole recording, found a batch of it")


@dataclasses.dataclass(frozen=True, repr=False)
class _OfGroup(Predictor):
    """Called with all examples of a group at once: what is usual depends on them."""

    templates: Templates = dataclasses.field(kw_only=True)
    how: Usual = dataclasses.field(kw_only=True)
    at_once: ClassVar[bool] = True

    def __call__(self, x: ArrayLike) -> NDArray[np.float32]:
        found = distances(self.templates, self.how, self.prepare(x))
        return found.astype(np.float32)

    def reconstruct(self, x: ArrayLike) -> NDArray[np.float32]:
        """The usual example beside each."""
        scaled = self.prepare(x)
        beside = own(self.templates, self.how, scaled)
        return np.where(np.isnan(beside), scaled, beside)

    def doubts(self, x: ArrayLike) -> tuple[str, ...]:
        x = np.asarray(x)
        if len(x) < self.how.start:
            return (f"{len(x)} beats say little of what is usual",)
        if not doubtful(self.templates, self.how, self.prepare(x)):
            return ()
        return (
            "its usual beat is farther from those of the training patients than any of "
            "theirs from the others': it may be abnormal itself, or the lead another",
        )
