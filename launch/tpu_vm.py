#!/usr/bin/env python3
"""Cloud TPU slices: prints the gcloud commands of one step; --execute runs them.

    python launch/tpu_vm.py create|status|setup|run|stop|logs|delete NAME
        --accelerator=v5e-8 --project=P --zone=Z [--api=queued|compute]
        [--slices=N] [--spot | --reserved | --reservation=NAME] [--execute]
        [-- COMMAND...]

create   asks for the slice; --replace deletes it first, which a preempted one needs
status   says how far it is
setup    copies the checkout's last commit to every worker (git bundle) and installs it
         there by launch/setup_tpu.sh; again after a commit. --free_chips ends what is
         left over on the chips
run      starts COMMAND in the checkout on every worker, detached, through
         until_done.py, output in runs/worker.log
stop     SIGTERM: COMMAND saves and ends
logs     the end of the log of every worker; --follow: of the first, as it grows
delete   gives the slice back

Commands run from the checkout's folder, in order, each printed first; the first that
fails ends it, with its exit code. Needs Python 3.10 or newer, git and gcloud.
"""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import compute_engine
import queued_resources
from command_line import Parser, fail, number, one_of, say
from tpu_slices import Request, check, choose_api, parse_accelerator

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = "/tmp/kdjax.bundle"
VERBS = ("create", "status", "setup", "run", "stop", "logs", "delete")
ON_WORKERS = ("setup", "run", "stop", "logs")
UNPACK = (
    "git init --quiet kdjax && cd kdjax && git fetch --quiet ~/kdjax.bundle HEAD && "
    "git checkout --quiet --force --detach FETCH_HEAD && bash launch/setup_tpu.sh"
)


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags, and the COMMAND after --."""
    parser = Parser(__doc__)
    parser.add_argument("verb", type=one_of(VERBS), help=", ".join(VERBS))
    parser.add_argument("name", help="of the slice, or of them all")
    parser.add_argument("--accelerator", required=True, help="as v5e-8, v6e-8, v4-32")
    parser.add_argument("--project", required=True)
    parser.add_argument("--zone", required=True, help="as us-central1-a")
    parser.add_argument("--api", type=one_of(("queued", "compute")))
    parser.add_argument("--slices", type=number(int, low=1), default=1)
    parser.add_argument("--topology", default="", help="as 4x4: not the usual one")
    parser.add_argument("--spot", action="store_true", help="cheap, may be taken back")
    parser.add_argument("--reserved", action="store_true", help="of --api=queued")
    parser.add_argument("--reservation", default="", help="of --api=compute: its name")
    parser.add_argument("--valid_until", default="", help="of --api=queued, as 6h")
    parser.add_argument("--replace", action="store_true", help="create: delete first")
    parser.add_argument("--free_chips", action="store_true", help="setup: see above")
    parser.add_argument("--lines", type=number(int, low=1), default=50, help="of logs")
    parser.add_argument("--follow", action="store_true", help="logs: as they grow")
    parser.add_argument(
        "--machines", default="", help="of --api=compute: names, with commas between"
    )
    parser.add_argument("--execute", action="store_true", help="run what is printed")
    return parser.split(argv)


def request_of(options: argparse.Namespace) -> Request:
    """The request that the flags make; ends the command with a line if they cannot."""
    for what, value, pattern, example in (
        ("NAME", options.name, r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?", "har-1"),
        ("--project", options.project, r"[a-z][a-z0-9.:-]*", "my-project"),
        ("--zone", options.zone, r"[a-z]+-[a-z]+\d+-[a-z0-9]+", "us-central1-a"),
    ):
        if not re.fullmatch(pattern, value):
            fail(f"{what}: expected a name as {example}, found {value!r}")
    generation, size = parse_accelerator(options.accelerator)
    request = Request(
        generation=generation,
        size=size,
        **{k: v for k, v in vars(options).items() if k in Request._fields},
    )._replace(api=choose_api(generation, options.api))
    check(request)
    return request


def on_worker(verb: str, options: argparse.Namespace, command: list[str]) -> str:
    """The shell command that each worker is given."""
    script = "bash kdjax/launch/worker.sh"
    if verb == "setup":
        return UNPACK + " --free_chips" * options.free_chips
    if verb == "run":
        return f"{script} start {shlex.join(command)}"
    if verb == "logs":
        return f"{script} logs {options.lines}" + " -f" * options.follow
    return f"{script} stop"


def commands(
    options: argparse.Namespace,
    request: Request,
    command: list[str],
    machines: list[list[str]],
) -> list[list[str]]:
    """The argument lists of one verb, in order.

    machines: the names of Compute Engine's, a list for each slice.
    """
    queued = request.api == "queued"
    api = queued_resources if queued else compute_engine
    if options.verb == "create":
        before = api.delete(request, wait=True) if options.replace else []
        return before + api.create(request)
    if options.verb == "status":
        return api.status(request)
    if options.verb == "delete":
        return api.delete(request, wait=False)
    text = on_worker(options.verb, options, command)
    first = options.verb == "logs" and options.follow
    if queued:
        copied = queued_resources.copy(request, BUNDLE)
        reached = queued_resources.ssh(request, text, only_first=first)
    else:
        copied = compute_engine.copy(request, BUNDLE, machines)
        reached = compute_engine.ssh(request, text, machines, only_first=first)
    if options.verb != "setup":
        return reached
    return [["git", "bundle", "create", BUNDLE, "HEAD"], *copied, *reached]


def machines_of(request: Request, options: argparse.Namespace) -> list[list[str]]:
    """The names of Compute Engine's machines, a list for each slice.

    Those of --machines; else, with --execute, those that gcloud lists; else made up.
    """
    if request.api != "compute" or options.verb not in ON_WORKERS:
        return []
    if request.hosts == 1:
        return [[request.name]]
    if options.machines:
        names = options.machines.split(",")
        if len(names) != request.hosts * request.slices or not all(names):
            fail(
                f"--machines: expected {request.hosts * request.slices} names "
                f"({request.hosts} a slice), found {options.machines!r}"
            )
    elif options.execute:
        names = [
            line.split()[0]
            for words in compute_engine.status(request)
            for line in output(words).splitlines()
            if line.strip()
        ]
        if len(names) != request.hosts * request.slices:
            fail(
                f"{request.name} has {len(names)} machines, not yet its "
                f"{request.hosts * request.slices}; see status",
                3,
            )
    else:
        say("the machines' names are made up: --execute asks for them, or --machines=")
        names = [
            f"{name}-vm{i}" for name in request.names for i in range(request.hosts)
        ]
    step = request.hosts
    return [names[i : i + step] for i in range(0, len(names), step)]


def shown(words: list[str]) -> str:
    """The command as a shell takes it, in lines of 88 characters where it can be."""
    lines = [""]
    for word in words:
        flag, equals, value = word.partition("=")
        if not (equals and flag.startswith("--")):
            flag, equals, value = "", "", word
        text = f"{flag}{equals}{shlex.quote(value)}"
        if lines[-1] and len(lines[-1]) + len(text) > 84:
            lines.append("   ")
        lines[-1] += " " * bool(lines[-1]) + text
    return " \\\n".join(lines)


def output(words: list[str]) -> str:
    """Prints and runs a command: what it printed."""
    print(shown(words), flush=True)
    try:
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        fail(f"cannot run {words[0]!r}: {error.strerror}", 3)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def execute(words: list[str]) -> None:
    """Prints and runs a command, which speaks for itself; ends with it if it fails."""
    print(shown(words), flush=True)
    try:
        code = subprocess.run(words, cwd=ROOT).returncode
    except OSError as error:
        fail(f"cannot run {words[0]!r}: {error.strerror}", 3)
    if code:
        sys.exit(code)


def main(argv: list[str]) -> None:
    """Parses the command line; prints, and with --execute runs, its commands."""
    options, command = parse(argv)
    if options.verb == "run" and not command:
        fail("run: no command: tpu_vm.py run NAME [flags] -- COMMAND...")
    if options.verb != "run" and command:
        fail(f"{options.verb}: takes no COMMAND, found {command[0]!r}")
    request = request_of(options)
    lists = commands(options, request, command, machines_of(request, options))
    states = (queued_resources if request.api == "queued" else compute_engine).STATES
    for words in lists:
        if not options.execute:
            print(shown(words))
        elif options.verb == "status":
            for line in output(words).splitlines():
                meaning = states.get(line.split()[-1] if line.split() else "", "")
                print(f"{line}: {meaning}" if meaning else line)
        else:
            execute(words)


if __name__ == "__main__":
    for usual in (signal.SIGPIPE, signal.SIGINT):  # `| head -1`, Ctrl-C: no traceback
        signal.signal(usual, signal.SIG_DFL)
    main(sys.argv[1:])
