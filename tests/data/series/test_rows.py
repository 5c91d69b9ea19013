"""Rows against pandas: joined, complete, repeated, pivoted, relative."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kdjax.data.series.columns import Source
from kdjax.data.series.rows import Rows, by_time, differing, pivot, relative
from kdjax.data.series.times import NONE
from kdjax.data.series.typed import known
from kdjax.data.series.windows import inner_join, repeated

FEW = settings(max_examples=40, deadline=None)
SOURCE = Source("", (), "label", ("x", "y"), ("x", "y"))


@st.composite
def tables(draw):
    """Rows of few groups and times, in any order, some of them the same."""
    n = draw(st.integers(1, 30))

    def pick(kind, low, high):
        return draw(arrays.arrays(kind, n, elements=st.integers(low, high)))

    group, time = pick(np.int32, 0, 2), pick(np.int64, -3, 6)
    values = np.stack([pick(np.int64, 1, 3), pick(np.int64, 1, 2)], 1).astype(float)
    label = pick(np.int64, 0, 1).astype(float)
    line = np.arange(n)[:, None]
    return Rows(group, time, values, label, np.zeros((n, 1), np.int32), line)


def frame(rows):
    return pd.DataFrame(
        {
            "group": rows.group,
            "time": rows.time,
            "x": rows.values[:, 0],
            "y": rows.values[:, 1],
            "label": rows.label,
            "line": rows.line[:, 0],
        }
    )


@FEW
@given(tables(), tables(), st.booleans())
def test_joined_as_pandas_merges(one, other, both):
    parts = [rows.take(~repeated(rows.group, rows.time)) for rows in (one, other)]
    frames = [frame(part) for part in parts]
    merged = frames[0].merge(frames[1], on=["group", "time"], how="inner")
    merged = merged.sort_values(["group", "time"], kind="stable")
    found = inner_join([(part.group, part.time) for part in parts])
    for part, rows, side in zip(parts, found, "xy", strict=True):
        assert part.line[rows, 0].tolist() == merged[f"line_{side}"].tolist()
    if both:
        again = inner_join([(part.group, part.time) for part in (*parts, parts[0])])
        assert [rows.tolist() for rows in again[:2]] == [r.tolist() for r in found]


@FEW
@given(tables(), st.data())
def test_incomplete_rows_are_those_that_dropna_drops(rows, data):
    holes = data.draw(arrays.arrays(bool, (len(rows.time), 5)))
    expected = frame(rows).astype(float)
    for k, name in enumerate(("group", "time", "x", "y", "label")):
        expected.loc[holes[:, k], name] = np.nan
    values = np.where(holes[:, 2:4], np.nan, rows.values)
    holed = rows._replace(
        group=np.where(holes[:, 0], -1, rows.group).astype(np.int32),
        time=np.where(holes[:, 1], NONE, rows.time),
        values=values,
        label=np.where(holes[:, 4], np.nan, rows.label),
    )
    kept = holed.take(known(SOURCE, holed))
    assert kept.line[:, 0].tolist() == expected.dropna()["line"].tolist()


@FEW
@given(tables())
def test_repeated_as_pandas_says(rows):
    table = frame(rows)
    expected = table.duplicated(["group", "time"])
    assert repeated(rows.group, rows.time).tolist() == expected.tolist()
    ordered = by_time(rows)
    table = table.sort_values(["group", "time"], kind="stable")
    assert ordered.line[:, 0].tolist() == table["line"].tolist()
    again, differs = differing(ordered)
    same = table.duplicated(["group", "time"]).to_numpy()
    assert again.tolist() == same.tolist()
    alike = table.groupby(["group", "time"])[["x", "y", "label"]].nunique().max().max()
    assert (differs is None) == (alike == 1)
    if differs is not None:
        assert again[differs]


@FEW
@given(tables())
def test_relative_as_pandas_changes(rows):
    rows = by_time(rows)
    row, change = relative(rows.group, rows.values)
    expected = frame(rows).groupby("group")[["x", "y"]].pct_change().dropna()
    assert row.tolist() == expected.index.tolist()
    np.testing.assert_allclose(change, expected.to_numpy(), rtol=1e-14, atol=1e-15)


@FEW
@given(tables())
def test_pivoted_as_pandas_pivots(rows):
    key = rows.label.astype(np.int32)
    value = rows.values[:, 0]
    first, wide, went, twice = pivot(rows.group, rows.time, key, value, keys=2)
    table = frame(rows)
    assert (twice is None) == (not table.duplicated(["group", "time", "label"]).any())
    np.testing.assert_array_equal(rows.group[first][went], rows.group)
    np.testing.assert_array_equal(rows.time[first][went], rows.time)
    if twice is None:
        index = ["group", "time"]
        expected = table.pivot(index=index, columns="label", values="x")
        expected = expected.reindex(columns=[0.0, 1.0]).sort_index()
        np.testing.assert_array_equal(wide, expected.to_numpy())
        assert list(zip(rows.group[first], rows.time[first], strict=True)) == list(
            expected.index
        )


def test_relative_by_hand():
    group = np.array([0, 0, 0, 1, 1], np.int32)
    values = np.array([[2.0], [3.0], [1.5], [4.0], [5.0]])
    row, change = relative(group, values)
    assert row.tolist() == [1, 2, 4]
    assert change[:, 0].tolist() == [0.5, -0.5, 0.25]
