"""Tables as VLMEvalKit writes them: tab-separated, with pictures as base64 in a cell; read as a stream, pictures left where they are."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from visenv.errors import bad_value

__all__ = ["Cell", "read_tsv"]

MAX_LINE_BYTES = 256 * 2**20
"""Longest line; the largest picture at 8K has some 20 MB as base64."""
MAX_SHORT = 64
"""Base64 up to this length stays text: an index of another row, or nothing."""
BASE64 = re.compile(rb'"?([A-Za-z0-9+/=]{%d,})"?\r?\n?' % (MAX_SHORT + 1))
MARK = "\x01"
"""Stands for a cell that was left in the file; refused in the file itself."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A long cell: where it is in its file."""

    file: Path
    offset: int
    length: int
    digest: str
    """Hex SHA-256 of its bytes."""

    def read(self) -> bytes:
        """Read the cell from the file.

        Raises:
            BadValueError: The file cannot be read, or is another one by now.
        """
        try:
            with self.file.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.length)
        except OSError as error:
            raise bad_value("file", str(self.file), expected=f"a readable file ({error})") from error
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise bad_value("file", str(self.file), expected="the file that was read before; it has changed")
        return data


def read_tsv(
    path: Path, columns: Sequence[str], *, large: Sequence[str]
) -> Iterator[tuple[str, dict[str, str | Cell]]]:
    """Read a table with a header line.

    Args:
        path: The file, UTF-8.
        columns: What is wanted; the file may have more.
        large: Columns whose long base64 cells are given as :class:`Cell`.

    Yields:
        Where the row is (for messages), and its cells by column.

    Raises:
        BadValueError: The file is damaged, lacks a column, or has a line longer than ``MAX_LINE_BYTES``.
    """
    left: list[Cell] = []
    header: list[str] | None = None
    try:
        for number, cells in enumerate(csv.reader(_lines(path, left), delimiter="\t", strict=True)):
            if header is None:
                header = cells
                missing = [c for c in columns if c not in header]
                if missing or len(set(header)) != len(header):
                    raise bad_value("columns", header, expected=f"different ones, {', '.join(columns)} among them, in {path.name}")  # fmt: skip
                continue
            where = f"{path.name}, row {number}"
            if len(cells) != len(header):
                raise bad_value(where, f"{len(cells)} cells", expected=f"{len(header)}, as the header has")
            row = {
                c: _restored(cell, left, large=c in large)
                for c, cell in zip(header, cells, strict=True)
                if c in columns
            }
            left.clear()
            yield where, row
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise bad_value("file", str(path), expected=f"a readable tab-separated UTF-8 file ({error})") from error
    if header is None:
        raise bad_value("file", str(path), expected="a header line")


def _lines(path: Path, left: list[Cell]) -> Iterator[str]:
    """Yield lines in which each long base64 cell is replaced by a mark and its number in ``left``."""
    with path.open("rb") as file:
        start = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES or MARK.encode() in line:
                raise bad_value(
                    "line", f"byte {start} of {path.name}", expected=f"at most {MAX_LINE_BYTES} bytes of text"
                )
            pieces, at = [], start
            for piece in line.split(b"\t"):
                found = BASE64.fullmatch(piece)
                if found:
                    digest = hashlib.sha256(found[1]).hexdigest()
                    left.append(Cell(path, at + found.start(1), len(found[1]), digest))
                    mark = f"{MARK}{len(left) - 1}".encode()
                    pieces.append(piece[: found.start(1)] + mark + piece[found.end(1) :])
                else:
                    pieces.append(piece)
                at += len(piece) + 1
            yield b"\t".join(pieces).decode("utf-8-sig" if start == 0 else "utf-8")
            start += len(line)


def _restored(cell: str, left: Sequence[Cell], *, large: bool) -> str | Cell:
    if not cell.startswith(MARK):
        return cell
    found = left[int(cell[1:])]
    return found if large else found.read().decode("ascii")
