#!/usr/bin/env python3
"""Writes the commands' output into launch/README.md: python launch/readme.py

Each `console` block there starts with `$ ` and a command of launch/tpu_vm.py; what
follows is what that prints.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import tpu_vm

PAGE = Path(__file__).with_name("README.md")
BLOCK = re.compile(r"```console\n\$ (.*?[^\\])\n.*?```", re.DOTALL)


def printed(command: str) -> str:
    """What `python launch/tpu_vm.py ...` prints."""
    words = shlex.split(command.replace("\\\n", " "))
    if words[:2] != ["python", "launch/tpu_vm.py"]:
        raise ValueError(f"expected python launch/tpu_vm.py ..., found {command!r}")
    if "--execute" in words:
        raise ValueError(f"a page may not run anything: {command!r}")
    with contextlib.redirect_stdout(io.StringIO()) as text:
        tpu_vm.main(words[2:])
    return text.getvalue()


def filled(page: str) -> str:
    """The page with the output of each command below it."""

    def block(match: re.Match[str]) -> str:
        return f"```console\n$ {match[1]}\n{printed(match[1])}```"

    return BLOCK.sub(block, page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
