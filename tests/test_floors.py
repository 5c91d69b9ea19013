"""Nothing imports upwards, no system another, and the core no system."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "kdjax"
FLOORS = {
    "__version__": 0,
    "archives": 0,
    "signatures": 0,
    "checks": 0,
    "console": 0,
    "errors": 0,
    "files": 0,
    "lock": 0,
    "machine": 0,
    "patterns": 0,
    "losses": 0,
    "models": 1,
    "data": 1,
    "augment": 1,
    "training": 2,
    "plan": 3,
    "stages": 3,
    "report": 3,
    "tasks": 4,
    "cells": 5,
    "schedule": 5,
    "jobs": 5,
    "experiment": 5,
    "loading": 5,
    "running": 5,
    "export": 5,
    "cli": 6,
    "__main__": 6,
}
# The losses are for other people's code too: arrays in, a number out.
LOSSES_MAY_IMPORT = sys.stdlib_module_names | {"jax", "jaxtyping", "kdjax", "optax"}


def part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """(module, name or None) of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from ((node.module, alias.name) for alias in node.names)


def imported_parts(path):
    for module, name in imports(path):
        names = module.split(".")
        if names[0] == "kdjax":
            yield names[1] if len(names) > 1 else name


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    own = part(path)
    for other in imported_parts(path):
        assert FLOORS[other] <= FLOORS[own], f"{own} imports {other}"


def system(path):
    """The system whose folder a file is in, None where it is of no system."""
    parts = path.relative_to(PACKAGE).parts
    return parts[1] if parts[0] == "tasks" and len(parts) > 2 else None


def imported_systems(path):
    for module, name in imports(path):
        names = [*module.split("."), *([name] if name else [])]
        if names[:2] == ["kdjax", "tasks"] and len(names) > 2 and names[2] in SYSTEMS:
            yield names[2]


SYSTEMS = {path.name for path in (PACKAGE / "tasks").iterdir() if path.is_dir()}
SYSTEMS -= {"__pycache__"}
COMMANDS = {"score.py": {"anomaly"}}  # a system's own


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_system_imports_another_and_the_core_imports_none(path):
    own = {system(path)} - {None} or COMMANDS.get(path.name, set())
    assert set(imported_systems(path)) <= own


def test_every_system_is_registered():
    from kdjax.tasks import NAMES

    assert set(NAMES) == SYSTEMS


def test_losses_stand_alone():
    for path in (PACKAGE / "losses").glob("*.py"):
        for module, _ in imports(path):
            assert module.split(".")[0] in LOSSES_MAY_IMPORT, f"{path}: {module}"
        assert set(imported_parts(path)) <= {"losses"}


def test_one_file_names_pmap_and_shard_map():
    for path in FILES:
        if path != PACKAGE / "training" / "parallel.py":
            tree = ast.walk(ast.parse(path.read_text()))
            used = {node.attr for node in tree if isinstance(node, ast.Attribute)}
            assert not used & {"pmap", "shard_map"}, path


def test_configs_load_without_jax(python):
    code = (
        "import sys, runpy, glob\n"
        "for path in glob.glob('configs/[a-z]*_*.py'):\n"
        "    module = runpy.run_path(path)\n"
        "    for arg in ('', 'smoke'):\n"
        "        assert module['get_config'](arg).stages\n"
        "assert 'jax' not in sys.modules\n"
        "print('loaded')\n"
    )
    assert python("-c", code).stdout == "loaded\n"
