"""The README says only what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_the_example_of_one_loss_runs():
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    assert len(code.splitlines()) == 6
    names = {}
    exec(code, names)
    assert names["gradient"].shape == names["student"].shape
    assert float(names["loss"]) > 0


def test_every_path_it_names_exists():
    named = re.findall(
        r"(?:configs|launch|tests|kdjax|\.readme)/[\w/]*\.(?:py|sh|png)", TEXT
    )
    assert len(named) > 10
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_every_name_in_its_tables_exists():
    from kdjax import augment, data, losses, models
    from kdjax.tasks import TASKS
    from kdjax.tasks.anomaly import detectors
    from kdjax.tasks.contrastive import readouts
    from kdjax.tasks.distillation import terms
    from kdjax.training import optim

    tables = {
        "kdjax.data": data.LOADERS,
        "kdjax.models": models.MODELS | models.GANS,
        "kdjax.augment": augment.AUGMENTATIONS,
        "kdjax.tasks": TASKS,
        "kdjax.tasks.anomaly.detectors": detectors.DETECTORS,
        "kdjax.tasks.contrastive.readouts": readouts.PROBES,
        "kdjax.tasks.distillation.terms": terms.TERMS,
        "kdjax.training.optim": optim.OPTIMIZERS | optim.SCHEDULES,
    }
    for module, table in tables.items():
        (row,) = re.findall(rf"\| `{re.escape(module)}`: (.*) \|", TEXT)
        assert set(re.findall(r"`(\w+)`", row)) - {"schedule"} == set(table), module
    for name in losses.__all__:
        assert f"`{name}`" in TEXT
