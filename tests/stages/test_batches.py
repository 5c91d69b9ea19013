"""What is said and recorded of rows that were read."""

from kdjax.stages import batches
from tests.data.series import made


def test_counts_are_said_once_and_recorded(tmp_path, capsys):
    lines = made.rows()
    path = made.csv(tmp_path / "a.csv", [*lines, lines[3], "9,p0,,1,sit"])
    spec = {"name": "series", "path": str(path), "window": 5, "time_unit": "s"}
    spec |= {"group": "who", "label": "does"}
    batches.forget()
    for seed in (0, 1):
        dataset = batches.load(spec, seed)
    said = (
        "a.csv: 202 rows read, 1 incomplete, 1 repeated, 200 joined, 0 in no window\n"
    )
    assert capsys.readouterr().out == f"{tmp_path}/{said}"
    sources = batches.inputs(dataset, 0).sources
    about = batches.about(dataset, sources)
    assert about["counts"] == [
        {
            "file": str(path),
            "read": 202,
            "incomplete": 1,
            "repeated": 1,
            "joined": 200,
            "in no window": 0,
        }
    ]
    digits = batches.load({"name": "digits"}, 0)
    assert "counts" not in batches.about(digits, batches.inputs(digits, 0).sources)
    batches.forget()
    batches.load(spec, 0)
    assert "202 rows read" in capsys.readouterr().out
