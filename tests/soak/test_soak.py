"""A run killed at random moments ends as the one that was not (run.py: 100 kills)."""

import pytest

from tests.conftest import QUICK
from tests.soak.run import Soak


@pytest.mark.long
def test_killed_and_damaged_it_ends_as_unbroken(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("XLA_FLAGS", QUICK)
    soak = Soak(tmp_path, size="short", flip_every=2, between=(0.4, 0.8))
    soak.run(2, soak.unbroken())
    assert soak.kills == {"SIGKILL": 1, "SIGTERM": 1}
    assert soak.runs
