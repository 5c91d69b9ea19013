"""Time stamps: exact, in UTC, in whole nanoseconds."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.data.series.formats.lines import Column
from kdjax.data.series.times import NONE, Clock
from kdjax.errors import InputError


def read(cells, **how):
    at = Column(Path("a.csv"), "time", np.arange(2, 2 + len(cells)))
    return Clock(**how).read(cells, at).tolist()


FEW = settings(max_examples=50, deadline=None)
YEARS = {"min_value": datetime(1700, 1, 1), "max_value": datetime(2250, 1, 1)}


@FEW
@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1))
def test_whole_nanoseconds_stay_what_they_are(stamps):
    assert read([str(stamp) for stamp in stamps], unit="ns") == stamps


@FEW
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.sampled_from(["s", "ms"]))
def test_decimals_are_exact(stamps, unit):
    digits = {"s": 9, "ms": 6}[unit]
    cells = []
    for stamp in stamps:
        whole, rest = divmod(abs(stamp), 10**digits)
        cells.append(f"{'-' * (stamp < 0)}{whole}.{rest:0{digits}d}".rstrip("0"))
    assert read(cells, unit=unit) == stamps


@FEW
@given(
    st.lists(st.datetimes(**YEARS), min_size=1, max_size=5),
    st.sampled_from(["auto", "seconds", "milliseconds"]),
    st.sampled_from([None, 0, 60, -330]),
)
def test_dates_as_pandas_reads_them(times, precision, zone):
    if zone is not None:
        zone = timezone(timedelta(minutes=zone))
        times = [time.replace(tzinfo=zone) for time in times]
    cells = [time.isoformat(timespec=precision) for time in times]
    expected = [pd.Timestamp(cell).as_unit("ns").value for cell in cells]
    assert read(cells) == expected
    assert read([cell.replace("T", " ") for cell in cells]) == expected


@pytest.mark.parametrize(
    ("cell", "how", "nanoseconds"),
    [
        ("1.05", {"unit": "s"}, 1_050_000_000),
        ("-0.5", {"unit": "s"}, -500_000_000),
        (".5", {"unit": "s"}, 500_000_000),
        ("5.", {"unit": "us"}, 5_000),
        ("1e3", {"unit": "ms"}, 1_000_000_000),
        ("0.01666666666666666", {"unit": "s"}, 16_666_667),
        ("1570000000.123456789", {"unit": "s"}, 1570000000123456789),
        (" 7 ", {"unit": "ns"}, 7),
        ("1970-01-02", {}, 86_400 * 10**9),
        ("1970-01-01T00:00:01.000000001Z", {}, 1_000_000_001),
        ("1970-01-01 01:00+01:00", {}, 0),
        ("1969-12-31T19:00:00-0500", {}, 0),
        ("1969-12-31 23:59:59,5", {}, -500_000_000),
        ("02/01/1970 00:00", {"form": "%d/%m/%Y %H:%M"}, 86_400 * 10**9),
        ("1970-01-01 01:00 +0100", {"form": "%Y-%m-%d %H:%M %z"}, 0),
        ("", {}, NONE),
        ("NaN", {"unit": "s"}, NONE),
    ],
)
def test_by_hand(cell, how, nanoseconds):
    assert read([cell], **how) == [nanoseconds]
    assert read([cell, "", cell], **how) == [nanoseconds, NONE, nanoseconds]


@pytest.mark.parametrize(
    ("cells", "how", "message"),
    [
        (["x"], {}, "row 2: expected an ISO 8601 time .* found 'x'"),
        (["12.5"], {}, r"a number needs config.data.time_unit"),
        (["2012-02-30"], {}, "found '2012-02-30'"),
        (["2012-01-01T25:00"], {}, "expected an ISO"),
        (["2012-01-01.5"], {}, "expected an ISO"),
        (["2012-01-01T10:00:5"], {}, "expected an ISO"),
        (["1492-10-12"], {}, "a time from 1678 to 2262"),
        (["2012-01-01T00:00Z", "2012-01-01T00:00"], {}, "row 3: expected a time zone"),
        (["2012-01-01T00:00", "2012-01-01T00:00Z"], {}, "row 3: expected no time zone"),
        (["1", "x"], {"unit": "s"}, "row 3: expected a number, found 'x'"),
        (["1_0"], {"unit": "ns"}, "expected a number"),
        (["-"], {"unit": "s"}, "expected a number"),
        (["inf"], {"unit": "s"}, "expected a number"),
        (["1e9999999"], {"unit": "s"}, "expected a number"),
        (["9223372036854775808"], {"unit": "ns"}, "within 292 years"),
        (["99999999999"], {"unit": "s"}, "within 292 years"),
        (["1,5"], {"unit": "s"}, "config.data.decimal=','"),
        (["1/2"], {"form": "%d.%m"}, "time_format='%d.%m' says, found '1/2'"),
        (["1"], {"form": "%"}, "time_format"),
    ],
)
def test_wrong_times_are_named(cells, how, message):
    with pytest.raises(InputError, match=message) as caught:
        read(cells, **how)
    assert str(caught.value).startswith("a.csv: column 'time', row ")


def test_now():
    now = datetime.now(UTC)
    expected = [pd.Timestamp(now).as_unit("ns").value]
    assert read([now.isoformat()]) == expected
