"""Commands: how each parses flags, prints an error in one line, and exits.

Every way to end that is foreseen has an exit code of its own (`Exit`); only a fault of
kdjax's own is a traceback.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import app, flags, logging

from kdjax import console
from kdjax.errors import InputError, MachineError
from kdjax.training import preemption, processes

SIGNALS = {KeyboardInterrupt: signal.SIGINT, preemption.Preempted: signal.SIGTERM}
AGAIN_S = 0.05  # until a signal that was lost is sent again


class Exit(enum.IntEnum):
    """What a command's exit code says. After any but 0 and 2 the same command goes on.

    (1 is also Python's own for a traceback.)
    """

    DONE = 0
    DIVERGED = 1  # a loss, gradient or score is not finite
    WRONG_INPUT = 2  # a flag, a field of the config or a file
    ENVIRONMENT = 3  # disk full, folder read-only or in use, out of memory
    INTERRUPTED = 130  # Ctrl-C
    LOST = processes.LOST  # another process of the run does not answer
    PREEMPTED = processes.PREEMPTED  # SIGTERM


def parse(argv: list[str]) -> list[str]:
    """absl's parser, with a wrong flag as one line and exit code 2."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        stop(f"error: {one_line(error)}", Exit.WRONG_INPUT)


def run(
    work: Callable[[], None],
    *,
    interrupted: str,
    flags_parser: Callable[[list[str]], list[str]] = parse,
    positional: str | None = None,
) -> None:
    """Parses the command line, does `work`, and exits with its code.

    `interrupted` is what an interrupted user is told. `positional`: the flag that may
    be given as the one argument without a name, too.
    """
    _open_standard_files()
    sys.unraisablehook = _unraisable
    with _ending(interrupted):
        app.run(lambda argv: _main(work, argv, positional), flags_parser=flags_parser)


def _main(work: Callable[[], None], argv: list[str], positional: str | None) -> None:
    if positional is not None and len(argv) == 2:
        setattr(flags.FLAGS, positional, argv.pop())
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; flags start with --")
    if not flags.FLAGS["verbosity"].present:
        # orbax narrates every save, and has a page on each that fails
        logging.set_verbosity(logging.FATAL)
    work()


@contextlib.contextmanager
def _ending(interrupted: str) -> Iterator[None]:
    """One line and the exit code of what was raised."""
    try:
        yield
    except InputError as error:
        stop(f"error: {error}", Exit.WRONG_INPUT)
    except KeyboardInterrupt:
        stop(f"interrupted; {interrupted}", Exit.INTERRUPTED)
    except Exception as error:
        reason = machine_fault(error)
        if reason is None:
            raise
        stop(f"stopped: {reason}", Exit.ENVIRONMENT)
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # it was said, or could not be
            console.lead_nowhere()


def machine_fault(error: BaseException) -> str | None:
    """In one line what the machine does not give; None for any other error."""
    text = one_line(error)
    system = re.search(r"\[os_error_code='(\d+)'\]", text)  # tensorstore's
    if isinstance(error, MachineError):
        return text
    if isinstance(error, OSError):
        reason = error.strerror or text
        return f"{error.filename}: {reason}" if error.filename else reason
    if system:
        path = re.search(r'"(/.*?)(\.orbax-checkpoint-tmp|")', text)
        reason = os.strerror(int(system[1]))
        return f"{path[1]}: {reason}" if path else reason
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return f"out of memory: {text}" if text else "out of memory"
    return None if error.__cause__ is None else machine_fault(error.__cause__)


def _unraisable(fault: Any) -> None:
    """Answers what was raised where Python lets nothing through, as in a finaliser.

    A signal that came just there is sent again, a moment later. What tensorstore's
    threads say after a failed read or write of orbax is left out: the failure itself
    was raised.
    """
    for interruption, number in SIGNALS.items():
        if issubclass(fault.exc_type, interruption):
            again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
    if str(fault.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(fault)


def _open_standard_files() -> None:
    """Opens stdin, stdout or stderr where it is closed, lest a file get its number.

    Paths may have characters that the terminal has not: they are escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")


def stop(message: str, code: Exit) -> NoReturn:
    """Says why on stderr, in one line, and exits."""
    with contextlib.suppress(OSError):  # stderr is closed: the code is all there is
        print(f"kdjax: {' '.join(message.splitlines())}", file=sys.stderr)
    reason = SystemExit(int(code))
    reason.add_note(message)  # for the other processes of the run
    raise reason


def one_line(error: BaseException) -> str:
    """The error's own words: ml_collections wraps a config's in its whole traceback."""
    text = str(error.args[0]) if error.args else str(error)
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1]
    return " ".join(text.split())
