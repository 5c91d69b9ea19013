"""local_multiprocess.py, with real processes that print, fail, hang and are stopped."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import local_multiprocess
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = [sys.executable, "-S", str(ROOT / "launch" / "local_multiprocess.py")]
# Each process does what its word says, once all are there: ends with a code, is killed,
# waits for SIGTERM, or hangs, deaf to it.
ACTS = """
import os, signal, sys, time
folder, *acts, flag = sys.argv[1:]
address, processes, index = flag.partition("=")[2].split(",")
act = acts[int(index)]
if act == "hang":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if act == "wait":
    signal.signal(signal.SIGTERM, lambda *_: (print("saved"), sys.exit(143)))
print("there", os.environ["JAX_NUM_CPU_DEVICES"], os.environ["JAX_PLATFORMS"], flag)
open(os.path.join(folder, "there" + index), "w").close()
while len([name for name in os.listdir(folder) if "there" in name]) < len(acts):
    time.sleep(0.01)
if act == "killed":
    os.kill(os.getpid(), 9)
if act.isdigit():
    sys.exit(int(act))
time.sleep(20)
"""


@pytest.fixture
def acts(child, tmp_path):
    """The command of processes that do so."""
    (tmp_path / "there").mkdir()
    return lambda *each: [*child(ACTS), str(tmp_path / "there"), *each]


def run(command, *flags):
    words = [*SCRIPT, *flags, "--", *command]
    environ = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=20, env=environ
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_each_process_has_its_number_devices_and_one_address(acts):
    flags = ("--processes=3", "--devices=4")
    code, lines, errors = run(acts("0", "0", "0"), *flags)
    assert (code, errors) == (0, "")
    (port,) = set(re.findall(r"127.0.0.1:(\d+)", "".join(lines)))
    assert sorted(lines) == [
        f"[{i}] there 4 cpu --distributed=127.0.0.1:{port},3,{i}" for i in range(3)
    ]


def test_the_first_that_fails_ends_the_others_and_gives_its_code(acts):
    began = time.monotonic()
    code, lines, errors = run(acts("wait", "1"))
    assert code == 1
    assert "[0] saved" in lines  # it had its SIGTERM
    assert errors == "kdjax: process 1 ended with exit code 1; ending the rest\n"
    assert time.monotonic() - began < 10


def test_one_that_does_not_heed_sigterm_is_killed_after_the_grace(acts):
    code, _, errors = run(acts("killed", "hang"), "--grace=0.1")
    assert code == 137
    assert "process 1 runs 0.1 s after SIGTERM; killing it" in errors


def test_a_signal_is_passed_on_to_all(acts, tmp_path, wait_for):
    printed = tmp_path / "printed"
    command = [*SCRIPT, "--", *acts("wait", "wait")]
    with printed.open("w") as file:
        process = subprocess.Popen(command, stdout=file)
    wait_for(printed, "[0] there")
    wait_for(printed, "[1] there")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143
    lines = printed.read_text().splitlines()
    assert {"[0] saved", "[1] saved"} <= set(lines)


def test_a_closed_stdout_does_not_stop_the_processes(child, tmp_path):
    left = tmp_path / "left"
    script = "import sys, time\nfor _ in range(9): print('line'); time.sleep(0.01)\n"
    script += f"open({str(left)!r}, 'a').write('x')\n"
    command = " ".join([*SCRIPT, "--processes=1", "--", *child(script)])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0] line\n", "")
    assert left.read_text() == "x"


def test_what_the_environment_says_is_kept():
    given = {"JAX_PLATFORMS": "cuda", "JAX_NUM_CPU_DEVICES": "8", "HOME": "/h"}
    assert local_multiprocess.environment(given, devices=2) == {
        "JAX_PLATFORMS": "cuda",
        "JAX_NUM_CPU_DEVICES": "2",
        "HOME": "/h",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "no command: local_multiprocess.py [flags] -- COMMAND..."),
        (["--processes=0", "--", "x"], "expected a whole number, 1 or more, found '0'"),
        (
            ["--device=2", "--", "x"],
            "unknown flag '--device' (did you mean '--devices'",
        ),
        (["--", "no/such"], "cannot run 'no/such': No such file or directory"),
    ],
)
def test_wrong_input_is_one_line(refused, flags, said):
    assert said in refused(*SCRIPT, *flags)
