"""Pictures and rows inside data files of others: Parquet columns and base64 text, bounded and strict."""

from __future__ import annotations

import base64
import binascii
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visenv.errors import bad_value, missing_extra
from visenv.images import Image, decode_image

__all__ = [
    "MAX_PICTURE_BYTES",
    "MAX_SIDE_PX",
    "ParquetPictures",
    "Place",
    "decode_base64",
    "decode_picture",
    "picture_bytes",
    "read_rows",
]

MAX_PICTURE_BYTES = 128 * 2**20
MAX_SIDE_PX = 8192
"""Largest side of a picture, which is also that of the observation space."""
MAX_ROWS = 1_000_000
MAX_TEXT_BYTES = 2**30
"""What the text columns of one row group may hold."""
MAX_GROUP_BYTES = 8 * 2**30
"""What the picture columns of one row group may hold: HR-Bench at 8K has 4.6 GB in a file."""
KEPT_BYTES = 256 * 2**20
"""How much of the row groups that were read is kept, for each benchmark; reading one takes some five times its size for a moment."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is."""

    file: Path
    group: int
    """Row group in the file."""
    row: int
    """Row in the group."""

    @property
    def key(self) -> Path:
        """A path of the row's own, under which its pictures are remembered."""
        return self.file / str(self.group) / str(self.row)

    def __str__(self) -> str:
        return f"{self.file.parent.name}/{self.file.name}, row group {self.group}, row {self.row}"


def decode_picture(data: bytes, where: str) -> Image:
    """Decode a picture's bytes within the limits for data sets, EXIF orientation applied.

    Raises:
        BadValueError: They are no picture, more than ``MAX_PICTURE_BYTES``, or have a side above ``MAX_SIDE_PX``.
    """
    return decode_image(data, where=where, max_bytes=MAX_PICTURE_BYTES, max_side_px=MAX_SIDE_PX)


def decode_base64(text: str | bytes, where: str) -> bytes:
    """Decode strict base64: no other characters, no line breaks, right padding.

    Raises:
        BadValueError: It is not that.
    """
    if len(text) > 2 * MAX_PICTURE_BYTES:
        raise bad_value(
            "base64", f"{len(text)} characters", expected=f"at most {2 * MAX_PICTURE_BYTES} characters in {where}"
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_value("base64", text[:40], expected=f"base64 of a picture in {where} ({error})") from error


def picture_bytes(cell: object, where: str) -> bytes:
    """Return the bytes in a picture cell: bytes, or the ``{"bytes", "path"}`` of Hugging Face's image columns.

    Raises:
        BadValueError: There are none; a path alone is not followed.
    """
    data = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(data, bytes) or not data:
        raise bad_value(
            "picture", cell, expected=f"the bytes of a picture in {where}", remedy="Download the file anew."
        )
    return data


def read_rows(files: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Read some columns of Parquet files, row by row, leaving the others alone.

    Raises:
        BadValueError: A file is damaged, lacks a column, or is larger than the limits.
        MissingExtraError: pyarrow is not installed.
    """
    for path in files:
        with _opened(path) as file:
            _check(path, file, columns, MAX_TEXT_BYTES)
            for group in range(file.num_row_groups):
                for row, values in enumerate(_listed(path, _group(path, file, group, columns))):
                    yield Place(path, group, row), values


class ParquetPictures:
    """Picture cells of Parquet files.

    A row can only be read with all of its row group, so groups are remembered while there is room: samples in order read each
    once, and those in any order most of a small benchmark's. Thread-safe.
    """

    def __init__(self, columns: Sequence[str], *, shared: bool = False, limit_bytes: int = KEPT_BYTES) -> None:
        """Read these columns; ``shared`` text cells, as of one picture in several rows, are held in memory once.

        Of the groups, ``limit_bytes`` at most are kept, but always the one read last.
        """
        self._columns = tuple(columns)
        self._shared = shared
        self._limit = limit_bytes
        self._held: OrderedDict[tuple[Path, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def cell(self, place: Place, column: str) -> Any:
        """Return one cell as plain Python.

        Raises:
            BadValueError: The file is damaged or the row group too large.
        """
        with self._lock:
            table = self._read(place)
        try:
            return table.column(column)[place.row].as_py()
        except (IndexError, ValueError) as error:
            raise bad_value("row", str(place), expected=f"a row of the file ({error})") from error

    def _read(self, place: Place) -> Any:
        """Return the row group of a place."""
        key = place.file, place.group
        if key not in self._held:
            with _opened(place.file, dictionary=self._columns if self._shared else ()) as file:
                sizes = _check(place.file, file, self._columns, MAX_GROUP_BYTES)
                self._make_room(sizes[place.group] if place.group < len(sizes) else 0)
                self._held[key] = _group(place.file, file, place.group, self._columns)
        self._held.move_to_end(key)
        return self._held[key]

    def _make_room(self, wanted_bytes: int) -> None:
        """Let go of old groups before a new one is read."""
        while self._held and sum(table.nbytes for table in self._held.values()) + wanted_bytes > self._limit:
            self._held.popitem(last=False)


def _opened(path: Path, *, dictionary: Sequence[str] = ()) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra("Reading Parquet files", "data") from error
    if not path.is_file():  # a pipe would be waited for
        raise bad_value("file", str(path), expected="a plain file")
    try:
        # Buffered ahead, a group of a hundred megabytes takes four times as long.
        return parquet.ParquetFile(path, read_dictionary=list(dictionary), pre_buffer=False)
    except Exception as error:  # the boundary to the decoder
        raise bad_value("file", str(path), expected=f"a readable Parquet file ({error})") from error


def _check(path: Path, file: Any, columns: Sequence[str], limit_bytes: int) -> list[int]:
    """Check a file against the limits, and return what the columns hold in each row group, in bytes."""
    missing = [c for c in columns if c not in file.schema_arrow.names]
    if missing:
        raise bad_value(
            "columns",
            file.schema_arrow.names,
            expected=f"{', '.join(map(repr, missing))} among the columns of {path.name}",
        )
    if file.metadata.num_rows > MAX_ROWS:
        raise bad_value("file", str(path), expected=f"at most {MAX_ROWS} rows, not {file.metadata.num_rows}")
    sizes = []
    for group in range(file.num_row_groups):
        described = file.metadata.row_group(group)
        chunks = [described.column(k) for k in range(described.num_columns)]
        size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in columns)
        if size > limit_bytes:
            raise bad_value(
                "file", str(path), expected=f"at most {limit_bytes} bytes in a row group, not {size}",
                remedy="Write it again with smaller row groups.",
            )  # fmt: skip
        sizes.append(size)
    return sizes


def _listed(path: Path, table: Any) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = table.to_pylist()
    except ValueError as error:  # text that is not UTF-8
        raise bad_value("file", str(path), expected=f"a readable Parquet file ({error})") from error
    return rows


def _group(path: Path, file: Any, group: int, columns: Sequence[str]) -> Any:
    try:
        return file.read_row_group(group, columns=list(columns))
    except Exception as error:  # the boundary to the decoder
        raise bad_value("file", str(path), expected=f"a readable Parquet file ({error})") from error
