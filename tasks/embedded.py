"""Pictures and rows inside data files of others: Parquet columns and base64 text, bounded and strict."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage
from PIL import ImageOps

from visenv.errors import BadValueError, bad_value, missing_extra
from visenv.images import Image

__all__ = ["ParquetPictures", "Place", "decode_base64", "decode_picture", "picture_bytes", "read_picture", "read_rows"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Formats whose decoders Pillow has built in; none of them starts another program."""
MAX_PICTURE_BYTES = 128 * 2**20
MAX_SIDE_PX = 8192
"""Largest side of a picture, which is also that of the observation space."""
MAX_ROWS = 1_000_000
MAX_TEXT_BYTES = 2**30
"""What the text columns of one row group may hold."""
MAX_GROUP_BYTES = 8 * 2**30
"""What the picture columns of one row group may hold: HR-Bench at 8K has 4.6 GB in a file."""


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
    """Decode a picture's bytes, EXIF orientation applied.

    Raises:
        BadValueError: They are no picture, more than ``MAX_PICTURE_BYTES``, or have a side above ``MAX_SIDE_PX``.
    """
    if len(data) > MAX_PICTURE_BYTES:
        raise bad_value("picture", f"{len(data)} bytes", expected=f"at most {MAX_PICTURE_BYTES} bytes in {where}")
    try:
        with PilImage.open(io.BytesIO(data), formats=FORMATS) as file:
            if max(file.size) > MAX_SIDE_PX:  # known before a pixel is decoded
                raise bad_value("picture", file.size, expected=f"sides of at most {MAX_SIDE_PX} px in {where}")
            upright = ImageOps.exif_transpose(file)
            return Image(np.array((upright or file).convert("RGB")))
    except BadValueError:
        raise
    except Exception as error:  # the boundary to decoders, which raise nearly anything on damaged bytes
        raise bad_value("picture", data[:16], expected=f"a readable picture in {where} ({error})") from error


def read_picture(path: Path) -> Image:
    """Read a picture file, EXIF orientation applied, whatever its name ends in.

    A data set's files are not trusted: Pillow by itself would hand a PostScript file named ``.jpg`` to another program.

    Raises:
        BadValueError: It is no picture in one of ``FORMATS``, or too large.
    """
    if path.stat().st_size > MAX_PICTURE_BYTES:
        raise bad_value("picture", path.name, expected=f"at most {MAX_PICTURE_BYTES} bytes")
    return decode_picture(path.read_bytes(), path.name)


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
    """Picture cells of Parquet files; the row group read last is remembered, so samples in order read each group once."""

    def __init__(self, columns: Sequence[str], *, shared: bool = False) -> None:
        """Read these columns; ``shared`` text cells, as of one picture in several rows, are held in memory once."""
        self._columns = tuple(columns)
        self._shared = shared
        self._held: tuple[tuple[Path, int], Any] | None = None

    def cell(self, place: Place, column: str) -> Any:
        """Return one cell as plain Python.

        Raises:
            BadValueError: The file is damaged or the row group too large.
        """
        key = place.file, place.group
        if self._held is None or self._held[0] != key:
            self._held = None  # let go of the old group before the new one is read
            with _opened(place.file, dictionary=self._columns if self._shared else ()) as file:
                _check(place.file, file, self._columns, MAX_GROUP_BYTES)
                self._held = key, _group(place.file, file, place.group, self._columns)
        try:
            return self._held[1].column(column)[place.row].as_py()
        except (IndexError, ValueError) as error:
            raise bad_value("row", str(place), expected=f"a row of the file ({error})") from error


def _opened(path: Path, *, dictionary: Sequence[str] = ()) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra("Reading Parquet files", "data") from error
    try:
        return parquet.ParquetFile(path, read_dictionary=list(dictionary))
    except Exception as error:  # the boundary to the decoder
        raise bad_value("file", str(path), expected=f"a readable Parquet file ({error})") from error


def _check(path: Path, file: Any, columns: Sequence[str], limit_bytes: int) -> None:
    missing = [c for c in columns if c not in file.schema_arrow.names]
    if missing:
        raise bad_value(
            "columns",
            file.schema_arrow.names,
            expected=f"{', '.join(map(repr, missing))} among the columns of {path.name}",
        )
    if file.metadata.num_rows > MAX_ROWS:
        raise bad_value("file", str(path), expected=f"at most {MAX_ROWS} rows, not {file.metadata.num_rows}")
    for group in range(file.num_row_groups):
        described = file.metadata.row_group(group)
        chunks = [described.column(k) for k in range(described.num_columns)]
        size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in columns)
        if size > limit_bytes:
            raise bad_value(
                "file", str(path), expected=f"at most {limit_bytes} bytes in a row group, not {size}",
                remedy="Write it again with smaller row groups.",
            )  # fmt: skip


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
