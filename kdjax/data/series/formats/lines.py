"""Lines of a stranger's text file, and cells of its columns, with clear errors."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdjax import archives
from kdjax.errors import InputError

BOM, OTHER_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
WRONG = {
    "\0": "NUL",
    "\ufeff": "a byte order mark: were two files put together?",
}
BLOCK = 2**20
SHOWN = 40  # characters of a wrong cell
MISSING = {"", "nan"}


class Column(NamedTuple):
    """Where cells stand: their file, their column, and the line of each in the file."""

    path: Path
    name: str
    line: NDArray[np.int64]

    def fault(self, i: int, expected: str, found: str) -> InputError:
        """The error of one line that says what is wrong with cell `i`."""
        return InputError(
            f"{self.path}: column {self.name!r}, row {self.line[i]}: expected "
            f"{expected}, found {found[:SHOWN]!r}"
        )


def lines(path: Path) -> Iterator[str]:
    """The lines of a text file in UTF-8, unpacked where its name ends in .gz.

    InputError, with the row: a damaged or too large file, another encoding, NUL, a byte
    order mark after the first line.
    """
    row = 1
    for block in _whole_lines(path):
        if row == 1:
            if block.startswith(OTHER_BOMS):
                raise InputError(
                    f"{path}: row 1: expected UTF-8, found UTF-16: save it anew"
                )
            block = block.removeprefix(BOM)
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            row += block[: error.start].count(b"\n")
            raise InputError(
                f"{path}: row {row}: expected UTF-8, found the byte "
                f"0x{block[error.start]:02x}"
            ) from None
        for mark, found in WRONG.items():
            if mark in text:
                row += text[: text.index(mark)].count("\n")
                raise InputError(f"{path}: row {row}: expected text, found {found}")
        yield from io.StringIO(text, newline="\n")
        row += text.count("\n")


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The bytes of a file, unpacked, in blocks that end where a line does."""
    left, row = archives.most_bytes(), 1
    begun: list[bytes] = []
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        archives.check_size(path.stat().st_size, where=path)
        with opened(path, "rb") as file:
            while block := file.read(BLOCK):
                left -= len(block)
                if left < 0:
                    archives.check_size(archives.most_bytes() - left, where=path)
                whole, end, rest = block.rpartition(b"\n")
                if end:
                    yield b"".join([*begun, whole, end])
                    row += block.count(b"\n")
                    begun = []
                begun.append(rest)
        if any(begun):
            yield b"".join(begun)
    except InputError:
        raise
    except archives.DAMAGED as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: row {row}: cannot be read ({why})") from error


def numbers(
    cells: Sequence[str], at: Column, *, decimal: str = "."
) -> NDArray[np.float64]:
    """Cells as float64, NaN where one is empty or NaN; the fault of the first other."""
    if decimal != ".":
        cells = with_points(cells, at)
    try:
        full = [cell or "nan" for cell in cells]
        values = np.fromiter(map(float, full), np.float64, len(full))
        if "_" in "".join(full):  # which Python takes
            raise ValueError
    except ValueError:
        values = np.array([_number(i, cells[i], at) for i in range(len(cells))])
    infinite = np.isinf(values)
    if infinite.any():
        i = int(np.argmax(infinite))
        raise at.fault(i, "a finite number", cells[i])
    return values


def _number(i: int, cell: str, at: Column) -> float:
    text = cell.strip()
    if text.lower() in MISSING:
        return np.nan
    try:
        if "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise at.fault(i, f"a number{comma_hint(text)}", cell)


def comma_hint(text: str) -> str:
    """What to set where a cell is a number but for its decimal comma; or ''."""
    number = text.strip().removeprefix("-").replace(",", "", 1)
    if number.isdecimal() and "," in text:
        return " with a decimal point (or config.data.decimal=',')"
    return ""


def with_points(cells: Sequence[str], at: Column) -> list[str]:
    """Cells with decimal commas as others write them; none may have a point."""
    for i, cell in enumerate(cells):
        if "." in cell:
            raise at.fault(i, "a number with a decimal comma", cell)
    return [cell.replace(",", ".") for cell in cells]


class Names:
    """Texts as numbers: the code of each name, whatever file it stands in."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}

    def codes(self, cells: Sequence[str]) -> NDArray[np.int32]:
        """The code of each cell without its outer spaces; -1 where empty or NaN."""
        of: dict[str, int] = {}
        for cell in dict.fromkeys(cells):
            name = cell.strip()
            missing = name.lower() in MISSING
            of[cell] = -1 if missing else self.code(name)
        return np.fromiter(map(of.__getitem__, cells), np.int32, len(cells))

    def code(self, name: str) -> int:
        """The code of one name, which may be empty."""
        return self._code.setdefault(name, len(self._code))

    def ranked(self) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """The names in order, and for each code its place there (-1 stays, at the end).

        In the order of numbers if all are whole ones, else of texts.
        """
        names = in_order(self._code)
        place = np.full(len(names) + 1, -1, np.int32)
        place[[self._code[name] for name in names]] = np.arange(len(names))
        return names, place


def in_order(names: Sequence[str] | dict[str, int]) -> tuple[str, ...]:
    """Names sorted as numbers if all are whole ones, else as texts."""
    whole = all(
        name.removeprefix("-").isdecimal() and len(name) < SHOWN for name in names
    )
    return tuple(sorted(names, key=lambda name: (int(name) if whole else 0, name)))
