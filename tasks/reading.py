"""Reading text files of others strictly: bounded sizes, UTF-8, JSON as the standard has it, values of the type that is wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from visenv.errors import bad_value, short

__all__ = ["field_of", "number_of", "read_json", "read_json_lines", "read_text", "text_of", "texts_of"]

MAX_FILE_BYTES = 512 * 2**20
"""Largest annotation file that is read whole."""
MAX_LINE_BYTES = 16 * 2**20
"""Longest line of a JSON Lines file."""
MAX_TEXT = 20_000
"""Longest question, option or caption, in characters."""


def read_text(path: Path, *, limit_bytes: int = MAX_FILE_BYTES) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Raises:
        BadValueError: It is too large, cannot be read, or is not UTF-8.
    """
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise bad_value("file", str(path), expected=f"at most {limit_bytes} bytes, not {size}")
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise bad_value("file", str(path), expected=f"a readable UTF-8 file ({error})") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        BadValueError: It is not one, or nested beyond reason.
    """
    return _loads(read_text(path), str(path))


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a JSON Lines file of objects; blank lines are skipped.

    Yields:
        Where the object is (file and line, for messages), and the object.

    Raises:
        BadValueError: A line is too long or not a JSON object.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
                where = f"{path.name}, line {number}"
                if len(line) > MAX_LINE_BYTES:
                    raise bad_value("line", where, expected=f"at most {MAX_LINE_BYTES} bytes")
                if line.strip():
                    found = _loads(line.decode("utf-8-sig"), where)
                    if not isinstance(found, dict):
                        raise bad_value("line", found, expected=f"a JSON object in {where}")
                    yield where, found
    except (OSError, UnicodeDecodeError) as error:
        raise bad_value("file", str(path), expected=f"a readable UTF-8 file ({error})") from error


def field_of(data: Mapping[str, Any], key: str, where: str) -> Any:
    """Return the value of a key.

    Raises:
        BadValueError: The key is missing.
    """
    if key not in data:
        raise bad_value(where, sorted(map(str, data)), expected=f"a field {key!r}")
    return data[key]


def text_of(value: object, where: str, *, may_be_empty: bool = False) -> str:
    """Return ``value`` if it is text that can be shown and written to a file.

    Raises:
        BadValueError: It is not text, empty, longer than ``MAX_TEXT``, or holds half a surrogate pair.
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (may_be_empty or value.strip()):
        raise bad_value(where, value, expected=f"text of {int(not may_be_empty)} to {MAX_TEXT} characters")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise bad_value(where, value, expected="text that UTF-8 can hold") from error
    return value


def texts_of(value: object, where: str) -> tuple[str, ...]:
    """Return a list of texts as a tuple.

    Raises:
        BadValueError: It is not a list of texts.
    """
    if not isinstance(value, (list, tuple)):
        raise bad_value(where, value, expected="a list of texts")
    return tuple(text_of(one, f"{where}[{k}]") for k, one in enumerate(value))


def number_of(value: object, where: str) -> float:
    """Return a finite number.

    Raises:
        BadValueError: It is none; ``true`` and text are none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise bad_value(where, value, expected="a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise bad_value(where, value, expected="a finite number")
    return number


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise bad_value("JSON", short(text, 40), expected=f"valid JSON in {where} ({short(str(error))})") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
