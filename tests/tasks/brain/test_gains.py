"""The picture of what students gain beside how well their teachers decode."""

import json

from kdjax.report import drawing, runs
from kdjax.tasks import ALL
from kdjax.tasks.brain import gains
from tests.fabricated import edit
from tests.report.test_document import fabricate, set_accuracies

TEACHERS = {"v1": "decode_v1", "v1_shuffled": "decode_v1", "loc": "decode_loc"}
ACCURACIES = {"scratch": 0.8, "v1": 0.9, "v1_shuffled": 0.85, "loc": 0.7}


def test_rows_are_ordered_by_the_teachers_and_lie_apart(tmp_path, monkeypatch):
    """Students of one teacher lay over one another."""
    decoders = {"decode_v1": 0.3, "decode_loc": 0.5}
    fabricate(tmp_path, seeds=(0, 1), stages=ACCURACIES | decoders)
    for seed in (0, 1):
        for stage in decoders:
            path = tmp_path / f"seed_{seed}" / stage / "results.json"
            checkpoints = json.loads(path.read_text())["checkpoints"]
            checkpoints["last"]["test"]["entropy"] = 2.0
            edit(path, checkpoints=checkpoints)
        for stage, teacher in TEACHERS.items():
            read = {"teacher": {"stage": teacher, "checkpoint": "best"}}
            edit(tmp_path / f"seed_{seed}" / stage / "results.json", reads=read)
    for stage, accuracy in (ACCURACIES | decoders).items():
        set_accuracies(tmp_path, stage, [accuracy, accuracy])
    drawn, said = [], []
    monkeypatch.setattr(drawing, "write", lambda figure, path: drawn.append(figure))

    def place(name, caption):
        said.append((name, caption))
        return tmp_path / name

    gains.gain_figure(runs.read_experiment(tmp_path, ALL.metrics), place)
    ((name, caption),) = said
    assert name == "gain"
    assert "less that of `scratch`" in caption
    taught, gained = drawn[0].axes
    names = [label.get_text() for label in taught.get_yticklabels()]
    assert names == ["loc", "v1", "v1_shuffled"]
    marks = [line.get_xdata() for line in gained.lines if line.get_marker() == "|"]
    assert [round(float(x[0]), 6) for x in marks] == [-10.0, 10.0, 5.0]
    assert [line.get_ydata()[0] for line in taught.lines] == [0, 1, 2]
