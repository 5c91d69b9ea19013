"""Splits: whole groups, or periods that share neither rows nor labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.data.series import splits, windows

FEW = settings(max_examples=50, deadline=None)


@FEW
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 3),
    st.data(),
)
def test_periods_share_no_row_and_no_label(sizes, window, step, horizon, data):
    group = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    drawn = st.lists(st.integers(1, 3), min_size=sum(sizes), max_size=sum(sizes))
    time = np.concatenate(
        [np.cumsum(p) for p in np.split(data.draw(drawn), np.cumsum(sizes)[:-1])]
    ).astype(np.int64)
    begins = windows.run_starts(group, np.ones(len(group), bool))
    starts = windows.window_starts(begins, window=window + horizon, step=step)
    cuts = splits.cut_times(time, (0.6, 0.8))
    parts = splits.by_time(
        group, time, starts, cuts=cuts, window=window, horizon=horizon
    )
    assert len(parts) == 3
    reach = [
        {row for s in starts[part] for row in range(s, s + window + horizon)}
        for part in parts
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not reach[one] & reach[other]
        ends = time[starts[parts[one]] + window + horizon - 1]
        begin = time[starts[parts[other]]]
        # in all groups alike
        assert ends.max(initial=-1) < begin.min(initial=10**9)
        for g in np.unique(group):
            first, last = starts[parts[one]], starts[parts[other]]
            first, last = first[group[first] == g], last[group[last] == g]
            if len(first) and len(last):
                left_out = last.min() - (first.max() + window)
                assert left_out >= window + horizon


def test_a_fraction_of_groups_is_drawn_whole():
    group = np.repeat(np.arange(10, dtype=np.int32), 4)
    y = np.tile(np.array([0, 1], np.int32), 20)
    rest, held = splits.by_group(group, y, fraction=0.2, seed=0, where="x")
    assert len(set(group[held])) == 2
    assert not set(group[held]) & set(group[rest])
    assert sorted([*rest, *held]) == list(range(40))


def test_groups_of_one_class_are_drawn_by_class():
    group = np.repeat(np.arange(20, dtype=np.int32), 3)
    y = (group % 2).astype(np.int32)
    for seed in range(5):
        rest, held = splits.by_group(group, y, fraction=0.2, seed=seed, where="x")
        assert np.bincount(y[held]).tolist() == [6, 6]
        assert not set(group[held]) & set(group[rest])


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_one_group_is_drawn_and_one_stays(fraction):
    group = np.arange(3, dtype=np.int32).repeat(2)
    y = np.tile(np.array([0, 1], np.int32), 3)
    rest, held = splits.by_group(group, y, fraction=fraction, seed=0, where="x")
    assert len(rest)
    assert len(held)
