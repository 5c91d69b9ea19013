"""Groups of stages: who is in which, and no more colours than groups."""

from matplotlib.colors import to_hex

from kdjax.report import drawing, figures, groups, runs
from tests.fabricated import edit
from tests.report.test_document import fabricate

MANY = {"teacher": 0.95, "scratch": 0.8} | {f"kd_{i}": 0.9 for i in range(20)}


def test_a_stage_is_in_the_group_of_what_it_teaches_or_reads(tmp_path):
    reads = {
        "teacher": {"start": "first"},
        "first": {},
        "taught": {"encoder": "first", "teacher": "teacher"},
        "beside": {"companions": "drawn"},
        "drawn": {},
        "tuned": {"start": "first"},
        "probe": {"encoder": "first"},
        "odd": {"other": "first"},
    }
    fabricate(tmp_path, seeds=(0,), stages=dict.fromkeys(reads, 0.9))
    for stage, read in reads.items():
        named = {k: {"stage": v, "checkpoint": "best"} for k, v in read.items()}
        edit(tmp_path / "seed_0" / stage / "results.json", reads=named)
    experiment = runs.read_experiment(tmp_path)
    assert {stage: groups.group(experiment, stage) for stage in reads} == {
        "teacher": groups.TEACHES,
        "first": groups.ALONE,
        "taught": groups.READS["teacher"],
        "beside": groups.READS["companions"],
        "drawn": groups.TEACHES,
        "tuned": groups.READS["start"],
        "probe": groups.READS["encoder"],
        "odd": groups.OTHERWISE,
    }
    assert set(groups.present(experiment, list(reads))) == set(groups.COLOURS)


def test_no_colour_is_of_two_groups():
    assert len(set(groups.COLOURS.values())) == len(groups.COLOURS)


def test_many_stages_have_no_more_colours_than_groups(tmp_path, monkeypatch):
    """22 stages once had seven colours, repeated."""
    fabricate(tmp_path, seeds=(0,), stages=MANY)
    experiment = runs.read_experiment(tmp_path)
    drawn = []
    monkeypatch.setattr(drawing, "write", lambda figure, path: drawn.append(figure))
    figures.headline_by_stage(experiment, tmp_path)
    figures.learning_curves(experiment, "accuracy", tmp_path)
    names = [groups.ALONE, groups.TEACHES, groups.READS["teacher"]]
    colours = {groups.COLOURS[name] for name in names}
    for figure in drawn:
        lines = [line for axis in figure.axes for line in axis.lines]
        seen = {to_hex(line.get_color()).upper() for line in lines}
        assert seen - {"#B2B2B2"} == colours, "and the grey of training"
        (legend,) = figure.legends
        shown = [text.get_text() for text in legend.get_texts()]
        assert [text.removeprefix("validation: ") for text in shown[:3]] == names
    assert "Colours are groups" in groups.caption(experiment, experiment.stages)


def test_stages_of_one_group_need_no_legend(tmp_path, monkeypatch):
    fabricate(tmp_path, seeds=(0,), stages={"scratch": 0.8, "wider": 0.9})
    experiment = runs.read_experiment(tmp_path)
    drawn = []
    monkeypatch.setattr(drawing, "write", lambda figure, path: drawn.append(figure))
    figures.headline_by_stage(experiment, tmp_path)
    assert not drawn[0].legends
    assert groups.caption(experiment, experiment.stages) == ""
