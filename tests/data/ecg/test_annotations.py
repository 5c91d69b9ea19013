"""Beats matched to what was annotated, by hand and against every possible pairing."""

import numpy as np
import pytest

from kdjax.data.ecg import mitbih, records
from kdjax.data.ecg.annotations import BEAT_SYMBOLS, match, with_others


@pytest.mark.parametrize(
    ("beat", "annotated", "expected"),
    [
        ([100, 300], [110, 290], [0, 1]),
        ([100, 300], [154, 246], [0, 1]),  # 54 samples are 150 ms
        ([100, 300], [155, 245], [-1, -1]),
        ([100], [60, 98, 120], [1]),  # the nearest
        ([100, 110], [104], [0, -1]),  # once, and for the nearer
        ([100, 110, 120], [112, 113], [-1, 0, 1]),
        ([100, 120], [110], [0, -1]),  # as near: the earlier
        ([100], [90, 110], [0]),
        ([], [10], []),
        ([10, 20], [], [-1, -1]),
    ],
)
def test_the_nearest_annotation_is_taken_once(beat, annotated, expected):
    found = match(np.array(beat, int), np.array(annotated, int), within=54)
    assert found.tolist() == expected


def test_no_pair_that_is_left_is_nearer():
    """Of any beat and annotation within reach one has another at least as near."""
    rng = np.random.default_rng(0)
    beat, annotated = (np.sort(rng.integers(0, 3000, 80)) for _ in range(2))
    found = match(beat, annotated, within=54)
    used = found[found >= 0]
    assert len(used) == len(set(used)) > 40
    distance = np.abs(beat[:, None] - annotated)
    of_beat = np.where(found >= 0, distance[np.arange(80), found], np.inf)
    of_annotation = np.full(80, np.inf)
    of_annotation[used] = of_beat[found >= 0]
    assert of_beat[found >= 0].max() <= 54
    best = np.minimum(of_beat[:, None], of_annotation)
    assert (best <= distance)[distance <= 54].all()


@pytest.mark.parametrize(
    ("groups", "n"), [(records.GROUPS, "S"), (mitbih.STRICT_GROUPS, "N")]
)
def test_every_symbol_of_a_beat_has_one_class(groups, n):
    found = with_others(groups)
    assert sorted("".join(found.values())) == sorted(BEAT_SYMBOLS)
    assert list(found) == list("NSVFQ")
    assert "n" in found[n]
    for name, symbols in groups.items():
        assert found[name].startswith(symbols)
