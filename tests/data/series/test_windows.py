"""Windows: inside one run of one group, as many as there is room for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.data.series import windows

FEW = settings(max_examples=50, deadline=None)


@FEW
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=40),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_no_window_has_a_break_or_two_groups(rows, window, step):
    group = np.sort(np.array([g for g, _ in rows], np.int32))
    time = np.cumsum(np.array([t for _, t in rows], np.int64))
    after = windows.steps(group, time)
    begins = windows.run_starts(group, after <= 2)
    starts = windows.window_starts(begins, window=window, step=step)
    for start in starts:
        inside = slice(start, start + window)
        assert len(set(group[inside])) == 1
        assert (np.diff(time[inside]) <= 2).all()
    lengths = np.diff(np.append(np.flatnonzero(begins), len(group)))
    count = [max(0, (length - window) // step + 1) for length in lengths]
    assert len(starts) == sum(count)
    covered = {row for start in starts for row in range(start, start + window)}
    inside = windows.in_windows(starts, window=window, rows=len(group))
    assert np.flatnonzero(inside).tolist() == sorted(covered)
    values = np.arange(2 * len(group)).reshape(-1, 2)
    found = windows.cut(values, starts, window=window)
    expected = [values[s : s + window] for s in starts]
    np.testing.assert_array_equal(found, np.reshape(expected, (-1, window, 2)))


def test_steps_past_half_of_all_times():
    time = np.array([-(2**63) + 1, 2**63 - 1, 0, 5])
    found = windows.steps(np.array([0, 0, 1, 1]), time)
    np.testing.assert_allclose(found, [np.nan, 2.0**64, np.nan, 5])
