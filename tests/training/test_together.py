"""Several steps a call, and several members of one program trained together."""

import shutil
import threading

import numpy as np
import pytest

from kdjax.errors import InputError
from kdjax.files import read_json
from kdjax.tasks.distillation import distill
from kdjax.training import loop, parallel, programs
from kdjax.training.metrics import read_log
from tests import small_cognitive
from tests.training.tiny import STEPS, settings, tiny


def devices():
    return parallel.make("pmap", devices=1)


def member(task, folder, *, seed=0):
    return loop.Member(task, folder, seed, folder.name)


def together(members, training=None, **options):
    training = training or settings()
    return loop.run_together(members, training, devices=devices(), **options)


def alone(task, folder, training=None, *, seed=0):
    return together([member(task, folder, seed=seed)], training)[0]


def kept(folder):
    """What the newest checkpoints hold: their steps, digests and scores."""
    found = {}
    for kind in ("last", "best"):
        steps = [int(p.name) for p in (folder / "checkpoints" / kind).glob("*")]
        newest = folder / "checkpoints" / kind / str(max(steps))
        found[kind] = max(steps), read_json(newest / "meta" / "metadata")
    return found


def steps_of(folder, kind="last"):
    return sorted(int(p.name) for p in (folder / "checkpoints" / kind).glob("*"))


def train_rows(folder):
    return [r for r in read_log(folder / "metrics.jsonl") if r["kind"] == "train"]


def validation_rows(folder):
    return [r for r in read_log(folder / "metrics.jsonl") if r["kind"] != "train"]


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "time"} for row in rows]


# --- several steps a call -------------------------------------------------------------


def make_mlp(training):
    return distill.make(
        data={"name": "synthetic_wearable", "samples": 16, "windows": 7},
        model={"name": "mlp", "widths": (8,)},
        training=training,
        optimizer={"name": "sgd", "schedule": {"name": "constant", "value": 0.05}},
        losses={"cross_entropy": {"weight": 1.0}},
        augment={"name": "noise"},
        seed=0,
    )


CASES = {
    "cognitive": (small_cognitive.make, [3]),
    "mlp": (make_mlp, [2, 7]),
    "tiny": (lambda training: tiny(), [3, 4, 7, 8]),
}


@pytest.mark.parametrize("case", CASES)
def test_several_steps_a_call_are_the_same_steps(tmp_path, case):
    """With 7 steps an epoch: 3 a call leave one over, 4 leave three, 7 none."""
    make, calls = CASES[case]
    one = settings(log_steps=1)
    task = make(one)
    steps = one.steps_per_epoch(task.data["train"].size)
    reached = alone(task, tmp_path / "1", one)
    each = train_rows(tmp_path / "1")
    assert [row["step"] for row in each] == list(range(1, 2 * steps + 1))
    for a_call in calls:
        several = settings(steps_per_call=a_call)
        folder = tmp_path / str(a_call)
        assert alone(make(several), folder, several) == reached
        assert kept(folder) == kept(tmp_path / "1")
        own, expected = (validation_rows(f) for f in (folder, tmp_path / "1"))
        assert without_time(own) == without_time(expected)
        rows = train_rows(folder)
        assert rows[-1]["step"] == 2 * steps
        begin = 0
        for row in rows:  # the means are over every step since the last row
            of_row = [r["loss"] for r in each if begin < r["step"] <= row["step"]]
            np.testing.assert_allclose(row["loss"], np.mean(of_row), rtol=1e-6)
            assert len(of_row) <= a_call * -(-several.log_steps // a_call)
            begin = row["step"]


def test_seven_steps_an_epoch():
    """The test above is about what is left over."""
    for make, _ in CASES.values():
        size = make(settings()).data["train"].size
        assert settings().steps_per_epoch(size) == STEPS


@pytest.mark.parametrize("bad", [8, 9, 12, 14])
@pytest.mark.parametrize("vmapped", [False, True])
def test_what_is_not_finite_is_said_with_its_step_and_member(tmp_path, bad, vmapped):
    members = [
        member(tiny(), tmp_path / "good"),
        member(tiny(bad=bad), tmp_path / "bad"),
    ]
    training = settings(steps_per_call=5, log_steps=1)
    with pytest.raises(loop.Diverged) as error:
        together(members, training, vmapped=vmapped)
    own = tmp_path / "bad" / "checkpoints" / "last" / "7"
    assert str(error.value) == (
        f"bad: loss is nan at step {bad}; last good checkpoint: {own}"
    )
    assert steps_of(tmp_path / "bad") == steps_of(tmp_path / "good") == [7]


def test_a_call_of_no_checkpoint_says_so(tmp_path):
    training = settings(steps_per_call=5)
    with pytest.raises(loop.Diverged, match=r"at step 3; last good .*: none yet"):
        alone(tiny(bad=3), tmp_path / "bad", training)


def test_examples_from_files_are_read_a_step_at_a_time(tmp_path):
    streamed = tiny(streamed=True)
    alone(streamed, tmp_path / "one")
    with pytest.raises(
        InputError, match=r"^config.training.steps_per_call: expected 1, .* found 2$"
    ):
        alone(streamed, tmp_path / "two", settings(steps_per_call=2))
    assert not (tmp_path / "two").exists()


# --- several members ------------------------------------------------------------------


def cognitive_members(root, training):
    """Of one program, with other weights, constraints and seeds."""
    pairs = [
        ("a", 0, {}),
        ("b", 0, {"losses": {"rate_l1": {"weight": 1e-2}}}),
        ("c", 3, {"constraints": {"proximal": 0.05, "top_k": {"density": 0.5}}}),
    ]
    tasks = [
        small_cognitive.make(training, seed=s, **changes) for _, s, changes in pairs
    ]
    assert len({task.program for task in tasks}) == 1
    return [
        member(task, root / name, seed=seed)
        for task, (name, seed, _) in zip(tasks, pairs, strict=True)
    ]


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    """(folder of each member, results of each), trained alone."""
    root = tmp_path_factory.mktemp("alone")
    training = settings(steps_per_call=3)
    members = cognitive_members(root, training)
    return root, [together([each], training)[0] for each in members]


def test_members_in_turn_end_as_alone(tmp_path, one_by_one):
    root, expected = one_by_one
    training = settings(steps_per_call=3)
    members = cognitive_members(tmp_path, training)
    assert together(members, training, vmapped=False) == expected
    for name in "abc":
        assert kept(tmp_path / name) == kept(root / name)
        own, other = (read_log(f / name / "metrics.jsonl") for f in (tmp_path, root))
        assert without_time(own) == without_time(other)
    assert len({kept(tmp_path / n)["last"][1]["digests"]["model"] for n in "abc"}) == 3


def test_members_at_once_end_as_alone(tmp_path, one_by_one):
    root, expected = one_by_one
    training = settings(steps_per_call=3)
    reached = together(cognitive_members(tmp_path, training), training, vmapped=True)
    for own, other in zip(reached, expected, strict=True):
        for kind in ("last", "best"):
            assert own[kind]["step"] == other[kind]["step"]
            for split in ("validation", "test"):
                np.testing.assert_allclose(
                    list(own[kind][split].values()),
                    list(other[kind][split].values()),
                    atol=1e-5,
                )
    for name in "abc":
        own, other = (read_log(f / name / "metrics.jsonl") for f in (tmp_path, root))
        for row, known in zip(own, other, strict=True):
            assert row.keys() == known.keys()
            assert (row["kind"], row["step"]) == (known["kind"], known["step"])
            numbers = row.keys() - {"kind", "time"}
            np.testing.assert_allclose(
                [row[n] for n in numbers], [known[n] for n in numbers], atol=1e-4
            )


def test_one_step_a_call_at_once(tmp_path):
    members = [member(tiny(rate=r), tmp_path / str(r)) for r in (0.1, 0.01)]
    reached = together(members, vmapped=True)
    for own, r in zip(reached, (0.1, 0.01), strict=True):
        expected = alone(tiny(rate=r), tmp_path / f"alone_{r}")
        np.testing.assert_allclose(
            own["last"]["test"]["loss"], expected["last"]["test"]["loss"], rtol=1e-5
        )


def test_each_has_its_own_best(tmp_path):
    ats = (7, 14, 21)
    members = [member(tiny(best_at=at), tmp_path / str(at)) for at in ats]
    reached = together(members, settings(epochs=3))
    assert [own["best"]["step"] for own in reached] == [7, 14, 21]
    for at in ats:
        assert steps_of(tmp_path / str(at), "best")[-1] == at


def test_members_are_calculated_side_by_side_on_a_cpu(monkeypatch):
    monkeypatch.setattr(programs, "threads", lambda: 2)
    other = threading.Barrier(2, timeout=20)

    def step(state, constants, batch):
        other.wait()  # breaks where the second call begins after the first
        return state + batch["x"], constants

    fake = devices()._replace(
        compile=lambda function, donate: step, shard=lambda batch: batch
    )
    advance = programs.separate(tiny(), settings(), fake)
    states, metrics = advance(
        [10] * 4, list("abcd"), [{"x": np.array(k)} for k in range(4)]
    )
    assert states == [10, 11, 12, 13]
    assert metrics == list("abcd")


def test_no_more_than_two_steps_are_queued():
    """Host devices deadlock if many wait; each member's step is one more in flight."""
    flying, most = [], []

    class Metrics:
        def block_until_ready(self):
            flying[:] = flying[flying.index(self) + 1 :]

    def compiled(function, *, donate=False):
        def step(state, constants, batch):
            flying.append(Metrics())
            most.append(len(flying))
            return state, flying[-1]

        return step

    fake = devices()._replace(devices=2, compile=compiled, shard=lambda batch: batch)
    advance = programs.separate(tiny(), settings(), fake)
    for _ in range(3):
        advance([0] * 5, [0] * 5, [{}] * 5)
    assert len(most) == 15
    assert max(most) == 2


def test_devices_train_several_members(python, tmp_path):
    """In turn on two devices as on one: eight members, which once were all queued."""
    done = python("-m", "tests.training.tiny", tmp_path, devices=2)
    one, two = done.stdout.splitlines()
    np.testing.assert_allclose(
        np.array(one.split(), float), np.array(two.split(), float), rtol=1e-5
    )


# --- going on -------------------------------------------------------------------------


def three(root):
    return [
        member(tiny(rate=rate), root / name, seed=seed)
        for name, rate, seed in (("a", 0.1, 0), ("b", 0.01, 0), ("c", 0.1, 1))
    ]


@pytest.fixture
def unbroken(tmp_path):
    root = tmp_path / "unbroken"
    return root, together(three(root), settings(epochs=4))


def forget(folder, step):
    shutil.rmtree(folder / "checkpoints" / "last" / str(step))


def broken(root, *epochs, members=None):
    """Trains to the given epochs, one of each member, as if killed there."""
    for each, n in zip(three(root), epochs, strict=True):
        if n:
            together([each], settings(epochs=n))


def same(root, unbroken, reached):
    whole, expected = unbroken
    assert reached == expected
    for name in "abc":
        assert kept(root / name) == kept(whole / name)
        own, other = (read_log(f / name / "metrics.jsonl") for f in (root, whole))
        assert without_time(own) == without_time(other)


def test_killed_between_two_saves_all_go_on_from_the_common_epoch(tmp_path, unbroken):
    root = tmp_path / "broken"
    together(three(root), settings(epochs=3))
    forget(root / "b", 3 * STEPS)
    same(root, unbroken, together(three(root), settings(epochs=4)))


@pytest.mark.parametrize("epochs", [(3, 2, 3), (0, 2, 3), (1, 3, 3), (4, 1, 2)])
def test_members_at_other_epochs_end_as_unbroken(tmp_path, unbroken, epochs):
    """Who has no checkpoint of the least member's epoch begins anew, and so do all."""
    root = tmp_path / "broken"
    broken(root, *epochs)
    same(root, unbroken, together(three(root), settings(epochs=4)))


def test_a_damaged_checkpoint_of_one_takes_all_back(tmp_path, unbroken, capsys):
    root = tmp_path / "broken"
    together(three(root), settings(epochs=3))
    forget(root / "b", 3 * STEPS)
    for name in ("a", "c"):  # and what b goes on from is damaged in the others
        at = root / name / "checkpoints" / "last" / str(2 * STEPS)
        shutil.rmtree(at / "model")
    same(root, unbroken, together(three(root), settings(epochs=4)))
    assert "going on from another" in capsys.readouterr().err


def test_finished_members_train_nothing_more(tmp_path, unbroken):
    root, expected = unbroken
    before = {p: p.stat().st_mtime_ns for p in root.rglob("metadata")}
    assert together(three(root), settings(epochs=4)) == expected
    assert {p: p.stat().st_mtime_ns for p in root.rglob("metadata")} == before
