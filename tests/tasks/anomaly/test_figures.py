"""Figures of scored beats, records and splits: written, and of a sensible size."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from kdjax.tasks.anomaly import curves, figures, scoring, strips
from tests.fabricated import png_size
from tests.tasks.anomaly.fabricated import fabricate, read_experiment

RATE = 100.0


def record(seconds):
    """A spike a second, and scores of which the flagged lie in the last minute."""
    rng = np.random.default_rng(0)
    beats = np.arange(50, int(seconds * RATE) - 50, 100)
    signal = rng.normal(0, 0.02, int(seconds * RATE))
    signal[beats] += 1.0
    scores = rng.uniform(0.0, 0.4, len(beats))
    flags = beats > (seconds - 60) * RATE
    return {
        "name": "100",
        "rate": RATE,
        "signal": signal,
        "beats": beats,
        "scores": np.where(flags, scores + 0.6, scores),
        "flags": flags,
        "threshold": 0.5,
    }


def titled(monkeypatch):
    """The titles that are drawn from here on."""
    titles = []
    monkeypatch.setattr(strips.drawing, "title", lambda _, text: titles.append(text))
    return titles


def test_a_short_record_is_shown_whole(tmp_path, monkeypatch):
    titles = titled(monkeypatch)
    strips.record_strip(tmp_path / "strip.png", **record(95))
    assert titles == ["100: 59 of 94 beats flagged (triangles), score above 0.5"]
    width, height = png_size(tmp_path / "strip.png")
    assert 1500 < width < 2000
    assert 500 < height < 1000


def test_of_a_long_record_the_most_flagged_rows_are_shown(tmp_path, monkeypatch):
    titles = titled(monkeypatch)
    strips.record_strip(tmp_path / "strip.png", **record(3690))
    assert titles[0].endswith(". 56:30 to 1:01:30 of 1:01:30, the most flagged")
    _, height = png_size(tmp_path / "strip.png")
    assert 1000 < height < 1800


def test_the_clock_is_the_files(tmp_path, monkeypatch):
    titles, rows = titled(monkeypatch), []
    clock = strips._clock

    def spied(seconds):
        rows.append(clock(seconds))
        return rows[-1]

    monkeypatch.setattr(strips, "_clock", spied)
    path = tmp_path / "strip.png"
    strips.record_strip(path, **record(95), begin=3595.0)
    assert rows == ["59:55", "1:00:25", "1:00:55", "1:01:25"]
    strips.record_strip(path, **record(330), begin=-40)
    assert rows[4:6] == ["-0:10", "0:20"]
    assert titles[1].endswith(". -0:10 to 4:50 of -0:40 to 4:50, the most flagged")


@pytest.mark.parametrize(
    "scores",
    [np.linspace(0, 4, 9), np.zeros(9), np.full(9, 3.0), np.full(9, np.nan)],
    ids=["both sides", "all below", "all above", "none is finite"],
)
def test_the_threshold_is_in_the_middle_of_the_colours(scores):
    scale = strips._score_scale(scores, 1.0)
    assert scale(1.0) == pytest.approx(0.5)
    for score in scores[np.isfinite(scores)]:
        assert np.sign(scale(score) - 0.5) == np.sign(score - 1.0)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be written."""
    figures = []
    monkeypatch.setattr(strips.drawing, "write", lambda one, _: figures.append(one))
    return figures


@pytest.mark.parametrize("low", [0.0, 0.45])
def test_the_threshold_is_white_and_named_on_the_scale(tmp_path, drawn, low):
    """Whether or not the scores below reach as far as those above."""
    scored = record(95)
    scored["scores"] = np.where(scored["flags"], scored["scores"], low)
    strips.record_strip(tmp_path / "strip.png", **scored)
    bar = drawn[0].axes[-1]
    assert strips._ABOUT_THRESHOLD(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.01)
    assert bar.get_yticks()[3] == pytest.approx(0.5)
    assert bar.get_yticklabels()[3].get_text() == "0.5"
    places = np.stack([np.zeros(7), bar.get_yticks()], axis=1)
    steps = np.diff(bar.transData.transform(places)[:, 1])
    np.testing.assert_allclose(steps, steps[0])


@pytest.mark.parametrize(("unit", "said"), [("mV", "mV"), ("", "file's unit")])
def test_the_signal_has_an_axis_in_its_unit(tmp_path, drawn, unit, said):
    strips.record_strip(tmp_path / "strip.png", **record(95), unit=unit)
    rows = drawn[0].axes[:4]
    assert {axis.get_ylabel() for axis in rows} == {said}
    for axis in rows:
        low, high = axis.get_ylim()
        ticks = [tick for tick in axis.get_yticks() if low <= tick <= high]
        assert len(ticks) >= 2


def test_annotated_beats_have_their_letter(tmp_path, drawn):
    scored = record(95)
    symbols = np.full(len(scored["beats"]), "")
    symbols[[3, 40]] = "V", "A"
    strips.record_strip(tmp_path / "strip.png", **scored, symbols=symbols)
    letters = [
        (row, text.get_text(), text.get_position()[0])
        for row, axis in enumerate(drawn[0].axes[:4])
        for text in axis.texts
        if text.get_text() in "VA"
    ]
    at = scored["beats"] / RATE
    assert letters == [(0, "V", at[3]), (1, "A", pytest.approx(at[40] - 30))]


def test_rows_are_those_with_the_most_flags():
    assert strips._rows(12.0, np.array([])) == (0, 1)
    assert strips._rows(300.0, np.array([1.0])) == (0, 10)
    assert strips._rows(301.0, np.array([300.5])) == (1, 10)
    flagged = np.array([10.0, *range(600, 650)])  # in rows 20 and 21
    first, count = strips._rows(3600.0, flagged)
    assert count == 10
    assert first <= 20 <= 21 < first + count


@pytest.mark.parametrize(
    "change",
    [
        {"signal": np.full(4000, np.nan)},
        {"scores": np.full(39, np.inf), "flags": np.ones(39, bool)},
        {"scores": np.full(39, -0.5), "flags": np.zeros(39, bool), "threshold": -0.5},
    ],
    ids=["no signal", "infinite scores", "equal scores"],
)
def test_odd_records_are_drawn(tmp_path, change):
    strips.record_strip(tmp_path / "strip.png", **record(40) | change)
    assert min(png_size(tmp_path / "strip.png")) > 300


def test_a_beat_ends_where_the_next_begins():
    edges = strips._edges(np.array([1.0, 1.5, 4.0]))
    left = 140 / 360  # records.BEFORE at 360 Hz
    expected = [[1 - left, 1.25], [1.25, 2.0], [4 - left, 4.5]]
    np.testing.assert_allclose(edges, expected)


@pytest.mark.parametrize(("count", "leads", "rate"), [(1, 1, 360.0), (5, 3, None)])
def test_heat_map(tmp_path, count, leads, rate):
    beats = np.random.default_rng(0).normal(size=(count, 24, leads))
    path = tmp_path / "heat.png"
    figures.heat_map(
        path,
        beats=beats.astype(np.float32),
        reconstruction=np.zeros_like(beats, np.float32),
        titles=[f"beat {i}" for i in range(count)],
        rate=rate,
    )
    width, height = png_size(path)
    assert 600 < width < 2000
    assert 300 < height < 1500


def test_a_perfect_reconstruction_is_drawn(tmp_path):
    beats = np.ones((2, 16, 1), np.float32)
    path = tmp_path / "heat.png"
    figures.heat_map(path, beats=beats, reconstruction=beats, titles="ab", rate=1)
    assert min(png_size(path)) > 300


def test_the_first_seed_that_stored_is_shown(tmp_path):
    fabricate(tmp_path)
    (tmp_path / "seed_0" / "pca" / "scores.npz").unlink()
    experiment = read_experiment(tmp_path)
    drawn = {}

    def path(name, caption):
        drawn[name] = caption
        return tmp_path / f"{name}.png"

    found = curves._first(experiment, scoring.read_scores)
    assert [(run.stage, run.seed) for run, _ in found] == [("beatgan", 0), ("pca", 1)]
    curves.draw(experiment, path)
    assert drawn.keys() == {"detection_curves", "scores", "heat_map_beatgan"}
    assert "the first" not in "".join(drawn.values())
    for name in drawn:
        assert min(png_size(tmp_path / f"{name}.png")) > 300


def test_stages_past_the_most_are_left_out_and_said(tmp_path, monkeypatch):
    fabricate(tmp_path, seeds=(0,))
    monkeypatch.setattr(curves, "LINES", 1)
    monkeypatch.setattr(curves, "HEAT_MAPS", 0)
    shown, captions = [], {}

    def path(name, caption):
        captions[name] = caption
        return tmp_path / f"{name}.png"

    def stages(_, scored, path):
        shown.extend(run.stage for run, _ in scored)

    monkeypatch.setattr(curves, "detection_curves", stages)
    curves.draw(read_experiment(tmp_path), path)
    assert shown == ["beatgan"]
    assert captions.keys() == {"detection_curves", "scores"}
    assert "; the first 1 of 2 stages" in captions["detection_curves"]
    assert "the first" not in captions["scores"]


def test_negative_infinite_and_equal_scores_are_drawn(tmp_path):
    fabricate(tmp_path, seeds=(0,))
    for stage, change in (
        ("beatgan", lambda s: np.where(s > np.quantile(s, 0.9), np.inf, -s)),
        ("pca", np.zeros_like),
    ):
        path = tmp_path / "seed_0" / stage / "scores.npz"
        arrays = dict(np.load(path))
        np.savez(path, **arrays | {"last": change(arrays["last"])})
    experiment = read_experiment(tmp_path)
    found = curves._first(experiment, scoring.read_scores)
    for draw in (curves.score_histograms, curves.detection_curves):
        draw(experiment, found, tmp_path / "drawn.png")
        assert min(png_size(tmp_path / "drawn.png")) > 300


def test_the_normal_class_alone_has_its_colour(tmp_path, monkeypatch):
    """Rows are named: seven colours repeated over more classes say nothing."""
    fabricate(tmp_path, seeds=(0,))
    experiment = read_experiment(tmp_path)
    drawn = []
    monkeypatch.setattr(
        curves.drawing, "write", lambda figure, path: drawn.append(figure)
    )
    found = curves._first(experiment, scoring.read_scores)
    curves.score_histograms(experiment, found, tmp_path)
    for axis in drawn[0].axes:
        normal, *others = [to_hex(patch.get_facecolor()) for patch in axis.patches]
        assert others
        assert normal not in others
        assert len(set(others)) == 1
