"""Commands: how each parses flags, prints an error in one line, and exits.

Every way to end that is foreseen has an exit code of its own (`Exit`); only a fault of
kdjax's own is a traceback.
"""

from __future__ import annotations

import contextlib
import enum
import os
import platform
import re
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any, NoReturn

from absl import app, flags, logging

from kdjax import __version__, console
from kdjax.errors import InputError, MachineError
from kdjax.training import preemption, processes

SIGNALS = {KeyboardInterrupt: signal.SIGINT, preemption.Preempted: signal.SIGTERM}
HELP = {"--help", "-help", "-h", "--helpfull", "--helpshort"}
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
    work: Callable[..., None],
    *,
    about: str | None,
    interrupted: str,
    positional: Sequence[str] = (),
    flags_parser: Callable[[list[str]], list[str]] = parse,
) -> None:
    """Parses the command line, does `work`, and exits with its code.

    `about` is what `--help` says of the command, its module's docstring; `interrupted`
    is what an interrupted user is told; `positional` names the arguments that are no
    flags, with which `work` is called.
    """
    _open_standard_files()
    sys.unraisablehook = _unraisable
    with _ending(interrupted):
        if HELP.intersection(sys.argv[1:]):
            console.write(_help(about or ""))
        elif "--version" in sys.argv[1:]:
            console.write(_versions())
        else:
            app.run(
                lambda argv: _main(work, argv[1:], positional),
                flags_parser=flags_parser,
            )


def _help(about: str) -> str:
    """The module's docstring, then every flag of the command with its default."""
    lines = [about.strip(), "", "Flags:"]
    given = flags.FLAGS.flags_by_module_dict()
    ours = [f for name, own in given.items() if name.startswith("kdjax") for f in own]
    for flag in sorted(ours, key=lambda flag: flag.name):
        default = "none" if flag.default in (None, []) else flag.default_as_str
        text = f"{' '.join((flag.help or '').split())} (default: {default})"
        lines.append(f"  --{flag.name}")
        lines += [" " * 6 + line for line in textwrap.wrap(text, 74)]
    return "\n".join(lines)


def _versions() -> str:
    parts = [f"kdjax {__version__}"]
    parts += [f"{name} {metadata.version(name)}" for name in ("jax", "flax", "numpy")]
    return ", ".join([*parts, f"Python {platform.python_version()}"])


def _main(
    work: Callable[..., None], arguments: list[str], positional: Sequence[str]
) -> None:
    if len(arguments) > len(positional):
        wrong = arguments[len(positional)]
        raise InputError(f"unexpected argument {wrong!r}; flags start with --")
    if len(arguments) < len(positional):
        raise InputError(f"missing argument: expected {' '.join(positional)}")
    if not flags.FLAGS["verbosity"].present:
        # orbax narrates every save, and has a page on each that fails
        logging.set_verbosity(logging.FATAL)
    work(*arguments)


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
