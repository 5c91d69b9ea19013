"""Prints an experiment's stages with all their fields, and runs nothing.

    kdjax describe --config=NAME_OR_FILE[:arg] [--config.x.y=VALUE ...]

First the config's docstring, then the fields that all stages have in common, then those
of each stage, in the order of training, with defaults. Each line is the flag that sets
the field. The data are read, for a config is checked against them.

Exit codes: those of `kdjax.cli.command.Exit`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from absl import flags

from kdjax import console, plan
from kdjax.cli import command, configfile, overrides
from kdjax.errors import Settings


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    flags.DEFINE_string("config", None, "The config: NAME[:arg] or FILE[:arg].")
    given = list[overrides.Given]()
    command.run(
        partial(_describe, given),
        about=__doc__,
        interrupted="nothing was written",
        flags_parser=partial(configfile.parse, given=given),
    )


def _describe(given: list[overrides.Given]) -> None:
    config = configfile.read(flags.FLAGS.config, given)
    console.write(configfile.docstring(flags.FLAGS.config))
    from kdjax import experiment

    for line in lines(config, experiment.settings(config)):
        console.write(line)


def lines(config: Mapping[str, Any], settings: Mapping[str, Settings]) -> Iterator[str]:
    """What is common to all stages, then each stage, as flags.

    settings: {stage: its resolved settings}, in the order of training.
    """
    fields = {name: dict(_fields(found)) for name, found in settings.items()}
    first = next(iter(fields.values()))
    common = {
        field: value
        for field, value in first.items()
        if all(field in own and own[field] == value for own in fields.values())
    }
    yield _flag("seeds", tuple(plan.seeds(dict(config))))
    for field in ("parallel", "devices"):
        if field in config:
            yield _flag(field, config[field])
    yield from (_flag(field, value) for field, value in common.items())
    stages = plan.resolve(dict(config))
    for name, own in fields.items():
        read = ", ".join(dict.fromkeys(plan.reads(stages[name])))
        yield f"\nstage {name}" + (f", after {read}" if read else "")
        for field, value in own.items():
            if field not in common:
                yield _flag(f"stages.{name}.{field}", value)


def _fields(settings: Settings) -> Iterator[tuple[str, Any]]:
    """(section.field, value), those of no section first."""
    for where in sorted(settings):
        for field, value in settings[where].items():
            if not isinstance(value, Mapping):
                section = where.partition(".")[2]
                yield f"{section}.{field}" if section else field, value


def _flag(field: str, value: Any) -> str:
    if isinstance(value, tuple):  # a list, as in a file
        value = list(value)
    text = value if isinstance(value, str) else repr(value)
    return f"--config.{field}={shlex.quote(text)}"
