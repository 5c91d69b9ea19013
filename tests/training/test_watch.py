"""What is said of a run while it trains, and how long its steps took."""

import itertools
import time

import pytest

from kdjax.files import read_json
from kdjax.training import loop, parallel, watch
from kdjax.training.watch import Profile, Watch
from tests.training.tiny import STEPS, settings, tiny


def run(folder, *, task=None, profile=None, **changes):
    member = loop.Member(task or tiny(), folder, 0, "stage")
    devices = parallel.make("pmap", devices=1)
    return loop.run_together(
        [member], settings(**changes), devices=devices, profile=profile
    )


def test_step_times_and_memory_are_left(tmp_path):
    """All but the first call of each epoch, which may compile."""
    run(tmp_path)
    found = read_json(tmp_path / watch.FILE)
    assert found["steps_timed"] == 2 * (STEPS - 1)
    at = found["step_ms"]
    assert 0 < at["p5"] <= at["median"] <= at["p95"] <= at["p99"]
    assert found["host_peak_mib"] > 50


def test_without_a_terminal_there_is_a_line_a_minute(tmp_path, monkeypatch, capsys):
    clock = itertools.count(0, 25)
    monkeypatch.setattr(watch, "monotonic", lambda: next(clock))
    run(tmp_path)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if "ms a step" in line
    ]
    assert 2 * STEPS / 4 <= len(lines) <= 2 * STEPS / 2
    assert lines[0].startswith("kdjax: stage: step ")
    # before a loss was read there is none to say
    assert [f" of {2 * STEPS}, loss " in line for line in lines].count(False) <= 1
    assert "nan" not in "".join(lines)
    assert "min left" in lines[-1]


def test_a_loss_that_leaps_is_said_once(capsys):
    seen = Watch("a", 1000)
    for step in range(1, 111):
        seen.loss("a", step, 2.0)
        seen.loss("b", step, 0.1)
    for step in (111, 112):
        seen.loss("a", step, 50.0)
    seen.loss("a", 113, 19.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["kdjax: a: loss 50 at step 111, 25 x the median of the 100 before"]


def test_a_run_that_stands_still_is_said_once(monkeypatch, capsys):
    monkeypatch.setattr(watch, "LEAST_S", 0.3)
    with Watch("a", 10) as seen:
        for done in range(1, 4):
            seen.step(done, 1)
        time.sleep(2.5)
        seen.pause()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("kdjax: a: no step for ")


def test_a_pause_is_no_standstill(monkeypatch, capsys):
    monkeypatch.setattr(watch, "LEAST_S", 0.1)
    with Watch("a", 10) as seen:
        seen.step(1, 1)
        seen.step(2, 1)
        seen.pause()
        time.sleep(1.3)
    assert capsys.readouterr().err == ""


def test_steps_are_traced_once(tmp_path, capsys):
    profile = Profile(tmp_path / "profile", 3, 5)
    run(tmp_path / "one", profile=profile)
    assert capsys.readouterr().err.count("profile: ") == 1
    traces = list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert len(traces) == 1
    run(tmp_path / "two", profile=profile)
    assert list((tmp_path / "profile").rglob("*.xplane.pb")) == traces


@pytest.mark.parametrize("steps", [1, 4])
def test_a_call_of_several_steps_counts_as_many(tmp_path, steps):
    run(tmp_path, steps_per_call=steps)
    timed = read_json(tmp_path / watch.FILE)["steps_timed"]
    assert timed == 2 * (-(-STEPS // steps) - 1)
