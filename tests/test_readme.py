"""The README and its sisters say only what is there."""

import re
from pathlib import Path

import pytest

from kdjax import data

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
CONFIGS = (ROOT / "configs" / "README.md").read_text()


def test_the_example_of_one_loss_runs():
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    assert len(code.splitlines()) == 6
    names = {}
    exec(code, names)
    assert names["gradient"].shape == names["student"].shape
    assert float(names["loss"]) > 0


def test_the_recordings_of_two_sensors_are_read(tmp_path, monkeypatch):
    rows = [
        f"{600 * subject + activity * 100 + i / 20:.2f},{subject},{i},1,{i % 7},{name}"
        for subject in range(6)
        for activity, name in enumerate(("rest", "run"))
        for i in range(150)
    ]
    for sensor in ("accel", "gyro"):
        (tmp_path / sensor).mkdir()
        text = "\n".join(["time,subject,x,y,z,activity", *rows]) + "\n"
        (tmp_path / sensor / "all.csv").write_text(text)
    monkeypatch.chdir(tmp_path)
    (code,) = (
        c for c in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "accel" in c
    )
    names = {}
    exec(code, names)
    dataset = data.load(seed=0, **names["get_config"]().data.to_dict())
    assert dataset.channels == (
        *(f"accel_{axis}" for axis in "xyz"),
        *(f"gyro_{axis}" for axis in "xyz"),
    )
    assert dataset.classes == ("rest", "run")
    splits = (dataset.train, dataset.validation, dataset.test)
    assert sum(len(split.y) for split in splits) == 6 * 2 * 2


PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "configs/README.md",
    "configs/RESULTS.md",
    "tests/benchmarks/README.md",
)
HINT = "a page and the code differ: mend whichever is wrong (see CONTRIBUTING.md)"


@pytest.mark.parametrize("page", PAGES)
def test_every_path_a_page_names_exists(page):
    text = (ROOT / page).read_text()
    pattern = r"(?:configs|launch|tests|kdjax|\.readme)/[\w/]*\.(?:py|sh|png|md)"
    code = re.sub(r"```python.*?```", "", text, flags=re.DOTALL)  # has files to be made
    missing = [name for name in re.findall(pattern, code) if not (ROOT / name).exists()]
    assert not missing, HINT
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert all(((ROOT / page).parent / link).exists() for link in links), HINT


def test_the_readme_fits_on_a_few_screens():
    assert len(TEXT.splitlines()) <= 180


def test_every_config_is_in_the_table_of_configs():
    text = (ROOT / "configs" / "README.md").read_text()
    named = set(re.findall(r"^\| `(\w+\.py)` \|", text, re.MULTILINE))
    files = {path.name for path in (ROOT / "configs").glob("[a-z]*_*.py")}
    assert named == files, HINT


def test_tables_between_marks_say_with_what_they_were_made():
    text = (ROOT / "configs" / "RESULTS.md").read_text()
    tables = re.findall(r"<!-- table (\w+) -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert len(tables) == text.count("<!-- table ") == text.count("<!-- end -->")
    for name, table in tables:
        assert re.search(r"kdjax [\d.]+ at \w{9}, jax [\d.]+", table), name
        assert re.search(r"\d threads; \d{4}-\d\d-\d\d", table), name


def test_every_name_in_its_tables_exists():
    from kdjax import augment, losses, models
    from kdjax.stages import controls, methods
    from kdjax.tasks import ALL
    from kdjax.tasks.anomaly import detectors
    from kdjax.tasks.cognitive import trials
    from kdjax.tasks.contrastive import readouts
    from kdjax.training import optim

    tables = {
        "kdjax.data": data.LOADERS,
        "kdjax.models": models.MODELS
        | models.GANS
        | models.AUTOENCODERS
        | models.RECURRENT,
        "kdjax.augment": augment.AUGMENTATIONS,
        "kdjax.stages.controls": controls.CONTROLS,
        "kdjax.tasks.anomaly.detectors": detectors.DETECTORS,
        "kdjax.tasks.contrastive.readouts": readouts.PROBES,
        "kdjax.tasks.cognitive.trials": trials.PARADIGMS,
        "kdjax.training.optim": optim.OPTIMIZERS | optim.SCHEDULES | optim.COMMON,
    }
    for module, table in tables.items():
        (row,) = re.findall(rf"\| `{re.escape(module)}`: (.*) \|", CONFIGS)
        names = set(re.findall(r"`(\w+)`", row)) - {"schedule", "cognitive"}
        assert names == set(table), f"{module}: {HINT}"
    (row,) = re.findall(r"\| `task` \| (.*): `make`", CONFIGS)
    assert set(re.findall(r"`(\w+)`", row)) == set(ALL.tasks), HINT
    (row,) = re.findall(r"`kdjax.stages.methods`: (.*), or any", CONFIGS)
    assert set(re.findall(r"`(\w+)`", row)) == set(methods.TERMS), HINT
    for name in losses.__all__:
        assert f"`{name}`" in TEXT, HINT
