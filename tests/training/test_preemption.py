"""Told to end, a run saves where it is; gone on with, it is the run to the bit."""

import itertools
import signal

import numpy as np
import pytest

from kdjax.training import loop, parallel, preemption, programs
from kdjax.training.checkpoint import Checkpoints
from kdjax.training.metrics import read_log
from kdjax.training.preemption import Preempted
from tests.training.test_together import kept, steps_of
from tests.training.tiny import STEPS, settings, tiny


def run(folder, training, *, members=1, task=tiny):
    """Members in folder/0, folder/1, ...; what they reach."""
    every = [
        loop.Member(task(rate=0.1 / (i + 1)), folder / str(i), 0, f"stage {i}")
        for i in range(members)
    ]
    devices = parallel.make("pmap", devices=1)
    return loop.run_together(every, training, devices=devices)


def left(folder, members):
    """Digests and scores of the newest checkpoints, and every row of the logs."""
    return [
        (kept(folder / str(i)), list(read_log(folder / str(i) / "metrics.jsonl")))
        for i in range(members)
    ]


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """All runs of a test with one setting share their programs: they are `tiny`'s."""
    for name in ("separate", "compiled_scores"):
        known, original = {}, getattr(programs, name)

        def once(task, training, devices, known=known, make=original):
            if training not in known:
                known[training] = make(task, training, devices)
            return known[training]

        monkeypatch.setattr(programs, name, once)


@pytest.fixture
def asked(monkeypatch):
    """asked(n): the n-th time that a run looks, it is told to end. asked(None): never.

    Returns how often it has looked.
    """

    def at(n):
        looks = itertools.count(1)

        def check():
            seen[0] = next(looks)
            if seen[0] == n:
                raise Preempted("here")

        seen = [0]
        monkeypatch.setattr(preemption, "check", check)
        return seen

    return at


@pytest.mark.parametrize(
    ("changes", "members", "every"),
    [
        ({}, 1, 3),
        ({"steps_per_call": 3, "eval_batch_size": 8}, 1, 6),
        ({"checkpoint_epochs": 2, "log_steps": 3}, 2, 9),
    ],
)
def test_stopped_anywhere_it_ends_as_unbroken(tmp_path, asked, changes, members, every):
    """In training, in each validation, and when all is trained."""
    training = settings(**changes)
    looks = asked(None)
    reached = run(tmp_path / "unbroken", training, members=members)
    whole = left(tmp_path / "unbroken", members)
    for point in range(1, looks[0] + 1, every):
        folder = tmp_path / str(point)
        asked(point)
        with pytest.raises(Preempted, match=r"stage 0.* step|here"):
            run(folder, training, members=members)
        asked(None)
        assert run(folder, training, members=members) == reached, point
        assert left(folder, members) == whole, point
        assert not (folder / "0" / "checkpoints" / "within").exists()


def test_stopped_again_and_again_it_ends_as_unbroken(tmp_path, asked):
    """Four steps further each time, or an evaluation; the examples are streamed."""
    training = settings(checkpoint_epochs=2)
    run(tmp_path / "unbroken", training)
    times = 0
    while True:
        asked(5)
        try:
            run(tmp_path / "broken", training, task=streamed)
            break
        except Preempted:
            times += 1
    assert times >= 3
    assert left(tmp_path / "broken", 1) == left(tmp_path / "unbroken", 1)


@pytest.mark.parametrize("points", [(3, STEPS - 3 + 1), (STEPS, 1)])
def test_stopped_in_an_epoch_and_then_in_its_validation(tmp_path, asked, points):
    """What was not yet logged when it was stopped first is logged once."""
    training = settings(log_steps=5)
    asked(None)
    run(tmp_path / "unbroken", training)
    for point in points:
        asked(point)
        with pytest.raises(Preempted):
            run(tmp_path / "broken", training)
    asked(None)
    run(tmp_path / "broken", training)
    assert left(tmp_path / "broken", 1) == left(tmp_path / "unbroken", 1)


def streamed(**changes):
    return tiny(streamed=True, **changes)


# --- checkpoints inside an epoch ------------------------------------------------------


class Killed(RuntimeError):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint_steps": 3},
        pytest.param({"checkpoint_minutes": 1}, marks=pytest.mark.long),
    ],
)
def test_killed_within_an_epoch_it_goes_on_from_there(tmp_path, monkeypatch, changes):
    """After 3, 6, 9 and 12 of 14 steps; or after each, if each takes a minute."""
    clock = itertools.count(0, 61)
    monkeypatch.setattr("kdjax.training.within.monotonic", lambda: next(clock))
    training = settings(**changes)
    run(tmp_path / "unbroken", training)
    saved = []

    def save(self, state, progress, best, original=Checkpoints.save_within):
        original(self, state, progress, best)
        saved.append(progress.step)
        if progress.step == 12:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save_within", save)
        with pytest.raises(Killed):
            run(tmp_path / "killed", training)
    steps = (
        [3, 6, 9, 12]
        if "checkpoint_steps" in changes
        else [*range(1, 7), *range(8, 13)]
    )
    assert saved == steps
    assert steps_of(tmp_path / "killed" / "0", "within") == steps[-2:]
    run(tmp_path / "killed", training)
    assert left(tmp_path / "killed", 1) == left(tmp_path / "unbroken", 1)


def test_a_damaged_checkpoint_within_an_epoch_gives_way_to_the_one_before(
    tmp_path, asked, capsys
):
    training = settings(checkpoint_steps=2)
    asked(None)
    run(tmp_path / "unbroken", training)
    asked(STEPS + 1 + 5)  # after a validation of one batch: five steps of epoch 2
    with pytest.raises(Preempted, match=f"step {STEPS + 5}"):
        run(tmp_path / "broken", training)
    within = tmp_path / "broken" / "0" / "checkpoints" / "within"
    newest, before = str(STEPS + 5), str(STEPS + 3)
    assert {path.name for path in within.iterdir()} == {newest, before}
    for path in (within / newest).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    asked(None)
    run(tmp_path / "broken", training)
    assert "within_12, going on from another" in capsys.readouterr().err
    assert left(tmp_path / "broken", 1) == left(tmp_path / "unbroken", 1)


def test_which_checkpoints_stay(tmp_path):
    run(tmp_path, settings(epochs=7, keep_last=1, keep_every_epochs=3))
    assert steps_of(tmp_path / "0") == [3 * STEPS, 6 * STEPS, 7 * STEPS]


# --- the signal -----------------------------------------------------------------------


@pytest.fixture
def listening(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(preemption, "_asked", False)
    with preemption.heeded():
        yield
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_signal_is_noted_while_a_run_trains(listening):
    with preemption.deferred():
        signal.raise_signal(signal.SIGTERM)
        done = np.sum(np.arange(4))  # it goes on
        with pytest.raises(Preempted):
            preemption.check()
    assert done == 6


def test_elsewhere_it_ends_at_once(listening):
    with pytest.raises(Preempted):
        signal.raise_signal(signal.SIGTERM)
