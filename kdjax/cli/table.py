"""Prints a run's tables as Markdown, and under them with what they were made.

    kdjax table --workdir=RUN [--sections=Results,...] [--into=FILE [--name=NAME]]

With --into the text between the lines `<!-- table NAME -->` and `<!-- end -->` of a
Markdown file is replaced; NAME is the last part of RUN unless it is given. So what a
document says of a run is always what a command made of its records.

Exit codes: those of `kdjax.cli.command.Exit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from kdjax import console, files
from kdjax.cli import command
from kdjax.errors import InputError
from kdjax.report.marks import put

_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a run.")
_INTO = flags.DEFINE_string("into", None, "The Markdown file to put the tables into.")
_SECTIONS = flags.DEFINE_list("sections", [], "Under these headings. Default: all.")
_NAME = flags.DEFINE_string("name", None, "Of the place there. Default: RUN's name.")


def tables(workdir: Path, only: Sequence[str] = ()) -> str:
    """The tables of a run's report, and its provenance, as Markdown.

    only: the headings of the sections to keep; (): all.
    """
    from kdjax.report.document import made_of
    from kdjax.tasks import ALL

    return made_of(workdir, metrics=ALL.metrics, sections=ALL.sections, only=only)


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    command.run(_table, about=__doc__, interrupted="the file is as it was")


def _table() -> None:
    if _WORKDIR.value is None:
        raise InputError("--workdir: missing, and it has no default")
    workdir = files.local(_WORKDIR.value, where="--workdir")
    text = tables(workdir, _SECTIONS.value)
    if _INTO.value is None:
        console.write(text)
    else:
        into = files.local(_INTO.value, where="--into")
        put(text, into, _NAME.value or workdir.resolve().name)
