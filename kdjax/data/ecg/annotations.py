"""What cardiologists wrote beside a recording: the symbol of each beat, matched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# All of WFDB's symbols for beats: none need be of a group that is learnt from.
BEAT_SYMBOLS = list("NLRBAaJSVrFejnE/fQ?")
# Those that MIT-BIH has not: bundle branch block of either side, R on T, a beat not yet
# classified. `n`, a supraventricular escape beat, goes where e and j go.
OTHERS = {"N": "B", "V": "r", "Q": "?"}
WITHIN_MS = 150.0  # of ANSI/AAMI EC57, and of WFDB's bxb


class Annotations(NamedTuple):
    """The beats that a record's .atr marks, in its order: `sample` int64 [m], where, at
    the record's own rate, and `symbol` str [m], WFDB's."""

    sample: NDArray[np.int64]
    symbol: NDArray[Any]


def match(
    beat: NDArray[np.int64], annotated: NDArray[np.int64], *, within: float | int
) -> NDArray[np.int64]:
    """For each beat the place of its annotation, -1 where there is none: int64 [n].

    `beat` [n] and `annotated` [m] are samples of one rate, the latter ascending. Pairs
    at most `within` samples apart are taken from the nearest to the farthest, each beat
    and each annotation once; of two as near the earlier beat, and its earlier
    annotation, comes first. EC57 allows 150 ms.
    """
    first = np.searchsorted(annotated, beat - within, side="left")
    count = np.searchsorted(annotated, beat + within, side="right") - first
    row = np.repeat(np.arange(len(beat)), count)
    begin = np.repeat(np.cumsum(count) - count, count)
    place = np.arange(len(row)) - begin + np.repeat(first, count)
    order = np.argsort(np.abs(beat[row] - annotated[place]), kind="stable")
    found, free = np.full(len(beat), -1, np.int64), np.ones(len(annotated), bool)
    for one, other in zip(row[order].tolist(), place[order].tolist(), strict=True):
        if found[one] < 0 and free[other]:
            found[one], free[other] = other, False
    return found


def with_others(groups: Mapping[str, str]) -> dict[str, str]:
    """{AAMI class: symbols}, those of MIT-BIH `groups` and the rest of WFDB's."""
    return {
        name: symbols + OTHERS.get(name, "") + ("n" if "e" in symbols else "")
        for name, symbols in groups.items()
    }
