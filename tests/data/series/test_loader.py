"""`series` on small files: what its fields do to rows, windows, labels and splits."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from kdjax import data
from kdjax.data.preprocessing import preprocess
from kdjax.data.series import loader
from kdjax.errors import InputError
from kdjax.stages import networks
from tests.data.series import made


@pytest.fixture
def file(tmp_path):
    def write(lines=None, name="a.csv", **how):
        return made.csv(tmp_path / name, lines, **how)

    return write


@pytest.fixture
def one(monkeypatch):
    """All windows in order, unscaled: x [n, window] of one channel, labels, keys."""
    nothing = np.empty(0, np.intp)

    def undivided(parts, examples, *others):
        return [np.arange(len(examples[0].y)), nothing, nothing]

    monkeypatch.setattr(loader, "split_windows", undivided)
    monkeypatch.setattr(loader, "check", lambda dataset, **where: dataset)

    def read(path, **fields):
        own = {"group": None, "scale": False, "channels": ["x"]}
        found = made.load(path, **(own | fields))
        names = [found.classes[y] for y in found.train.y]
        return found.train.x[..., 0].tolist(), names, found.train.key.tolist()

    return read


def numbered(n, *, does="aabb", skip=()):
    """Lines time,x,does: x = time + 1, labels in turn."""
    return [f"{i},{i + 1},{does[i % len(does)]}" for i in range(n) if i not in skip]


def test_windows_of_people(file):
    found = made.load(file())
    assert found.name == "a"
    assert found.classes == ("sit", "walk")
    assert found.channels == ("x", "y")
    assert [len(part.y) for part in found[2:5]] == [24, 8, 8]
    assert found.train.x.shape == (24, 5, 2)
    assert found.train.x.dtype == np.float32
    np.testing.assert_allclose(found.train.x.mean(axis=(0, 1)), 0, atol=1e-6)
    assert found.preprocessing[0]["name"] == "standardise"
    assert found.test.key[0].startswith("p")
    assert [len(digest) for digest in found.content] == [24, 8, 8]
    (count,) = found.counts
    assert count["read"] == count["joined"] == 200
    assert count["in no window"] == count["incomplete"] == count["repeated"] == 0


def test_validation_is_drawn_by_seed_test_once(file):
    path = file()
    found = [made.load(path, seed=seed) for seed in range(6)]
    assert len({tuple(each.test.key) for each in found}) == 1
    assert len({tuple(each.validation.key) for each in found}) > 1


def test_a_changed_file_is_read_anew(file):
    assert made.load(file()).train.x.shape[0] == 24
    assert made.load(file(made.rows(people=6))).train.x.shape[0] == 32


def test_unsorted_rows_and_groups_are_sorted(file):
    lines = made.rows()
    shuffled = np.random.default_rng(0).permutation(lines)
    one, other = made.load(file()), made.load(file(shuffled, name="b.csv"))
    np.testing.assert_array_equal(one.train.x, other.train.x)
    np.testing.assert_array_equal(one.test.key, other.test.key)


def test_columns_in_another_order_a_bom_quotes_and_windows_ends(tmp_path):
    lines = [",".join(reversed(line.split(","))) for line in made.rows()]
    lines[3] = ",".join(f'"{cell}"' for cell in lines[3].split(","))
    text = "\r\n".join(["\ufeffdoes,y,x,who,time", *lines])
    path = tmp_path / "b.csv"
    path.write_bytes(text.encode())
    expected = made.load(made.csv(tmp_path / "a.csv"), channels=["y", "x"])
    np.testing.assert_array_equal(made.load(path).train.x, expected.train.x)


def test_packed_semicolons_and_decimal_commas(file, tmp_path):
    expected = made.load(file())
    with gzip.open(tmp_path / "b.csv.gz", "wt") as out:
        out.write("\n".join(["time,who,x,y,does", *made.rows()]))
    np.testing.assert_array_equal(
        made.load(tmp_path / "b.csv.gz").train.x, expected.train.x
    )
    lines = [
        line.replace(",", ";").replace(".", ",") if not line.startswith("#") else line
        for line in made.rows()
    ]
    # times too have decimal commas
    path = file(lines, name="c.csv", header="time;who;x;y;does")
    found = made.load(path, delimiter=";", decimal=",")
    np.testing.assert_array_equal(found.train.x, expected.train.x)


def test_a_time_missing_and_a_row_incomplete_end_a_run(file, one):
    lines = numbered(24, skip=(10,))
    lines[4] = "4,,a"
    x, _, keys = one(file(lines, header="time,x,does"), window=2)
    assert x == [
        *([1, 2], [3, 4], [6, 7], [8, 9], [12, 13], [14, 15], [16, 17], [18, 19]),
        *([20, 21], [22, 23]),
    ]
    assert keys[0] == "/0"
    found = made.load(
        file(lines, header="time,x,does"), group=None, split="random", window=2
    )
    assert found.counts[0] | {"file": ""} == {
        "file": "",
        "read": 23,
        "incomplete": 1,
        "repeated": 0,
        "joined": 22,
        "in no window": 2,
    }


def test_gap_in_the_times_unit(file, one):
    path = file(numbered(24, skip=(10,)), header="time,x,does")
    begins = [row[0] for row in one(path, window=2, step=2)[0]]
    assert begins == [1, 3, 5, 7, 9, *range(12, 24, 2)]
    x, _, _ = one(path, window=2, gap=2.0)
    assert x[4:6] == [[9, 10], [12, 13]]
    for many in (2.0, 1e9):
        assert [10, 12, 13] in one(path, window=3, gap=many)[0]
    minutes = [f"2020-01-01T00:{i:02d},{i},{'aabb'[i % 4]}" for i in range(24)]
    path = file(minutes, header="time,x,does")
    assert one(path, window=2, time_unit=None, gap=60)[0][0] == [0, 1]
    with pytest.raises(InputError, match=r"expected runs of 2 rows .* found 24 of 1"):
        one(path, window=2, time_unit=None, gap=59)


def test_step_overlaps_windows(file, one):
    path = file(numbered(9), header="time,x,does")
    x, _, _ = one(path, window=4, step=2)
    assert [row[0] for row in x] == [1, 3, 5]


@pytest.mark.parametrize(
    ("rule", "begins", "names"),
    [
        ("last", range(1, 25, 3), "abababba"),
        ("majority", range(1, 25, 3), "ababbaba"),
        ("all", [1, 4, 19, 22], "abba"),
    ],
)
def test_rules_where_a_label_changes_inside(file, one, rule, begins, names):
    path = file(numbered(24, does="aaabbbb"), header="time,x,does")
    x, found, _ = one(path, window=3, rule=rule)
    assert [row[0] for row in x] == list(begins)
    assert found == list(names)


def test_labels_of_another_file(file, tmp_path, one):
    path = file([f"{i},{i + 1}" for i in range(30)], header="time,x")
    labels = made.write(
        tmp_path / "labels.csv", "label,start,end\na,0,10\nb,10,16\na,20,30\n"
    )
    how = {"label": None, "labels": str(labels), "window": 4}
    x, names, _ = one(path, rule="last", **how)
    assert [row[0] for row in x] == [1, 5, 9, 13, 21, 25]
    assert names == ["a", "a", "b", "b", "a", "a"]
    _, names, _ = one(path, rule="majority", **how)
    assert names == ["a", "a", "a", "b", "a", "a"]
    x, names, _ = one(path, rule="all", **how)
    assert [row[0] for row in x] == [1, 5, 13, 21, 25]


def test_labels_by_group(file, tmp_path):
    lines = [f"{i},{p},{i}" for p in "abcdef" for i in range(20)]
    path = file(lines, header="time,who,x")
    text = "".join(f"{p},0,10,sit\n{p},10,20,walk\n" for p in "fedcba")
    labels = made.write(tmp_path / "labels.csv", f"who,start,end,label\n{text}")
    found = made.load(path, label=None, labels=str(labels), rule="all")
    assert found.train.y.tolist() == [0, 0, 1, 1] * 4


def test_labels_by_the_files_names(tmp_path):
    for p in "abcdef":
        lines = [f"{i},{i}" for i in range(20)]
        made.csv(tmp_path / f"{p}.csv", lines, header="time,x")
    text = "".join(f"{p},0,10,sit\n{p},10,20,walk\n" for p in "fedcba")
    labels = made.write(tmp_path / "l" / "labels.csv", f"group,start,end,label\n{text}")
    how = {"group": None, "group_pattern": r"(.*)\.csv", "label": None}
    found = made.load(tmp_path / "*.csv", labels=str(labels), **how)
    assert found.train.y.tolist() == [0, 0, 1, 1] * 4


def test_a_teacher_that_saw_rows_of_the_test_in_other_windows_is_refused(file):
    """Whole windows were once compared: none is the same with another step."""
    path = file(made.rows(people=1, n=400))
    own = {"channels": ["x", "y"], "group": None, "split": "time"}
    one, other = (
        made.load(path, **own, step=step, test=test)
        for step, test in ((4, 0.2), (5, 0.5))
    )
    assert not np.isin(other.test.key, one.train.key).all()
    with pytest.raises(InputError, match=r"that stage was trained on \d+ of this"):
        networks._check_held_out(one, other, "config.teacher")
    networks._check_held_out(one, one, "config.teacher")


def test_one_file_as_two_sources(file):
    path = str(file())
    found = made.load({"u": path, "v": path}, relative=True)
    assert [count["joined"] for count in found.counts] == [200, 200]
    # the first row of each of 5 groups, and its last four
    assert [count["in no window"] for count in found.counts] == [25, 25]


def test_what_comes_next(file, one):
    prices = [1, 2, 2, 1, 3, 3, 2, 4, 4, 4, 1, 2, 3]
    lines = [f"{i},{p},{p}" for i, p in enumerate(prices)]
    path = file(lines, header="time,x,does")
    how = {"horizon": 2, "window": 1}
    x, names, _ = one(path, **how)
    signs = [np.sign(b - a) for a, b in zip(prices, prices[2:], strict=False)]
    assert names == [("down", "same", "up")[int(s) + 1] for s in signs]
    # the raw column also where x are changes, and itself a channel
    x, changed, _ = one(path, relative=True, channels=["does"], **how)
    assert changed == names[1:]
    np.testing.assert_allclose(x[0], 1.0)
    lines[6] = lines[6].replace("6,", "60,", 1)
    x, names, _ = one(file(lines, header="time,x,does"), **how)
    assert len(x) == 6 - 2 + 6 - 2, "labels stay inside a run"


def test_relative_goes_on_over_rows_that_are_left_out(file, one):
    lines = ["0,1,a", "1,2,a", "2,,b", "3,3,b", "4,6,a", "5,9,b", "6,18,b", "7,9,a"]
    lines += [f"{i},{2 ** (i % 2)},{'ab'[i % 2]}" for i in range(8, 16)]
    path = file(lines, header="time,x,does")
    x, _, _ = one(path, relative=True, window=1)
    assert x[:6] == [[1.0], [0.5], [1.0], [0.5], [1.0], [-0.5]]
    found = made.load(path, relative=True, group=None, split="random_leaking", window=1)
    with pytest.raises(InputError, match="each row's change"):
        preprocess(found.preprocessing, found.test.x)


def test_the_first_of_a_time_that_comes_twice(file, one):
    lines = numbered(12)
    lines.insert(4, lines[3])
    path = file(lines, header="time,x,does")
    found = made.load(path, group=None, window=2, split="random")
    assert found.counts[0]["repeated"] == 1
    lines.insert(6, "4,99,b")
    path = file(lines, header="time,x,does")
    with pytest.raises(InputError, match=r"row 8: expected each time once .* of row 7"):
        made.load(path, group=None, window=2, split="random")
    x, _, _ = one(path, window=2, repeated="first")
    assert x[2] == [5, 6]


def test_rows_in_order_without_times(file, one):
    lines = [f"{i},{'ab'[i // 2 % 2]}" for i in range(20)]
    for k in "12":
        file(lines, name=f"{k}.csv", header="x,does")
    path = file(lines, name="1.csv", header="x,does").parent / "[12].csv"
    x, _, _ = one(path, time=None, time_unit=None, window=3)
    assert [row[0] for row in x] == [0, 3, 6, 9, 12, 15] * 2
    lines[4] = ",a"
    file(lines, name="1.csv", header="x,does")
    x, _, _ = one(path, time=None, time_unit=None, window=3)
    assert [row[0] for row in x[:3]] == [0, 5, 8]


def test_sources_are_joined(file):
    lines = made.rows()
    late = [line for line in lines if not line.startswith("0.00,")]
    path = {"accel": str(file(lines)), "gyro": str(file(late, name="b.csv"))}
    found = made.load(path)
    assert found.channels == ("accel_x", "accel_y", "gyro_x", "gyro_y")
    assert found.name == "accel+gyro"
    assert [count["joined"] for count in found.counts] == [195, 195]
    assert [count["read"] for count in found.counts] == [200, 195]
    assert [count["in no window"] for count in found.counts] == [20, 20]
    np.testing.assert_array_equal(found.train.x[..., :2], found.train.x[..., 2:])
    some = made.load(path, channels=["gyro_y", "accel_x"], scale=False)
    every = made.load(path, scale=False)
    np.testing.assert_array_equal(some.train.x, every.train.x[..., [3, 0]])


def test_sources_of_other_columns(file):
    lines = made.rows()
    some = [",".join(line.split(",")[:3]) for line in lines]
    path = {
        "one": str(file(lines)),
        "two": str(file(some, name="b.csv", header="time,who,z")),
    }
    found = made.load(path)
    assert found.channels == ("x", "y", "z")
    np.testing.assert_array_equal(found.train.x[..., 0], found.train.x[..., 2])


def test_groups_by_the_files_names(tmp_path):
    for p in range(6):
        lines = [line.split(",", 2) for line in made.rows(people=1, seed=p)]
        lines = [f"{time},{rest}" for time, _, rest in lines]
        made.csv(tmp_path / f"watch_{p:02d}.csv", lines, header="time,x,y,does")
    found = made.load(
        tmp_path / "watch_*.csv", group=None, group_pattern=r"_(\d+)\.csv"
    )
    assert set(found.train.group) | set(found.test.group) < set(range(6))
    assert found.train.key[0].startswith("0")
    assert len(found.counts) == 6
    with pytest.raises(InputError, match=r"'x_\(\.\)' to match .* 'watch_00.csv'"):
        made.load(tmp_path / "*.csv", group=None, group_pattern="x_(.)")


def test_the_long_format(file):
    lines = made.rows()
    long = []
    for line in lines:
        time, who, x, y, does = line.split(",")
        long += [f"{time},{who},{k},{v},{does}" for k, v in (("x", x), ("y", y))]
    path = file(
        np.random.default_rng(0).permutation(long),
        name="b.csv",
        header="time,who,key,value,does",
    )
    expected = made.load(file())
    how = {"key": "key", "value": "value"}
    found = made.load(path, **how)
    assert found.channels == ("x", "y")
    np.testing.assert_array_equal(found.train.x, expected.train.x)
    assert found.counts[0]["read"] == 400
    some = made.load(path, channels=["y"], **how)
    np.testing.assert_array_equal(some.train.x, expected.train.x[..., 1:])
    both = made.load({"a": str(path), "b": str(path)}, **how)
    assert both.channels == ("a_x", "a_y", "b_x", "b_y")
    path = file(long[1:], name="b.csv", header="time,who,key,value,does")
    assert made.load(path, **how).counts[0]["incomplete"] == 1
    path = file([*long, long[7]], name="b.csv", header="time,who,key,value,does")
    with pytest.raises(
        InputError, match=r"b.csv: column 'y', row 402: .*each key once"
    ):
        made.load(path, **how)


def test_split_by_time(file):
    path = file(numbered(100), header="time,x,does")
    found = made.load(path, group=None, window=2, step=1, horizon=None)
    ends = [[int(k[1:]) // 10**9 for k in part.key] for part in found[2:5]]
    assert ends[0] == list(range(63))
    assert ends[1] == list(range(66, 79))
    assert ends[2] == list(range(82, 99))
    assert set(found.train.group) == {0}
    by_group = made.load(file(made.rows(n=200)), split="time")
    assert len({key.split("/")[0] for key in by_group.train.key}) == 5
    last = max(int(key.split("/")[1]) for key in by_group.train.key)
    assert last < min(int(key.split("/")[1]) for key in by_group.validation.key)


def test_random_only_where_nothing_leaks(file):
    path = file(numbered(40), header="time,x,does")
    made.load(path, group=None, window=2, split="random")
    for how in (
        {"group": None, "window": 2, "step": 1},
        {"group": "does", "label": "x", "horizon": 1, "window": 2},
    ):
        with pytest.raises(InputError, match="split: expected 'group' or 'time'"):
            made.load(path, split="random", **how)
    found = made.load(path, group=None, window=2, step=1, split="random_leaking")
    assert found.name == "a (random split, windows leak)"
    # a change reaches into the window before
    relative = {"group": None, "window": 2, "relative": True, "split": "random"}
    with pytest.raises(InputError, match="split: expected 'group' or 'time'"):
        made.load(path, **relative)
    made.load(path, **relative, step=3)


def test_what_is_no_file_and_a_pattern_are_named(file, tmp_path):
    lines = made.rows(people=2)
    for name in ("a.csv", "b.csv"):
        file([line.replace("p", name[0]) for line in lines], name=name)
    pattern = str(tmp_path / "*.csv")
    assert made.load(pattern).name == pattern
    (tmp_path / "c.csv").mkdir()
    with pytest.raises(InputError, match=r"c.csv: expected this file, found a folder"):
        made.load(tmp_path / "c.csv")
    with pytest.raises(InputError, match=r"expected a column '_does'.*did you mean"):
        made.load(file(), label="_does")


def test_a_test_file_of_its_own(file):
    lines = made.rows(people=8)
    train, test = file(lines[:240]), file(lines[240:], name="b.csv")
    found = made.load(train, test_path=str(test))
    assert {key.split("/")[1] for key in found.test.key} == {"p6", "p7"}
    assert len(found.counts) == 2
    assert len(found.train.y) + len(found.validation.y) == 48
    turned = [",".join(reversed(line.split(","))) for line in lines[240:]]
    other = file(turned, name="c.csv", header="does,y,x,who,time")
    np.testing.assert_array_equal(
        made.load(train, test_path=str(other)).test.x, found.test.x
    )
    same = str(file(lines[:240], name="same.csv"))
    with pytest.raises(InputError, match=r"other groups than in .*a.csv, found 'p"):
        made.load(train, test_path=same)
    with pytest.raises(InputError, match=r"other times than in"):
        made.load(train, test_path=same, split="time")
    for split in ("group", "time"):  # once accepted where there are no times
        with pytest.raises(InputError, match=r"test_path: expected other files than"):
            made.load(train, test_path=str(train), split=split, time=None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": 0}, "config.data.window: expected an integer >= 1"),
        ({"step": 0}, "config.data.step"),
        ({"rule": "first"}, "config.data.rule: expected one of 'last'"),
        ({"gap": -1.0}, "config.data.gap"),
        ({"horizon": 0}, "config.data.horizon"),
        ({"split": "subject"}, "config.data.split: expected one of"),
        ({"split": "group", "group": None}, "'group' needs config.data.group"),
        ({"delimiter": ",,"}, "config.data.delimiter: expected one mark"),
        ({"decimal": ","}, "config.data.delimiter: expected another mark than"),
        ({"format": "xls"}, "config.data.format: expected one of"),
        ({"time_unit": "h"}, "config.data.time_unit: expected one of"),
        ({"time_format": "%H"}, "config.data.time_format: expected this or time_unit"),
        ({"group_pattern": "(a)"}, "config.data.group_pattern: expected this or group"),
        ({"group_pattern": "(", "group": None}, "group_pattern: '\\('"),
        ({"group_pattern": "a", "group": None}, "expected one \\(group\\)"),
        ({"key": "x"}, "config.data.value: expected with key"),
        ({"label": None}, "config.data.label: expected a column, or"),
        ({"labels": "l.csv"}, "config.data.labels: expected this or label"),
        ({"label": "time"}, "config.data.label: expected another column than"),
        ({"channels": []}, "config.data.channels: expected names"),
        ({"channels": ["who"]}, "expected other columns than config.data.group"),
        ({"time": None, "labels": "l", "label": None}, "config.data.time: expected a"),
        ({"validation": 1.0}, "config.data.validation"),
        ({"test": 0.0}, "config.data.test"),
        ({"repeated": "last"}, "config.data.repeated"),
        ({"path": "gs://x"}, "config.data.path: expected a path of this machine"),
    ],
)
def test_wrong_fields_are_named(file, fields, message):
    path = str(file())
    with pytest.raises(InputError, match=message) as caught:
        made.load(**{"path": path} | fields)
    assert "\n" not in str(caught.value)


def test_pandas_is_not_imported():
    folder = Path(loader.__file__).parent
    files = [path.read_text() for path in folder.rglob("*.py")]
    assert len(files) > 10
    assert not [text for text in files if "pandas" in text]
    assert data.LOADERS["series"] is data.series
