"""A table's place in a Markdown file, between two marks."""

from __future__ import annotations

from pathlib import Path

from kdjax import files
from kdjax.errors import InputError


def put(text: str, path: Path, name: str) -> None:
    """Replaces what stands between a Markdown file's marks of `name`.

    InputError unless the file has these two marks, in this order.
    """
    begin, end = f"<!-- table {name} -->\n", "<!-- end -->\n"
    try:
        whole = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"--into: {path}: cannot be read ({error})") from error
    before, found, rest = whole.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise InputError(
            f"--into: {path}: expected the lines {begin.strip()!r} and {end.strip()!r}"
        )
    files.write_text(path, f"{before}{begin}\n{text}\n{end}{after}")
