"""The systems: one folder each, which no other imports."""

from __future__ import annotations

import importlib

from kdjax.tasks.system import System, united

# A system is its folder and its line here.
NAMES = (
    "distillation",
    "contrastive",
    "anomaly",
    "cognitive",
    "brain",
)

SYSTEMS: dict[str, System] = {
    name: importlib.import_module(f"kdjax.tasks.{name}").SYSTEM for name in NAMES
}
ALL = united(list(SYSTEMS.values()))
