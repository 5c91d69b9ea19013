"""Runs a run's record again, elsewhere, and says whether the same came out.

    kdjax replay --workdir=RUN --into=DIR [--stage=NAME]

The config is the one that RUN holds; its data must be where they were. Only the seeds
and stages that RUN has finished are compared: by the metrics of both checkpoints on
every split. The same bits are promised for the same commit, versions, processor,
threads and devices: what differs of these is said. Exit codes: 0 all are the same, 1
some differ, the others as those of `python -m kdjax`.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from kdjax import console, files
from kdjax.checks import difference
from kdjax.cli import command
from kdjax.cli.command import Exit
from kdjax.errors import InputError

_WORKDIR = flags.DEFINE_string("workdir", None, "The run, with its config.json.")
_INTO = flags.DEFINE_string("into", None, "The folder in which it is run again.")
_STAGE = flags.DEFINE_string("stage", None, "Only this stage and those it reads.")
PROMISED = ("commit", "versions", "processor", "threads", "devices", "platform")


def run() -> None:
    """Parses the command line and exits with 0, or 1 where a result differs."""
    how = "the same command goes on from the last checkpoint"
    command.run(_replay, about=__doc__, interrupted=how)


def _replay() -> None:
    workdir, into = (_folder(flag) for flag in (_WORKDIR, _INTO))
    if workdir.resolve() == into.resolve():
        raise InputError(f"--into: expected another folder than {workdir}")
    config = files.read_json(workdir / "config.json")
    # Late, so that a wrong flag is answered before jax has loaded.
    from kdjax import experiment, jobs
    from kdjax.training import host

    host.cache_compilation()
    host.keep_freed_memory()
    beside = 1
    for folder in _finished(workdir)[:1]:
        known = files.read_json(workdir / folder / "results.json")
        beside = jobs.as_recorded(known["environment"])
    experiment.run(config, into, only=_STAGE.value, side_by_side=beside)
    different = [
        folder for folder in _finished(workdir) if not _same(workdir, into, folder)
    ]
    if different:
        command.stop(f"{len(different)} stages came out otherwise", Exit.DIVERGED)


def _folder(flag: flags.FlagHolder[str | None]) -> Path:
    if flag.value is None:
        raise InputError(f"--{flag.name}: missing, and it has no default")
    return files.local(flag.value, where=f"--{flag.name}")


def _finished(workdir: Path) -> list[Path]:
    """`seed_0/teacher`, ...: the stages with results."""
    found = sorted(workdir.glob("seed_*/*/results.json"))
    return [path.parent.relative_to(workdir) for path in found]


def _same(workdir: Path, into: Path, folder: Path) -> bool:
    """Whether a stage came out the same, which is said; one not run again counts so."""
    again = into / folder / "results.json"
    if not again.exists():
        console.say(f"{folder}: not run again")
        return True
    one, other = (files.read_json(p / folder / "results.json") for p in (workdir, into))
    found = difference(one["checkpoints"], other["checkpoints"], "checkpoints")
    if found is None:
        console.say(f"{folder}: the same")
        return True
    line = "{}: {} was {}, now {}".format(folder, *found)
    known, now = one["environment"], other["environment"]
    changed = [name for name in PROMISED if known.get(name) != now.get(name)]
    if changed:
        line += f" (other {', '.join(changed)})"
    console.say(line)
    return False
