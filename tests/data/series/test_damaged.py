"""Damaged and wrong files: one line that names file, column and row."""

import gzip

import pytest

from kdjax.errors import InputError
from tests.data.series import made

GOOD = "\n".join(["time,who,x,y,does", *made.rows()]) + "\n"


def row(k, text):
    """GOOD with its line k, counted from 1, another."""
    lines = GOOD.splitlines(keepends=True)
    return "".join([*lines[: k - 1], text, *lines[k:]])


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        ("", {}, "row 1: expected the columns' names, found no row"),
        ("\n\n", {}, "row 1: expected the columns' names, found no row"),
        (",,\n", {}, "row 1: expected the columns' names, found none"),
        ("time,who,x,y,does\n", {}, "expected rows, found none"),
        (GOOD, {"time": "tiem"}, r"row 1: .* a column 'tiem', .*did you mean 'time'"),
        (GOOD, {"group": "whom"}, r"row 1: .* a column 'whom', .*did you mean 'who'"),
        (GOOD, {"label": "doe"}, r"row 1: .* a column 'doe', .*did you mean 'does'"),
        (GOOD, {"channels": ["z"]}, r"a column 'z' \(config.data.channels\)"),
        (GOOD.replace("y,", "x,", 1), {}, "column 'x', row 1: expected each name once"),
        (GOOD.replace(",", ";"), {}, "row 1: .*set config.data.delimiter=';'"),
        (
            row(3, "0.05,p0,a,1,sit\n"),
            {},
            "column 'x', row 3: expected a number, .*'a'",
        ),
        (row(3, "0.05,p0,1_0,1,sit\n"), {}, "column 'x', row 3: expected a number"),
        (row(3, "0.05,p0,1,inf,sit\n"), {}, "column 'y', row 3: expected a finite"),
        (row(3, "0.05,p0,1,1e999,sit\n"), {}, "column 'y', row 3: expected a finite"),
        (row(3, "0.05,p0,1,1e99,sit\n"), {}, "column 'y', row 3: expected at most 3.4"),
        (row(3, "x,p0,1,1,sit\n"), {}, "column 'time', row 3: expected a number"),
        (row(3, '0.05,p0,"1,5",1,sit\n'), {}, "'x', row 3: .*config.data.decimal=','"),
        (row(3, "0.05,p0,1\n"), {}, "row 3: expected 5 columns, found 3"),
        (row(3, "0.05,p0,1,1,sit,\n"), {}, "row 3: expected 5 columns, found 6"),
        (row(3, '0.05,p0,"1,1,sit\n'), {}, "expected CSV, found unexpected end"),
        (row(3, '0.05,p0,"1"1,1,sit\n'), {}, "row 3: expected CSV, found"),
        (row(3, "0.05,p0,1,1,s\0t\n"), {}, "row 3: expected text, found NUL"),
        (row(3, "0.05,p0,1,1,s\rt\n"), {}, "row 3: expected CSV, found new-line"),
        (GOOD + "\ufeff" + GOOD, {}, "row 202: .*byte order mark: were two files"),
        (GOOD.encode("utf-16"), {}, "row 1: expected UTF-8, found UTF-16"),
        (GOOD.encode("utf-16-le"), {}, "row 1: expected text, found NUL"),
        (row(9, "é,p0,1,1,1\n").encode("latin1"), {}, "row 9: .*the byte 0xe9"),
        (
            row(3, "0.00,p0,1,1,sit\n"),
            {},
            "'time', row 3: .*each time once .* of row 2",
        ),
        (
            row(3, "2020-01-01T00:00Z,p0,1,1,sit\n"),
            {},
            "column 'time', row 3: expected a number, found '2020",
        ),
        (
            "time,x,does\n2020-01-01,1,a\n2020-01-02T00:00Z,1,a\n",
            {"time_unit": None, "group": None},
            "column 'time', row 3: expected no time zone, as in row 2 of a.csv",
        ),
        (GOOD, {"time_unit": None}, "'time', row 2: .*needs config.data.time_unit"),
        (GOOD, {"window": 41}, "expected runs of 41 rows or more, found 5 of 40"),
        (
            GOOD.replace("walk", "sit"),
            {},
            "column 'does': .*two classes .* 'sit' alone",
        ),
        (GOOD, {"group": "x"}, "'who', row 2: expected a number, found 'p0'"),
        (
            GOOD.replace(",sit", ",").replace(",walk", ","),
            {},
            "'does': .*without an empty cell",
        ),
        (GOOD, {"relative": True, "channels": ["x"], "repeated": "first"}, None),
        (row(5, "0.15,p0,0,1,sit\n"), {"relative": True}, "'x', row 5: .*no 0 before"),
        (GOOD, {"channels": ["x", "x"]}, "config.data.channels: expected names, each"),
        (
            GOOD,
            {"key": "x", "value": "does", "label": "y"},
            "'does', row 2: expected a",
        ),
        (GOOD, {"horizon": 3}, "column 'does', row 2: expected a number, found 'sit'"),
        (
            GOOD,
            {"split": "time"},
            "a.csv: validation: expected examples, found",
        ),
        (GOOD, {"test_path": "{folder}/none.csv"}, "none.csv: expected this file"),
        (
            GOOD,
            {"path": "{folder}/none.csv"},
            "none.csv: expected this file, found none",
        ),
        (
            GOOD,
            {"path": "{folder}/*.ts"},
            r"config.data.path: expected files '.*\*.ts'",
        ),
        (GOOD, {"path": "{folder}"}, "expected this file, found a folder"),
        (GOOD, {"path": "{folder}/a.txt"}, "a.txt: expected a file .csv, .csv.gz"),
        (
            GOOD,
            {"format": "geneactiv", "label": "lux", "group": None},
            "row 101: expected 7 columns, found 5",
        ),
        ("a\n" * 99, {"format": "geneactiv"}, "expected a header of 100 lines"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, fields, message):
    path = tmp_path / "a.csv"
    content = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(content)
    (tmp_path / "a.txt").write_bytes(content)
    fields = {
        k: v.format(folder=tmp_path) if k.endswith("path") else v
        for k, v in fields.items()
    }
    given = {"path": str(path)} | fields
    if message is None:
        made.load(**given)
        return
    with pytest.raises(InputError, match=message) as caught:
        made.load(**given)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith((str(tmp_path), "config.data."))


@pytest.mark.parametrize("length", [-50, -4, 20])
def test_a_packed_file_cut_short(tmp_path, length):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(GOOD.encode())[:length])
    with pytest.raises(InputError, match=r"a.csv.gz: row \d+: cannot be read"):
        made.load(path)


def test_a_packed_file_that_is_none(tmp_path):
    path = made.write(tmp_path / "a.csv.gz", GOOD)
    with pytest.raises(InputError, match=r"row 1: cannot be read .*[Nn]ot a gzipped"):
        made.load(path)


def test_files_that_are_too_large(tmp_path, monkeypatch):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"time,who,x,does\n" + b"0" * 2**22))
    monkeypatch.setattr("kdjax.archives.most_bytes", lambda: 2**21)
    with pytest.raises(InputError, match=r"a.csv.gz: expected at most 0.00195 GiB"):
        made.load(path)
    path = made.write(tmp_path / "a.csv", GOOD * 500)
    with pytest.raises(InputError, match=r"a.csv: expected at most"):
        made.load(path)
    path = made.csv(tmp_path / "b.csv")
    monkeypatch.setattr("kdjax.archives.most_bytes", lambda: 2**13)
    with pytest.raises(InputError, match=r"config.data.step: 155 windows: expected"):
        made.load(path, window=10, step=1)


def test_sources_without_a_time_in_common(tmp_path):
    later = [line.replace("p", "q", 1) for line in made.rows()]
    path = {
        "one": str(made.csv(tmp_path / "a.csv")),
        "two": str(made.csv(tmp_path / "b.csv", later)),
    }
    with pytest.raises(InputError, match=r"a.csv and .*b.csv: .*in common, found none"):
        made.load(path)


def test_a_sources_own_column_is_named(tmp_path):
    path = {
        "one": str(made.csv(tmp_path / "a.csv")),
        "two": str(made.write(tmp_path / "b.csv", row(4, "0.10,p0,1,1e99,sit\n"))),
    }
    with pytest.raises(InputError, match=r"b.csv: column 'y', row 4: expected at most"):
        made.load(path)


def test_sources_with_other_labels(tmp_path):
    lines = made.rows()
    lines[6] = lines[6].replace("sit", "walk")
    path = {
        "one": str(made.csv(tmp_path / "a.csv")),
        "two": str(made.csv(tmp_path / "b.csv", lines)),
    }
    with pytest.raises(InputError, match=r"b.csv: column 'does', row 8: .* of 'one'"):
        made.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start,end,label\n0,1,a\n", "row 1: expected a column 'who'"),
        ("who,start,end\np0,0,1\n", "row 1: expected a column 'label'"),
        ("who,start,end,label\n", "expected rows, found none"),
        ("who,start,end,label\np0,1,1,a\n", "column 'end', row 2: .* after '1', .*'1'"),
        ("who,start,end,label\np0,0,1,\n", "column 'label', row 2: expected a value"),
        ("who,start,end,label\np0,,1,a\n", "column 'start', row 2: expected a value"),
        ("who,start,end,label\np0,0,x,a\n", "column 'end', row 2: expected a number"),
        (
            "who,start,end,label\np0,1,3,a\np1,0,9,b\np0,0,2,a\n",
            "column 'start', row 2: .* do not overlap, .*the end in row 4",
        ),
        ("who,start,end,label\nq,0,9,a\n", r"column 'label': .*found none of 40"),
        ("who,start,end,label\np0,0,9,a\n", "column 'label': .*two classes or more"),
    ],
)
def test_labels_that_are_wrong(tmp_path, text, message):
    labels = made.write(tmp_path / "labels.csv", text)
    path = made.csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match=message) as caught:
        made.load(path, labels=str(labels), label=None, channels=["x"])
    assert str(caught.value).startswith(str(labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("@timeStamps false", "@timeStamps true"), "expected @timeStamps false"),
        (("@classLabel true 1 2", "@classLabel false"), "expected @classLabel true"),
        (("@data", ""), "row 8: expected a line @..., up to @data"),
        (("# made up", "made up"), "row 1: expected a line @..., up to @data"),
        (
            (":1\n", "\n"),
            "column 'label', row 8: expected values:label of 1 or 2, found",
        ),
        ((":", ":1,2:"), r"row 8: expected 4 dimensions|column 'dim_1', row 8: .*20"),
        ((",", ",x"), "column 'dim_0', row 8: expected a number, found 'x"),
        (("@data\n", "@data\n(0,1.5),(1,2):1\n"), "column 'dim_0', row 8"),
    ],
)
def test_ts_files_that_are_wrong(tmp_path, change, message):
    path = made.ts(tmp_path / "a.ts")
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError, match=message) as caught:
        made.load(path, group=None, label=None)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
