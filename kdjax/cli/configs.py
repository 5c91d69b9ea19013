"""Lists the experiments that come with kdjax: data, stages, cost.

    kdjax configs

Each is run by its name, as in `kdjax --config=digits_eskd`; `NAME:smoke` shrinks it to
a trial of some seconds or minutes. Data that are not made up or embedded are named by
a flag, which the config's docstring says (`kdjax describe --config=NAME` prints it).

Exit codes: those of `kdjax.cli.command.Exit`.
"""

from __future__ import annotations

import importlib
import re

from kdjax import console, plan
from kdjax.cli import command, configfile


def run() -> None:
    """Parses the command line and exits with the code of the run."""
    command.run(_list, about=__doc__, interrupted="nothing was written")


def _list() -> None:
    for name in configfile.shipped():
        console.write(in_brief(name))


def in_brief(name: str) -> str:
    """A config's name, data, stages and seeds; what it is for; what it costs."""
    config = configfile.load(name)
    stages = plan.resolve(config)
    sections = [
        s[of] for s in stages.values() for of in ("data", "trials") if s.get(of)
    ]
    data = sorted({section["name"].rpartition(":")[2] for section in sections})
    shown = ", ".join(data[:4]) + (", ..." if len(data) > 4 else "")
    counts = " x ".join(
        f"{n} {what}{'s' * (n > 1)}"
        for n, what in ((len(stages), "stage"), (len(plan.seeds(config)), "seed"))
    )
    what, cost = said(name)
    return f"{name}: {shown}; {counts}\n    {what}\n    Cost: {cost}."


def said(name: str) -> tuple[str, str]:
    """The first sentence of a config's docstring, and the cost that it states."""
    text = importlib.import_module(f"kdjax.configs.{name}").__doc__ or ""
    cost = re.search(r"^Cost: (.*)\.$", text, re.MULTILINE)
    return text.partition("\n")[0], cost[1] if cost else "not said"
