"""The report's table of rows read."""

from types import SimpleNamespace

from kdjax.report.counts import counts_section


def experiment(*records):
    runs = [SimpleNamespace(record=record) for record in records]
    return SimpleNamespace(runs=dict(enumerate(runs)))


def test_nothing_where_no_rows_were_counted():
    assert counts_section(experiment({}, {"data": "x"})) == ""


def test_a_row_a_file_once_and_their_sum():
    counts = [
        {"file": f"{name}.csv", "read": 1000 + n, "incomplete": n}
        for n, name in enumerate("ab")
    ]
    text = counts_section(experiment({"counts": counts}, {"counts": counts}))
    assert text.splitlines()[-5:] == [
        "| file | read | incomplete |",
        "|---|--:|--:|",
        "| `a.csv` | 1,000 | 0 |",
        "| `b.csv` | 1,001 | 1 |",
        "| all 2 files | 2,001 | 1 |",
    ]


def test_many_files_are_summed():
    counts = [{"file": f"{n}.csv", "read": 1} for n in range(30)]
    lines = counts_section(experiment({"counts": counts})).splitlines()
    assert len([line for line in lines if line.startswith("| `")]) == 20
    assert lines[-1] == "| all 30 files | 30 |"
