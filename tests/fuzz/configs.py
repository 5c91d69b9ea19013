"""Configs as people run them, small, and what checking one of them may end in."""

import contextlib
import importlib
import json
from unittest import mock

from kdjax import cells, experiment
from kdjax.errors import InputError

SHIPPED = (
    *("digits_eskd", "beatgan_synthetic", "simclr_digits", "brain_synthetic"),
    *("ctrnn_checkerboard", "ctrnn_yang", "lstm_checkerboard"),
)
NAMES = (
    *("tests.small", "tests.small_cognitive"),
    *(f"kdjax.configs.{name}" for name in SHIPPED),
)


class Trains(Exception):
    """The config was taken: its first stage would be trained now."""


def valid(name):
    """The config of a module, at smoke size where it is one of configs/."""
    module = importlib.import_module(name)
    if hasattr(module, "CONFIG"):
        return module.CONFIG
    found = module.get_config(*(("smoke",) if name.startswith("kdjax") else ()))
    return json.loads(found.to_json_best_effort())


@contextlib.contextmanager
def checked_only():
    """An experiment ends with Trains where it would train."""
    with mock.patch.object(cells, "train", side_effect=Trains):
        yield


def check(config, workdir):
    """Whether the config is right, up to the first step of training.

    A wrong one is an InputError, and leaves nothing but a whole config.json.
    """
    with checked_only():
        try:
            experiment.run(config, workdir)
        except Trains:
            wrong = None
        except InputError as error:
            wrong = str(error)
    assert wrong is None or "\n" not in wrong, wrong
    left = [path.name for path in workdir.iterdir()] if workdir.exists() else []
    assert left in ([], ["config.json"]), left
    if left:
        json.loads((workdir / "config.json").read_text())
    return wrong is None
