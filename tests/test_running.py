"""An experiment from Python."""

import json
import sys

import numpy as np
import pandas
import pytest

import kdjax
from tests import small


@pytest.fixture(scope="module")
def finished(tmp_path_factory, undrawn):
    config = small.get_config()
    config.training.epochs = 1
    config.stages = {"scratch": {}, "mlp": {"model": {"widths": (8,)}}}
    config.report = None
    workdir = tmp_path_factory.mktemp("run")
    return workdir, kdjax.run(config, str(workdir))


def test_it_takes_a_configdict_and_returns_a_table(finished):
    """A ConfigDict once had to be sent through JSON."""
    workdir, table = finished
    assert isinstance(table, pandas.DataFrame)
    assert len(table) == 2 * 2 * 2  # stages, checkpoints, splits
    (row,) = table.query(
        "stage == 'mlp' and checkpoint == 'best' and split == 'test'"
    ).to_dict("records")
    results = json.loads((workdir / "seed_0" / "mlp" / "results.json").read_text())
    assert row["accuracy"] == results["checkpoints"]["best"]["test"]["accuracy"]
    assert row["epoch"] == 1
    assert "confusion" not in table
    assert (workdir / "report.md").exists()


def test_without_pandas_it_is_a_list(finished, monkeypatch):
    workdir, table = finished
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = kdjax.results(workdir)
    assert [set(row) for row in rows] == [set(table.columns)] * 8
    np.testing.assert_array_equal(
        [row["accuracy"] for row in rows], table["accuracy"].to_numpy()
    )
