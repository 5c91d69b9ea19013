"""Formats beside CSV: .ts, GENEActiv's export, Parquet, and the real WISDM."""

import re
import zipfile

import numpy as np
import pandas as pd
import pytest

from kdjax.errors import InputError
from tests.data.series import made

CHANNELS = [f"{sensor}_{axis}" for sensor in ("accel", "gyro") for axis in "xyz"]
SECOND = "2012-05-23T16:47:5"
PLAIN = {"group": None, "label": None, "time_unit": None}


def test_ts_of_unequal_lengths(tmp_path):
    path = made.ts(tmp_path / "X_TRAIN.ts")
    found = made.load(path, window=20, scale=False, **PLAIN)
    assert found.classes == ("1", "2")
    assert found.channels == ("dim_0", "dim_1")
    assert [len(part.y) for part in found[2:5]] == [8, 2, 2]
    assert found.counts[0]["read"] == sum(range(20, 32))
    assert found.counts[0]["in no window"] == sum(range(12))
    line = path.read_text().splitlines()[int(found.train.key[0].split(":")[1][:-2]) - 1]
    expected = [float(v) for v in line.split(":")[0].split(",")[:20]]
    np.testing.assert_allclose(found.train.x[0, :, 0], expected, rtol=1e-6)
    assert found.train.key[0].startswith(f"{tmp_path.name}/X_TRAIN.ts:")


def test_ts_with_an_official_test_set_and_missing_values(tmp_path):
    path = made.ts(tmp_path / "X_TRAIN.ts")
    lines = path.read_text().splitlines()
    lines[-1] = "?" + lines[-1][lines[-1].index(",") :]
    lines[-2] = re.sub(r"^[^,]*,[^,]*", "1,NaN", lines[-2])
    path.write_text("\n".join(lines))
    test = made.ts(tmp_path / "X_TEST.ts", series=6, seed=1)
    found = made.load(path, window=20, test_path=str(test), **PLAIN)
    assert [len(part.y) for part in found[2:5]] == [10, 2, 6]
    assert [count["incomplete"] for count in found.counts] == [2, 0]
    assert found.test.key[0] == f"test/{tmp_path.name}/X_TEST.ts:10/0"
    with pytest.raises(InputError, match=r"config.data.group: expected None for a .ts"):
        made.load(path, window=20, **PLAIN | {"group": "x"})
    made.csv(tmp_path / "X_a.csv")
    with pytest.raises(InputError, match="cannot be joined with others"):
        made.load(tmp_path / "X_*", window=20, **PLAIN)


def test_geneactiv_with_labels(tmp_path):
    path = made.geneactiv(tmp_path / "left_wrist.csv")
    labels = made.write(
        tmp_path / "labels.csv",
        "start,end,label\n"
        + "".join(
            f"{SECOND}{s}.000,{SECOND}{s}.5,a\n{SECOND}{s}.5,{SECOND}{s + 1},b\n"
            for s in range(4)
        ),
    )
    found = made.load(
        path,
        format="geneactiv",
        labels=str(labels),
        window=5,
        scale=False,
        rule="all",
        **PLAIN,
    )
    assert found.channels == ("x", "y", "z")
    assert found.train.x.shape[1:] == (5, 3)
    assert np.bincount(found.train.y).tolist() == [30, 21]
    begin = pd.Timestamp("2012-05-23 16:47:50").as_unit("ns").value
    assert found.train.key[1] == f"/{begin + 50_000_000}"
    line = path.read_text().splitlines()[100].split(",")
    np.testing.assert_allclose(found.train.x[0, 0], np.float32(line[1:4]))
    lux = made.load(
        path,
        format="geneactiv",
        labels=str(labels),
        channels=["temperature"],
        scale=False,
        **PLAIN,
    )
    assert lux.train.x[0, 0, 0] == np.float32(23.1)


def test_parquet(tmp_path):
    path = made.csv(tmp_path / "a.csv")
    table = pd.read_csv(path)
    expected = made.load(path)
    pytest.importorskip("pyarrow")
    table.to_parquet(tmp_path / "a.parquet")
    found = made.load(tmp_path / "a.parquet")
    np.testing.assert_array_equal(found.train.x, expected.train.x)
    np.testing.assert_array_equal(found.train.key, expected.train.key)
    stamps = pd.to_datetime(table["time"], unit="s", utc=True).dt.as_unit("ns")
    table.assign(time=stamps).to_parquet(tmp_path / "b.parquet")
    found = made.load(tmp_path / "b.parquet", time_unit=None)
    np.testing.assert_array_equal(found.train.key, expected.train.key)
    table.assign(z=[[1]] * len(table)).to_parquet(tmp_path / "b.parquet")
    found = made.load(tmp_path / "b.parquet", channels=["x", "y"])
    np.testing.assert_array_equal(found.train.x, expected.train.x)
    with pytest.raises(InputError, match=r"b.parquet: column 'z', row 1: .*'\[1\]'"):
        made.load(tmp_path / "b.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"b.parquet: cannot be read"):
        made.load(tmp_path / "b.parquet")


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    path = made.write(tmp_path / "a.parquet", "PAR1")
    with pytest.raises(InputError, match=r"a.parquet: Parquet needs pyarrow"):
        made.load(path)


def test_wisdms_watch_joined(shared_data, tmp_path):
    archive = shared_data / "wisdm_watch" / "wisdm_raw_1650.zip"
    if not archive.is_file():
        pytest.skip(f"needs {archive}")
    path = {}
    with zipfile.ZipFile(archive) as file:
        for sensor in ("accel", "gyro"):
            (name,) = (n for n in file.namelist() if n.endswith(f"_{sensor}_watch.txt"))
            lines = file.read(name).decode().replace(";", "").strip()
            text = f"subject,code,time,x,y,z\n{lines}\n"
            path[sensor] = str(made.write(tmp_path / f"{sensor}.csv", text))
    found = made.load(
        path,
        window=100,
        time_unit="ns",
        group="code",
        label="code",
        channels=CHANNELS,
        split="time",
        scale=False,
    )
    assert [count["read"] for count in found.counts] == [66592, 66556]
    assert [count["joined"] for count in found.counts] == [66556, 66556]
    assert len(found.classes) == 18
    tables = [pd.read_csv(path[sensor]) for sensor in ("accel", "gyro")]
    merged = tables[0].merge(tables[1], on=["code", "time"])
    merged = merged.sort_values(["code", "time"], kind="stable").reset_index()
    assert len(merged) == 66556
    code, time = found.train.key[-1].split("/")
    (row,) = merged.index[(merged.code == code) & (merged.time == int(time))]
    axes = [f"{axis}_{side}" for side in "xy" for axis in "xyz"]
    expected = merged.loc[row : row + 99, axes].to_numpy(np.float32)
    np.testing.assert_array_equal(found.train.x[-1], expected)
