"""The task `own_median`: how far a beat is from its patient's own usual beat.

No network, and nothing but normal examples to learn from: of each training group, a
patient, the median of the normal ones. A new patient's usual beat is then the median of
those of his beats that are nearest to any of these, which half of a recording may be.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from kdjax import files
from kdjax.checks import integer, number
from kdjax.data.dataset import Dataset, Examples, as_float, normals, take
from kdjax.errors import InputError, call
from kdjax.stages.predictor import Predictor
from kdjax.stages.record import Stage
from kdjax.tasks.anomaly import scoring
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
    how = chosen(detector, inputs.dataset)
    training.check_untrained("a detector")
    solved = functools.cache(functools.partial(solve, inputs.dataset, how))
    write = functools.partial(finish, inputs.dataset, how, solved)
    return scoring.solved_task(inputs, lambda: solved()[1], write)


def chosen(detector: Mapping[str, Any] | None, dataset: Dataset) -> Usual:
    """The config's `detector`; InputError if it, or the data's groups, do not fit."""
    how: Usual = call(Usual, detector or {}, where=WHERE)
    number(how.fraction, above=0, high=1, where=f"{WHERE}.fraction")
    integer(how.memory, low=1, where=f"{WHERE}.memory")
    integer(how.start, low=1, where=f"{WHERE}.start")
    if len(np.unique(dataset.test.group)) == len(dataset.test.group):
        raise InputError(
            "config.data: expected groups of several examples, such as patients, found "
            "each test example alone"
        )
    return how


def learn(train: Examples) -> Templates:
    """The usual examples of the groups of the normal ones among these."""
    normal = take(train, normals(train))
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

    Beside those that come before a causal one can know, of which there are `how.start`,
    the nearest of the training groups'.
    """
    odd = nearest(templates.usual, x)
    if not how.causal:
        return np.broadcast_to(_median_of_nearest(x, odd, how.fraction), x.shape)
    found = np.empty_like(x)
    apart = [_distance(x[: how.start], one) for one in templates.usual]
    found[: how.start] = templates.usual[np.argmin(apart, axis=0)]
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
    return _distance(x, own(templates, how, x))


def by_group(
    function: Callable[[np.ndarray], np.ndarray], part: Examples
) -> np.ndarray:
    """`function(x)`, [n, ...], of each group's examples alone, in their rows."""
    x, found = as_float(part.x), {}
    for group in np.unique(part.group):
        rows = np.flatnonzero(part.group == group)
        found[group] = rows, function(x[rows])
    rows, values = zip(*found.values(), strict=True)
    joined: np.ndarray = np.concatenate(values)[np.argsort(np.concatenate(rows))]
    return joined


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
    templates = learn(dataset.train)
    score = functools.partial(distances, templates, how)
    held = by_group(score, scoring.held_out(dataset))
    unasked = np.zeros(len(dataset.train.y))
    return templates, np.concatenate([unasked, held]).astype(np.float32)


def finish(
    dataset: Dataset, how: Usual, solved: Any, reached: Mapping[str, Any], folder: Path
) -> None:
    """Writes the scores, the usual examples and what is said of them."""
    templates, scores = solved()
    held = scores[len(dataset.train.y) :]
    scoring.write(folder, dataset, dict.fromkeys(reached, held), None)
    leave(folder, templates)
    files.write_json(folder / "detector.json", _about(dataset, how, templates))


def leave(folder: Path, templates: Templates) -> None:
    """Writes `templates.npz`."""
    files.write(folder / TEMPLATES, lambda file: np.savez(file, **templates._asdict()))


def _about(dataset: Dataset, how: Usual, templates: Templates) -> dict[str, Any]:
    """For detector.json: how many groups were learnt from, and which are in doubt."""
    both = scoring.held_out(dataset)
    unsure = by_group(lambda x: np.full(len(x), doubtful(templates, how, x)), both)
    first = [np.flatnonzero(both.group == group)[0] for group in np.unique(both.group)]
    return {
        "groups_learnt_from": len(templates.usual),
        "doubtful": [str(both.key[row]) for row in first if unsure[row]],
    }


def predictor(stage: Stage, checkpoint: str) -> Predictor:
    """Scores [n] of a whole group's raw examples, in the order of time."""
    del checkpoint
    templates = files.read_arrays(stage.folder / TEMPLATES, Templates)
    how = Usual(**stage.section("detector"))
    return OfRecording("scores", stage.record, {}, None, templates=templates, how=how)


@dataclasses.dataclass(frozen=True, repr=False)
class OfRecording(Predictor):
    """Called with all examples of a group at once, in the order of time."""

    templates: Templates = dataclasses.field(kw_only=True)
    how: Usual = dataclasses.field(kw_only=True)

    def __call__(self, x: ArrayLike) -> NDArray[np.float32]:
        found = distances(self.templates, self.how, self.prepare(x))
        return found.astype(np.float32)

    def of_recording(
        self, x: ArrayLike, intervals: Float[np.ndarray, "n 44"]
    ) -> NDArray[np.float32]:
        """Scores of a recording's raw beats; their intervals say nothing here."""
        del intervals
        return self(x)

    def beats(self, x: ArrayLike) -> NDArray[np.float32]:
        """Raw beats, checked and scaled."""
        return self.prepare(x)

    def reconstruct(self, x: ArrayLike) -> NDArray[np.float32]:
        """The usual example beside each."""
        return np.asarray(own(self.templates, self.how, self.beats(x)))

    def doubts(self, x: ArrayLike) -> tuple[str, ...]:
        """What speaks against a recording's scores, in words."""
        x = np.asarray(x)
        if len(x) < self.how.start:
            return (f"{len(x)} beats say little of what is usual",)
        if not doubtful(self.templates, self.how, self.beats(x)):
            return ()
        return (
            "its usual beat is farther from those of the training patients than any of "
            "theirs from the others': it may be abnormal itself, or the lead another",
        )
