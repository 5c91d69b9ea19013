"""until_done.py, with real children that exit, are killed, and are told to stop."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = [sys.executable, "-S", str(ROOT / "launch" / "until_done.py")]
FAST = ["--first_wait=0.01", "--longest_wait=0.02"]
# Ends as each word says, one a run; which run it is stands in the file.
ENDS = """
import os, sys
path, *ends = sys.argv[1:]
with open(path, "a+") as file:
    file.seek(0)
    end = ends[len(file.read())]
    file.write("x")
if end == "killed":
    os.kill(os.getpid(), 9)
if end == "aborted":
    os.abort()
sys.exit(int(end))
"""
# Says that it is there, and on a signal what it was, in the file; then exits so.
WAITS = """
import signal, sys, time
path, code = sys.argv[1:]
def stop(number, frame):
    print("signal", number, file=open(path, "a"))
    sys.exit(int(code))
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, stop)
print("there", file=open(path, "a"))
time.sleep(20)
"""


def run(command, *flags):
    words = [*SCRIPT, *flags, "--", *map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    return done.returncode, done.stderr.splitlines()


def test_it_runs_again_after_134_137_and_143_and_says_so(child, tmp_path):
    runs = tmp_path / "runs"
    ends = ["143", "killed", "aborted", "0", "143"]
    code, lines = run([*child(ENDS), runs, *ends], *FAST)
    assert (code, runs.read_text()) == (0, "xxxx")
    starts = [line.partition(" after ")[0] for line in lines]
    assert starts == [
        "kdjax: exit code 143 (preempted)",
        "kdjax: exit code 137 (killed)",
        "kdjax: exit code 134 (aborted)",
    ]
    assert [line.partition("; ")[2] for line in lines] == [
        "restart 1 of 50 in 0.01 s",
        "restart 2 of 50 in 0.02 s",
        "restart 3 of 50 in 0.02 s",  # no wait is longer
    ]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 42, 130])
def test_other_codes_are_final(child, tmp_path, code):
    runs = tmp_path / "runs"
    assert run([*child(ENDS), runs, code, 0], *FAST) == (code, [])
    assert runs.read_text() == "x"


def test_it_gives_up_after_so_many_in_a_row(child, tmp_path):
    runs = tmp_path / "runs"
    code, lines = run([*child(ENDS), runs, *[143] * 9], *FAST, "--restarts=2")
    assert (code, runs.read_text()) == (143, "xxx")
    assert lines[-1].endswith("given up after 2 restarts in a row")


def test_a_long_run_starts_the_count_and_the_waits_anew(child, tmp_path):
    runs = tmp_path / "runs"
    flags = ["--restarts=1", "--long_run=0.001"]  # every run is a long one
    code, lines = run([*child(ENDS), runs, *[143] * 4, 0], *FAST, *flags)
    assert (code, runs.read_text()) == (0, "xxxxx")
    assert all(line.endswith("restart 1 of 1 in 0.01 s") for line in lines)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_once_and_ends_it(child, tmp_path, wait_for, sent):
    seen = tmp_path / "seen"
    command = [*SCRIPT, *FAST, "--", *child(WAITS), str(seen), "143"]
    # As a background job of a shell, which ignores SIGINT there.
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, ignored)
    wait_for(seen, "there")
    process.send_signal(sent)
    _, errors = process.communicate(timeout=10)
    # 143 of the child that was told to stop is not answered by a restart.
    assert (process.returncode, errors) == (143, "")
    assert seen.read_text() == f"there\nsignal {int(sent)}\n"


def test_a_child_that_ends_well_when_told_to_stop_is_done(child, tmp_path, wait_for):
    seen = tmp_path / "seen"
    process = subprocess.Popen([*SCRIPT, "--", *child(WAITS), str(seen), "0"])
    wait_for(seen, "there")
    process.terminate()
    assert process.wait(timeout=10) == 0


def test_told_to_stop_while_it_waits_it_exits_at_once(child, tmp_path, wait_for):
    runs = tmp_path / "runs"
    command = [*SCRIPT, "--first_wait=60", "--", *child(ENDS), str(runs), "137", "0"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, stderr=said)
    wait_for(tmp_path / "said", "restart 1 of 50 in 60 s")
    began = time.monotonic()
    process.terminate()
    assert process.wait(timeout=10) == 137
    assert time.monotonic() - began < 5
    assert runs.read_text() == "x"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--first_wait=1"], "no command: until_done.py [flags] -- COMMAND..."),
        (
            ["--restart=1", "--", "x"],
            "unknown flag '--restart' (did you mean '--restar",
        ),
        (
            ["--restarts=-1", "--", "x"],
            "expected a whole number, 0 or more, found '-1'",
        ),
        (["--first_wait=nan", "--", "x"], "expected a number, 0 or more, found 'nan'"),
        (["python", "--", "x"], "unexpected 'python'; a command comes after --"),
        (["--", "no/such"], "cannot run 'no/such': No such file or directory"),
    ],
)
def test_wrong_input_is_one_line(refused, flags, said):
    assert said in refused(*SCRIPT, *flags)
