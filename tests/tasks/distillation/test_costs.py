"""Accuracy against cost: the Pareto front, and the picture of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kdjax.report import drawing, runs
from kdjax.tasks import ALL
from kdjax.tasks.distillation import costs
from tests.fabricated import edit, png_size
from tests.report.test_document import fabricate

FEW = st.integers(0, 5)  # so that many are equal in one or both


def beats(a, b):
    """Whether a = (cost, value) is as good as b in both and better in one."""
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(st.lists(st.tuples(FEW, FEW), max_size=12))
def test_nothing_on_the_front_is_beaten_and_all_else_is_by_what_is_on_it(points):
    front = costs.on_front([c for c, _ in points], [v for _, v in points]).tolist()
    on = [point for point, named in zip(points, front, strict=True) if named]
    assert bool(on) == bool(points)
    for point, named in zip(points, front, strict=True):
        assert not (named and any(beats(other, point) for other in points))
        assert named or any(beats(other, point) for other in on)


def test_the_front_by_hand():
    cost, value = [1, 2, 2, 3, 4, 1], [5, 7, 6, 7, 9, 5]
    assert np.flatnonzero(costs.on_front(cost, value)).tolist() == [0, 1, 4, 5]


def sized(workdir, stages):
    """A run whose stages have parameters and ms; the last is a student."""
    fabricate(workdir, stages=stages)
    for seed in (0, 1, 2):
        for i, stage in enumerate(stages):
            cost = workdir / f"seed_{seed}" / stage / "cost.json"
            edit(cost, parameters=10 ** (3 + min(i, 3)), ms=0.1 * 2**i)
    return runs.read_experiment(workdir, ALL.metrics)


def test_only_the_front_is_named(tmp_path, monkeypatch):
    stages = {f"net_{i}": 0.8 + 0.03 * i for i in range(3)} | {
        "worst": 0.6,
        "teacher": 0.95,
        "beaten_kd": 0.9,
    }
    drawn = []
    monkeypatch.setattr(drawing, "write", lambda figure, path: drawn.append(figure))
    costs.headline_by_cost(
        sized(tmp_path, stages), lambda name, caption: tmp_path / name
    )
    named = [{text.get_text() for text in axis.texts} for axis in drawn[0].axes]
    assert named == [{"net_0", "net_1", "net_2", "teacher"}] * 2
    (legend,) = drawn[0].legends
    groups = ["reads no other stage", "teaches others", "learns from a teacher"]
    assert [text.get_text() for text in legend.get_texts()] == groups


def test_it_is_drawn_where_sizes_differ(tmp_path):
    stages = {f"net_{i}": 0.8 + 0.03 * i for i in range(4)} | {"net_3_kd": 0.93}
    experiment = sized(tmp_path / "run", stages)
    drawn = []

    def place(name, caption):
        drawn.append((name, caption))
        return tmp_path / f"{name}.png"

    costs.headline_by_cost(experiment, place)
    ((name, caption),) = drawn
    assert caption.startswith("Test accuracy against what a network costs")
    width, height = png_size(tmp_path / f"{name}.png")
    assert min(width, height) > 300
    for seed in (0, 1, 2):  # of three sizes alone there is nothing to see
        edit(
            tmp_path / "run" / f"seed_{seed}" / "net_0" / "cost.json", parameters=10**4
        )
    experiment = runs.read_experiment(tmp_path / "run", ALL.metrics)
    costs.headline_by_cost(experiment, place)
    assert len(drawn) == 1
