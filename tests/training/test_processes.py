"""Several processes give what one gives, and end together."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kdjax.errors import InputError, MachineError
from kdjax.files import read_json
from kdjax.training import processes
from tests.conftest import QUICK, ROOT

SEVERAL = Path(__file__).with_name("several.py")
KILLED = Path(__file__).with_name("killed.py")
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "node[007-009,12],other3",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Two:
    """Two processes of 2 devices each, given the same arguments and `own(i)`."""

    def __init__(self, folder, *arguments, own, places=(ROOT, ROOT), **changed):
        env = {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(ROOT), **changed}
        env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | env
        self._said = [folder / f"said_{i}" for i in (0, 1)]
        self._running = []
        for i in (0, 1):
            with self._said[i].open("w") as said:
                command = [sys.executable, *map(str, arguments), *map(str, own(i))]
                place = places[i]
                self._running.append(
                    subprocess.Popen(
                        command, cwd=place, env=env, stdout=said, stderr=said
                    )
                )

    def kill(self, i):
        self._running[i].send_signal(signal.SIGKILL)

    def end(self, seconds=300):
        """Their exit codes and what they said; those still running are ended."""
        until = time.monotonic() + seconds
        try:
            codes = [p.wait(max(0, until - time.monotonic())) for p in self._running]
        finally:
            for process in self._running:
                process.kill()
                process.wait()
        return codes, [path.read_text() for path in self._said]


def two(folder, port, *arguments):
    return Two(
        folder,
        *arguments,
        folder,
        own=lambda i: (i, port),
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
        XLA_FLAGS=QUICK,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def found(folder, python):
    """What each case gave: alone, and on either of two processes."""
    flags = {"PYTHONPATH": str(ROOT)}
    python(SEVERAL, "alone", folder, devices=8, env=flags)
    codes, said = two(folder, free_port(), SEVERAL, "together").end()
    assert codes == [0, 0], said
    return [read_json(folder / f"{who}.json") for who in ("alone", 0, 1)]


def far(one, other):
    assert len(one) == len(other)
    return np.max(np.abs(np.subtract(one, other)))


@pytest.mark.long
def test_supervised_kd_with_start_and_a_probe(found):
    alone, *both = found
    for each in both:
        assert far(alone["stages"], each["stages"]) < 1e-5


@pytest.mark.long
def test_beatgan(found):
    alone, *both = found
    for each in both:
        assert far(alone["beatgan"], each["beatgan"]) < 1e-5


@pytest.mark.long
@pytest.mark.parametrize("how", ["pmap", "shard_map", "ring"])
def test_simclr(found, how):
    alone, *both = found
    for each in both:
        assert far(alone["simclr"], each[f"simclr {how}"]) < 1e-4


@pytest.mark.long
@pytest.mark.parametrize("mapper", ["pmap", "shard_map"])
def test_a_population_of_ctrnns(found, mapper):
    alone, *both = found
    for each in both:
        assert far(alone["population"], each[f"population {mapper}"]) < 1e-5


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2, 8])
def test_saved_on_4_devices_and_gone_on_with_on_others(found, count):
    alone = found[0]
    assert far(alone["resumed on 4"], alone[f"resumed on {count}"]) < 1e-6


@pytest.mark.long
@pytest.mark.parametrize("mapper", ["pmap", "shard_map"])
def test_saved_by_one_process_and_gone_on_with_by_two(found, mapper):
    alone, *both = found
    for each in both:
        assert far(alone["resumed on 4"], each[f"resumed {mapper}"]) < 1e-6


@pytest.mark.long
def test_all_have_what_the_first_has(found):
    for each in found[1:]:
        assert not any(each["first"])


@pytest.mark.long
def test_configs_that_differ_are_said_on_both(found):
    for own, each in enumerate(found[1:]):
        assert each["disagree"].startswith(
            "config.a.b: expected the same on every process, found "
            f"{1 - own} on process {1 - own} ("
        )
        assert each["disagree"].endswith(f" and {own} here")


def digests(folder):
    """Steps and digests of the newest checkpoints, and the log."""
    kept = {}
    for kind in ("last", "best"):
        steps = (folder / "checkpoints" / kind).glob("*")
        newest = max(steps, key=lambda path: int(path.name))
        kept[kind] = newest.name, read_json(newest / "meta" / "metadata")
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return kept, [{k: v for k, v in row.items() if k != "time"} for row in rows]


@pytest.mark.long
def test_either_is_killed_and_the_other_says_so(found, folder):
    """The restarted job is the uninterrupted one, bit for bit."""
    del found  # `uninterrupted`
    log = folder / "killed" / "metrics.jsonl"
    for victim, lines in ((1, 20), (0, 50)):
        both = two(folder, free_port(), KILLED)
        until = time.monotonic() + 120
        while not log.exists() or log.read_text().count("\n") < lines:
            assert time.monotonic() < until
            time.sleep(0.05)
        both.kill(victim)
        codes, said = both.end(30)
        assert codes[victim] == -signal.SIGKILL, said
        assert codes[1 - victim] == processes.LOST
        assert (
            said[1 - victim]
            .splitlines()[-1]
            .startswith(f"kdjax: process {victim} ({socket.gethostname()}, pid ")
        )
    assert log.read_text().count("\n") < 120, "killed too late to mean anything"
    codes, said = two(folder, free_port(), KILLED).end()
    assert codes == [0, 0], said
    assert digests(folder / "killed") == digests(folder / "uninterrupted")


def test_data_that_one_host_lacks_end_both(tmp_path):
    places = [tmp_path / "0", tmp_path / "1"]
    for place in places:
        place.mkdir()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 16, 2)).astype(np.float32)
    np.savez(places[0] / "data.npz", x=x, y=np.arange(40) % 2)
    port = free_port()
    begun = time.monotonic()
    two = Two(
        tmp_path,
        *("-m", "kdjax", f"--config={ROOT}/configs/own_data.py:smoke"),
        *("--config.training.batch_size=4", f"--workdir={tmp_path}/run"),
        own=lambda i: [f"--distributed=127.0.0.1:{port},2,{i}"],
        places=places,
    )
    codes, said = two.end()
    seconds = time.monotonic() - begun
    assert codes == [2, 2], said
    assert "data.npz" in said[1].splitlines()[-1]
    assert said[0].splitlines()[-1].startswith("kdjax: process 1 (")
    assert "data.npz" in said[0].splitlines()[-1]
    for text in said:
        assert "Traceback" not in text
        assert "waits for the others at 127.0.0.1:" in text
        assert "300 s at most" in text
    assert not (tmp_path / "run" / "seed_0").exists()
    assert seconds < 60  # of which most are imports, on busy cores


RAISED = """
import os, signal, sys, time
from kdjax.training import processes
with processes.ending():
    processes.meet(sys.argv[1])
    if sys.argv[2] == "gone" and processes.index() == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[2] == "killed":
        processes.all_say("met")
        if processes.index() == 0:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer")
    if sys.argv[2] == str(processes.index()):
        raise RuntimeError("boom")
    if sys.argv[2] == "both":
        raise SystemExit(143)
    processes.all_say("never answered")
"""


def raising(folder, who):
    address = f"127.0.0.1:{free_port()}"
    two = Two(folder, "-c", RAISED, own=lambda i: (f"{address},2,{i}", who))
    return two.end(60)


@pytest.mark.parametrize("who", [0, 1])
def test_an_error_of_one_ends_both(tmp_path, who):
    codes, said = raising(tmp_path, who)
    assert codes == [1, 1], said
    assert said[who].splitlines()[-1] == "RuntimeError: boom"
    last = said[1 - who].splitlines()[-1]
    assert last.startswith(f"kdjax: process {who} (")
    assert last.endswith(") stopped: RuntimeError: boom")


def test_a_collective_that_another_left_is_no_fault_of_this_one(tmp_path):
    codes, said = raising(tmp_path, "killed")
    assert codes == [-signal.SIGKILL, processes.LOST]
    assert "Traceback" not in said[1]
    assert said[1].splitlines()[-1].startswith("kdjax: process 0 (")


def test_one_that_is_killed_as_they_meet(tmp_path):
    codes, said = raising(tmp_path, "gone")
    assert codes == [-signal.SIGKILL, processes.LOST]
    assert "Traceback" not in said[1]
    last = said[1].splitlines()[-1]
    assert last.startswith("kdjax: process ")  # 0 is lost; or 1 has not met all


def test_preempted_together(tmp_path):
    codes, said = raising(tmp_path, "both")
    assert codes == [143, 143], said
    assert "stopped" not in "".join(said)


def meet_briefly(place):
    """Meets with a patience of 1 s, in a process of its own."""
    code = (
        "from kdjax.training import processes\n"
        "processes.MEET_S = 1\n"
        f"with processes.ending(): processes.meet({place!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, done.stderr


def test_nobody_comes():
    address = f"127.0.0.1:{free_port()}"
    code, said = meet_briefly(f"{address},2,1")
    assert code == processes.LOST
    last = said.splitlines()[-1]
    says = f"kdjax: process 1 of 2 has not met all the others at {address} in "
    (seconds,) = re.fullmatch(rf"{re.escape(says)}(\d+) s", last).groups()
    assert 1 <= int(seconds) <= 30  # and not the 300 of a patient one


def test_a_port_in_use():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(MachineError, match=f"port {port} of this host"):
            processes.meet(f"127.0.0.1:{port},2,0")


@pytest.mark.parametrize(
    "spec", ["", "on", "host:1", "host:1,2", "host:0,2,0", "host:70000,2,0", ":1,2,0,0"]
)
def test_a_wrong_flag(spec):
    with pytest.raises(InputError, match="--distributed: expected auto, off or HOST"):
        processes.meet(spec)


def test_a_process_past_the_last():
    with pytest.raises(InputError, match="a process below 2, found 2"):
        processes.meet("host:1,2,2")


def test_alone():
    processes.meet("off")
    processes.meet("host:1,1,0")
    assert (processes.count(), processes.index()) == (1, 0)
    assert processes.first_says(lambda: {1: 2}) == {1: 2}
    assert processes.all_say("x") == ["x"]
    processes.agree(config={"a": 1})
    with pytest.raises(KeyError), processes.ending():
        raise KeyError


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node7", "node7"),
        ("node7,node9", "node7"),
        ("node[007-009,12],other3", "node007"),
        ("node[3,5]", "node3"),
    ],
)
def test_a_step_of_slurm(monkeypatch, nodes, host):
    for name, value in (SLURM | {"SLURM_STEP_NODELIST": nodes}).items():
        monkeypatch.setenv(name, value)
    place = processes._place("auto")
    assert place == processes.Place(f"{host}:61441", 8, 5, 1)


@pytest.mark.parametrize("missing", SLURM)
def test_half_of_slurms_variables_are_none(monkeypatch, missing):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    assert processes._place("auto") is None


def test_one_task_of_slurm_is_alone(monkeypatch):
    for name, value in (SLURM | {"SLURM_NTASKS": "1"}).items():
        monkeypatch.setenv(name, value)
    assert processes._place("auto") is None
