"""The task `rdm`: what brains, people or models find alike among 92 photographs.

It leaves `rdm.npz`, whose training images another stage may have as companions, and
soft labels of the images' classes, read from the dissimilarities.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from kdjax import files
from kdjax.checks import boolean, integer, one_of
from kdjax.data.dissimilarities import (
    category_rdm,
    correlation_rdm,
    permuted_accuracies,
    soft_labels_from,
)
from kdjax.data.human.human92 import SUBJECTS, Human92, read_human92
from kdjax.data.stored_rdm import FILE, write_rdm
from kdjax.errors import InputError, call, lookup
from kdjax.stages import batches
from kdjax.tasks.brain import predicted
from kdjax.tasks.brain.decoding import permutation
from kdjax.training.task import Task, Training

Rdm = Float[np.ndarray, "n n"]
ARTEFACTS = {FILE: "how unlike each other images are, by their keys"}


def make(
    *,
    data: Mapping[str, Any],
    rdm: Mapping[str, Any],
    training: Training,
    seed: int,
    permutations: int = 0,
) -> Task:
    """The task of one stage; nothing is learnt.

    Args:
      data: fields of kdjax.data.load, `human92`.
      rdm: {"source": one of SOURCES, "subject": ..., "permuted": ...}. Of "human_it" a
        `subject` alone may be asked for, by name; or "others", all but the one that
        the seed leaves out for judging: seed k leaves out the subject k mod 4; or
        "another", the next of those.
        `permuted` (a control) gives the images each other's dissimilarities.
      training: `epochs` must be 0.
      permutations: of the labels among the images, for the p of the accuracy.

    Soft labels: `soft_labels_from`, each image's from the others. The class of the
    nearest class's mean is the answer. Raises InputError on what does not fit.
    """
    training.check_untrained("an RDM")
    integer(permutations, low=0, where="config.permutations")
    dataset = batches.load(data, seed)
    found = photographs(data)
    matrix = call(source_rdm, rdm, where="config.rdm", found=found, seed=seed)
    rows = predicted.rows_in(dataset)
    places = np.searchsorted(found.key, rows.key)
    of_rows = matrix[np.ix_(places, places)]
    classes = len(dataset.classes)

    @functools.cache
    def solve() -> predicted.Solved:
        logits = soft_labels_from(of_rows, rows.y, classes).astype(np.float32)
        # each image is its own fold: it was left out of what its logits are made from
        folds = np.arange(len(rows.y), dtype=np.int32)
        return predicted.Solved(logits, folds, {"rdm": of_rows.astype(np.float32)})

    def finish(folder: Path) -> None:
        write_rdm(folder / FILE, key=rows.key, rdm=of_rows)
        if permutations:
            hits = np.mean(solve().logits.argmax(axis=1) == rows.y)
            null = permuted_accuracies(
                of_rows, rows.y, classes, permutations=permutations, seed=seed
            )
            permutation.write(folder, permutation.beside(float(hits), null))

    header = {"rdm": dict(rdm)}
    return predicted.task(dataset, rows, solve, header=header, finish=finish)


def photographs(data: Mapping[str, Any]) -> Human92:
    """What a config's data hold beside images; InputError unless they are human92."""
    if data.get("name") != "human92":
        raise InputError(
            "config.data.name: expected 'human92', whose dissimilarities are known, "
            f"found {data.get('name')!r}"
        )
    return read_human92(
        files.local(str(data["root"]), where="config.data.root").resolve()
    )


def source_rdm(
    *,
    found: Human92,
    seed: int,
    source: str = "human_it",
    subject: str | None = None,
    permuted: bool = False,
) -> Rdm:
    """The dissimilarities of a source, in the order of `found.key`."""
    make_rdm = lookup(source, SOURCES, where="config.rdm.source")
    if subject is not None:
        if source != "human_it":
            raise InputError(
                f"config.rdm.subject: expected None, for {source!r} has no subjects, "
                f"found {subject!r}"
            )
        one_of(subject, ("others", "another", *SUBJECTS), where="config.rdm.subject")
        found = found._replace(human_it=found.human_it[_subjects(subject, seed)])
    rdm: Rdm = make_rdm(found)
    if boolean(permuted, where="config.rdm.permuted"):
        order = np.random.default_rng([seed, PERMUTED]).permutation(len(rdm))
        rdm = rdm[np.ix_(order, order)]
    return rdm


PERMUTED = 0  # the stream of random numbers that permutes the images


def left_out(seed: int) -> int:
    """The subject that a seed keeps for judging: a place in SUBJECTS."""
    return seed % len(SUBJECTS)


def _subjects(subject: str, seed: int) -> list[int]:
    others = [i for i in range(len(SUBJECTS)) if i != left_out(seed)]
    if subject == "others":
        return others
    if subject == "another":
        return [others[seed % len(others)]]
    return [SUBJECTS.index(subject)]


def _human_it(found: Human92) -> Rdm:
    """The mean over subjects and their sessions."""
    mean: Rdm = found.human_it.mean(axis=(0, 1))
    return mean


def _observers(found: Human92) -> Rdm:
    mean: Rdm = found.observers.mean(axis=0)
    return mean


SOURCES: dict[str, Callable[[Human92], Rdm]] = {
    "human_it": _human_it,
    "monkey_it": lambda found: found.monkey_it,
    "observers": _observers,
    "pixels": lambda found: correlation_rdm(found.image),
    "category": lambda found: category_rdm(found.y),
}
