"""Records and patients chosen by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdjax.data.dataset import TEST_SEED, hold_out_groups
from kdjax.errors import InputError, nearest

SAME_PATIENT = {"202": "201"}
Groups = int | Sequence[str | int]  # how many patients are drawn, or their names


def pick(
    wanted: Sequence[str | int], known: Iterable[str], *, where: str
) -> tuple[str, ...]:
    """The names as strings, if each is known and stands there once.

    A flag's `100,103` are integers: they count as names. InputError that names the
    field `where` and the nearest name.
    """
    names, table = tuple(map(str, wanted)), set(known)
    for place, name in enumerate(names):
        if name not in table:
            raise InputError(f"{where}: unknown name {name!r}{nearest(name, table)}")
        if name in names[:place]:
            raise InputError(f"{where}: expected each name once, found {name!r} twice")
    return names


def patients(record: NDArray[Any]) -> NDArray[Any]:
    """The patient of each beat's record: the record's name, or its first one's."""
    return np.array([SAME_PATIENT.get(name, name) for name in record])


def split(
    patient: NDArray[Any], *, validation: Groups, test: Groups, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """The rows of training, validation and test, no patient in two of them.

    `patient` names each row's. Test: the patients that `test` names, or so many drawn,
    the same for every seed. Validation: those that `validation` names, or so many of
    the others, drawn by `seed`. Nobody is drawn who is named. InputError that names the
    field: an unknown name, one in both, more patients than there are, none to learn
    from.
    """
    where = {name: f"config.data.{name}_groups" for name in ("validation", "test")}
    tested = _named(test, patient, where=where["test"])
    held = _named(validation, patient, where=where["validation"])
    both = np.intersect1d(patient[tested], patient[held])
    if len(both):
        raise InputError(
            f"{where['validation']}: expected other patients than those of the test, "
            f"found {str(both[0])!r} in both"
        )
    rest = np.setdiff1d(np.arange(len(patient)), np.concatenate([tested, held]))
    for name, wanted in (("test", test), ("validation", validation)):
        if not isinstance(wanted, int):
            continue
        drawn_by = TEST_SEED if name == "test" else seed
        rest, drawn = _draw(patient, rest, wanted, seed=drawn_by, where=where[name])
        tested, held = (drawn, held) if name == "test" else (tested, drawn)
    if not len(rest):
        raise InputError(
            f"{where['validation']}: expected a patient left to learn from, found none "
            f"beside {', '.join(np.unique(patient))}"
        )
    return rest, held, tested


def halves(
    record: NDArray[Any], *, validation: Groups, test: Sequence[str], seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """As `split`, by records and not by patients: those of `test`, and of the others
    the validated ones, named or drawn by `seed`."""
    where = "config.data.validation_groups"
    tested = np.flatnonzero(np.isin(record, test))
    rest = np.setdiff1d(np.arange(len(record)), tested)
    if isinstance(validation, int):
        rest, held = _draw(record, rest, validation, seed=seed, where=where)
    else:
        places = _named(validation, record[rest], where=where)
        rest, held = np.delete(rest, places), rest[places]
    return rest, held, tested


def _named(wanted: Groups, patient: NDArray[Any], *, where: str) -> NDArray[np.intp]:
    """The rows of the patients that are named; none where they are to be drawn."""
    if isinstance(wanted, int):
        return np.empty(0, np.intp)
    present = set(map(str, np.unique(patient)))
    known = present | {r for r, first in SAME_PATIENT.items() if first in present}
    names = pick(wanted, known, where=where)
    if not names:
        raise InputError(f"{where}: expected patients or how many, found none")
    return np.flatnonzero(np.isin(patient, patients(np.array(names))))


def _draw(
    patient: NDArray[Any],
    rows: NDArray[np.intp],
    count: int,
    *,
    seed: int,
    where: str,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """`rows` without those of `count` patients drawn among them, and theirs."""
    names, group = np.unique(patient[rows], return_inverse=True)
    if str(count) in names:  # a flag's 119, which is a number
        raise InputError(
            f"{where}: expected how many patients, 1 to {len(names) - 1}, found "
            f"{count}; for that patient write ('{count}',)"
        )
    number: NDArray[np.int32] = group.astype(np.int32)
    rest, drawn = hold_out_groups(number, count=count, seed=seed, where=where)
    return rows[rest], rows[drawn]
