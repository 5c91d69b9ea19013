"""What became of the rows of recordings: a table of the files that were read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdjax.report.runs import Experiment

MOST_FILES = 20


def counts_section(experiment: Experiment) -> str:
    """A row a file, and their sum: how many rows were read, left out, joined.

    '' where no data set was read row by row. Of many files the first are shown.
    """
    files: dict[str, Mapping[str, Any]] = {}
    for run in experiment.runs.values():
        for count in run.record.get("counts", ()):
            files.setdefault(str(count["file"]), count)
    if not files:
        return ""
    names = [name for name in next(iter(files.values())) if name != "file"]
    lines = [
        "## Rows read",
        "",
        "Rows with an empty cell are left out, as are repeated ones; joined are those"
        " whose group and time every source has; in no window, those of runs that are"
        " too short, and their ends.",
        "",
        f"| file | {' | '.join(names)} |",
        f"|---|{'--:|' * len(names)}",
    ]
    for file, count in list(files.items())[:MOST_FILES]:
        lines.append(_row(f"`{file}`", [count.get(name, 0) for name in names]))
    if len(files) > 1:
        sums = [sum(c.get(name, 0) for c in files.values()) for name in names]
        lines.append(_row(f"all {len(files)} files", sums))
    return "\n".join(lines)


def _row(name: str, numbers: list[int]) -> str:
    return f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |"
