"""An experiment from Python: run, and its results as a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from kdjax import experiment, files
from kdjax.report.runs import read_experiment
from kdjax.tasks import ALL
from kdjax.training import host


def run(
    config: ConfigDict | Mapping[str, Any],
    workdir: str | os.PathLike[str],
    *,
    only: str | None = None,
    rerun_stale: bool = False,
    side_by_side: int | None = 1,
) -> Any:
    """Runs an experiment, or what is left of it, and returns its results as a table.

        >>> import kdjax
        >>> from kdjax.configs import digits_eskd
        >>> config = digits_eskd.get_config("smoke")
        >>> table = kdjax.run(config, "runs/digits")  # doctest: +ELLIPSIS
        1 device (cpu), ...
        report: runs/digits/report.md
        >>> table.query("stage == 'eskd' and split == 'test'").checkpoint.tolist()
        ['last', 'best']

    What the command does, with the same files in `workdir`: `only` is one stage's name
    (it and those that it reads), `rerun_stale` trains anew what was made of data that
    changed, `side_by_side` is how many stages are trained at the same time (None: as
    many as the command would), each in a process of its own, which needs
    `if __name__ == "__main__":` around the call in a script. Returns what `results`
    does. Raises InputError where the config or the data are wrong, and
    `kdjax.training.loop.Diverged` where a loss is not finite, once all other stages
    are trained.
    """
    host.cache_compilation()
    host.keep_freed_memory()
    experiment.run(
        config,
        workdir,
        only=only,
        rerun_stale=rerun_stale,
        side_by_side=side_by_side,
    )
    return results(workdir)


def results(workdir: str | os.PathLike[str]) -> Any:
    """A run's results: a row for each stage, seed, checkpoint and split.

    The columns are `stage`, `seed`, `checkpoint` ("last" or "best"), `epoch`, `split`
    ("validation" or "test") and the metrics, in the units of results.json; a metric
    that a stage does not have is NaN. A pandas DataFrame where pandas is installed,
    else a list of dicts. InputError if there is no finished stage.
    """
    runs = read_experiment(files.local(workdir, where="workdir"), ALL.metrics).runs
    rows: list[dict[str, Any]] = []
    for (stage, seed), run in sorted(runs.items()):
        for checkpoint, reached in run.checkpoints.items():
            place = {"stage": stage, "seed": seed, "checkpoint": checkpoint}
            for split in ("validation", "test"):
                values = reached.get(split, {})
                numbers = {k: v for k, v in values.items() if np.isscalar(v)}
                row = {"epoch": reached["epoch"], "split": split}
                rows.append(place | row | numbers)
    try:
        import pandas
    except ImportError:
        columns = {column: np.nan for row in rows for column in row}
        return [columns | row for row in rows]
    return pandas.DataFrame(rows)
