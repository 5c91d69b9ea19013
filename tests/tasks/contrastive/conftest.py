"""The small contrastive experiment, run once for all that read it."""

import json
import runpy
from pathlib import Path

import pytest

from kdjax import experiment

CONFIG = Path(__file__).resolve().parents[2] / "small_simclr.py"


@pytest.fixture(scope="session")
def small():
    """() -> the experiment's config, which the caller may change."""
    get_config = runpy.run_path(str(CONFIG))["get_config"]
    return lambda: json.loads(get_config().to_json())


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory):
    """Its workdir; to be copied before anything there is changed."""
    workdir = tmp_path_factory.mktemp("finished")
    experiment.run(small(), workdir)
    return workdir
