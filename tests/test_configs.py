"""Every config: whole and at smoke size, its stages fit together and their tasks."""

import importlib
import inspect
import json
from pathlib import Path

import pytest

from kdjax import plan
from kdjax.report.runs import report_settings
from kdjax.tasks import ALL

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NAMES = sorted(p.stem for p in CONFIGS.glob("*.py") if p.stem not in ("common",))


@pytest.mark.parametrize("arg", ["", "smoke"])
@pytest.mark.parametrize("name", [n for n in NAMES if n != "__init__"])
def test_it_names_only_what_there_is(name, arg):
    get_config = importlib.import_module(f"kdjax.configs.{name}").get_config
    config = json.loads(get_config(arg).to_json_best_effort())
    assert plan.seeds(config)
    stages = plan.resolve(config)
    order = plan.reading_order(stages)
    assert set(order) == set(stages)
    report_settings(config, order, ALL.metrics)
    for stage, fields in stages.items():
        make = ALL.tasks[fields.pop("task")]
        known = inspect.signature(make).parameters
        assert set(fields) <= set(known), stage
        needed = {n for n, p in known.items() if p.default is inspect.Parameter.empty}
        assert needed <= set(fields) | {"seed"}, stage
