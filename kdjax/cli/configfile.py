"""A config by its name or file: `digits_eskd:smoke`, `mine.py`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from kdjax.cli import command, overrides
from kdjax.errors import InputError, nearest
from kdjax.plan import plain

SHIPPED = Path(__file__).resolve().parents[1] / "configs"


def shipped() -> list[str]:
    """The names of the configs that kdjax has."""
    return sorted(path.stem for path in SHIPPED.glob("*_*.py") if path.stem[0] != "_")


def parse(argv: list[str], given: list[overrides.Given]) -> list[str]:
    """absl's parser, but for fields of the config, which are added to `given`."""
    rest, found = overrides.taken(argv)
    given += found
    return command.parse(rest)


def read(text: str | None, given: Sequence[overrides.Given]) -> dict[str, Any]:
    """The config that `--config` names, with the fields that the command line gives."""
    if text is None:
        raise InputError("--config: missing (--config=digits_eskd)")
    return overrides.laid_over(load(text), given)


def load(text: str) -> dict[str, Any]:
    """The config that FILE[:arg] or NAME[:arg] gives, as plain values.

    A file is looked up from where the command runs, a name among kdjax's own.
    InputError where there is none, or, with its line, where the file cannot be run.
    """
    source, colon, argument = text.partition(":")
    with _one_line(source):
        get_config: Callable[..., Any] = _module(source).get_config
        found = get_config(argument) if colon else get_config()
        if not isinstance(found, ConfigDict | Mapping):
            raise TypeError(f"expected a ConfigDict from get_config, found {found!r}")
        return plain(found)


def docstring(text: str) -> str:
    """What a config says of itself."""
    source, _, _ = text.partition(":")
    with _one_line(source):
        return (_module(source).__doc__ or "").strip() + "\n"


def name_of(text: str) -> str:
    """`digits_eskd_smoke` of configs/digits_eskd.py:smoke: a run's usual folder."""
    source, _, argument = text.partition(":")
    return "_".join(filter(None, (Path(source).stem, argument)))


def _module(source: str) -> ModuleType:
    path = Path(source)
    if path.is_file():
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise InputError(f"--config: expected a Python file, found {source}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    if re.fullmatch(r"\w+", source) and source in shipped():
        return importlib.import_module(f"kdjax.configs.{source}")
    if os.sep in source or source.endswith(".py"):
        inside = path.stem in shipped()
        hint = f"; kdjax's own is --config={path.stem}" if inside else ""
        raise InputError(f"--config: no such file {source}{hint}")
    raise InputError(f"--config: unknown name {source!r}{nearest(source, shipped())}")


@contextlib.contextmanager
def _one_line(source: str) -> Iterator[None]:
    """What a config's own code raises, as an InputError that names its line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(sys.exc_info()[2])
        numbers = [f.lineno for f in frames if f.filename.endswith(Path(source).name)]
        if isinstance(error, SyntaxError):  # of a file that it imports, perhaps
            numbers.append(error.lineno)
        line = f", line {numbers[-1]}" if numbers else ""
        text = " ".join(str(error).split())
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise InputError(
            f"--config: {source}{line}: cannot be read: {kind}{text}"
        ) from error
