"""Why a converter cannot take a network, in a few words."""

from __future__ import annotations

import re

_OPERATION = r"(?:failed to legalize operation|[Pp]rimitive|[Pp]lugin .*for)\s*['\"`]?"
MOST = 160  # characters of a converter's own words


def because(error: BaseException) -> str:
    """The operation that it names, else the beginning of what it says.

    Converters write pages: stack traces, whole graphs.
    """
    text = str(error).strip()
    named = re.search(_OPERATION + r"([\w.]+)", text)
    if named:
        return f"the operation {named[1]!r} is not known to the converter"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return first if len(first) <= MOST else f"{first[:MOST]} ..."
