"""Commands: one line and an exit code of its own for every way to end."""

import errno
import io
import os
import re
import sys
from pathlib import Path

import jax
import pytest

import kdjax
from kdjax import console
from kdjax.cli import COMMANDS, command
from kdjax.cli.command import Exit
from kdjax.errors import InputError, MachineError

# as tensorstore words it, through orbax
FULL = (
    'RESOURCE_EXHAUSTED: Error writing local file "/r/last/24.orbax-checkpoint-tmp/'
    'model/manifest.ocdbt": Failed to write 166 bytes to file 16: No space left on '
    "device [os_error_code='28']"
)


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("x: wrong\nhere"), 2, "error: x: wrong here"),
        (KeyboardInterrupt(), 130, "interrupted; go on"),
        (MachineError("run is in use"), 3, "stopped: run is in use"),
        (OSError(errno.EROFS, "Read-only", "/r"), 3, "stopped: /r: Read-only"),
        (OSError(errno.ENOSPC, "Full"), 3, "stopped: Full"),
        (ValueError(FULL), 3, "stopped: /r/last/24: No space left on device"),
        (
            caused(RuntimeError("it failed"), OSError(errno.ENOSPC, "Full", "/r")),
            3,
            "stopped: /r: Full",
        ),
        (MemoryError(), 3, "stopped: out of memory"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
            3,
            "stopped: out of memory: RESOURCE_EXHAUSTED: Out of memory allocating",
        ),
    ],
)
def test_what_is_foreseen_is_one_line(capsys, error, code, said):
    with pytest.raises(SystemExit) as ended, command._ending("go on"):
        raise error
    assert ended.value.code == code
    assert code in list(Exit)
    printed = capsys.readouterr().err
    assert printed.startswith(f"kdjax: {said}")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    "error", [ValueError("ours"), caused(ValueError("ours"), KeyError("a"))]
)
def test_a_fault_of_kdjax_is_a_traceback(error):
    with pytest.raises(ValueError, match="ours"), command._ending(""):
        raise error


def test_each_way_to_end_has_a_code_of_its_own():
    assert len({code.value for code in Exit}) == len(Exit) == 7


# The signal's handler raises inside a weak reference's callback, where it is lost.
LOST = """
import os, signal, sys, time, weakref
from kdjax.cli import run

name = sys.argv.pop()

class Held:
    pass

def train(given):
    held = Held()
    number = getattr(signal, name)
    reference = weakref.ref(held, lambda _: os.kill(os.getpid(), number))
    del held
    time.sleep(60)

run._train = train
run.run()
"""


@pytest.mark.parametrize(("command", "flag"), [("run", "stage"), ("zoo", "classes")])
def test_help_lists_the_flags_with_their_defaults(python, command, flag):
    """It once printed one line, and exited with 1."""
    said = python("-m", "kdjax", command, "--help").stdout
    assert said.startswith(("Runs an experiment", "Prints what each family"))
    (text,) = re.findall(rf"^  --{flag}\n((?: {{6}}.*\n)+)", said, re.MULTILINE)
    assert text.endswith("(default: none)\n")
    assert "--verbosity" not in said


def test_the_help_of_kdjax_lists_the_commands_that_there_are(python):
    said = python("-m", "kdjax", "--help").stdout
    folder = Path(command.__file__).parent
    for name in COMMANDS:
        assert f"    {name} " in said
        assert (folder / f"{name}.py").exists()
        assert python("-m", "kdjax", name, "--help").stdout


def test_the_version(python):
    said = python("-m", "kdjax", "--version").stdout
    assert said.startswith(f"kdjax {kdjax.__version__}, jax {jax.__version__}, ")


def test_a_command_that_there_is_not(python):
    done = python("-m", "kdjax", "tabel", check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == "kdjax: error: unknown command 'tabel' (did you mean 'table'?)"


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("SIGTERM", 143, "preempted: outside"), ("SIGINT", 130, "interrupted; ")],
)
def test_a_signal_in_a_callback_is_not_lost(python, name, code, said):
    done = python("-c", LOST, name, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(f"kdjax: {said}")
    assert done.stderr.count("\n") == 1


class Closed(io.StringIO):
    """A stdout that nobody reads; its file is one of its own."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def fileno(self):
        return self.file.fileno()


def test_a_closed_stdout_ends_no_training(monkeypatch, capsys, tmp_path):
    with (tmp_path / "stdout").open("w") as file:
        monkeypatch.setattr(sys, "stdout", Closed(file))
        console.say("a line")
        # what Python writes at its exit goes nowhere
        assert os.path.samestat(os.fstat(file.fileno()), os.stat(os.devnull))
        with pytest.raises(OSError, match="Broken pipe") as raised:
            console.write("a table")
    assert raised.value.filename == "stdout"
    assert capsys.readouterr().err == "kdjax: stdout: Broken pipe\n"
