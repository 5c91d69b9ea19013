"""The tools that formats need, none of which kdjax needs otherwise."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import sys
from pathlib import Path
from typing import Any

from kdjax.errors import InputError

REQUIREMENTS = Path(__file__).resolve().with_name("requirements.txt")


def need(module: str, *, what: str) -> Any:
    """The module; InputError with the command that installs it where it is missing."""
    # TensorFlow's parts and jax2onnx's search for plugins would fill the terminal
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    logging.getLogger("jax2onnx").setLevel(logging.ERROR)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = getattr(error, "name", None) or module
        raise InputError(
            f"{what} needs {missing}, which is not installed: {sys.executable} -m pip "
            f"install --no-deps -r {REQUIREMENTS}"
        ) from error


def version(package: str) -> str:
    """`onnxruntime 1.32.0`."""
    return f"{package} {importlib.metadata.version(package)}"
