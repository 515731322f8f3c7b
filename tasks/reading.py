"""Reading text files of others strictly: bounded sizes, UTF-8, JSON as the standard has it, values of the type that is wanted."""

from __future__ import annotations

import gc
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from visenv.errors import BadValueError, bad_value, short

__all__ = [
    "Hook",
    "Unread",
    "collection_paused",
    "field_of",
    "number_of",
    "read_json",
    "read_json_lines",
    "read_text",
    "text_of",
    "texts_of",
]

Hook = Callable[[dict[str, Any]], Any]


class Unread(NamedTuple):
    """A value in a JSON file that was left as it stands."""

    text: str


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
        return _read(path, limit_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad_file(path, f"a readable UTF-8 file ({error})") from error


def read_json(
    path: Path,
    *,
    hook: Hook | None = None,
    encodings: Sequence[str] = ("utf-8-sig",),
    unread: re.Pattern[str] | None = None,
    limit_bytes: int = MAX_FILE_BYTES,
) -> Any:
    """Read a JSON file; ``NaN`` and infinities are refused.

    Args:
        path: The file.
        hook: Replaces every JSON object as soon as it is read, so that a large file never lies in memory as it is.
        encodings: Tried in turn; a file that can be decoded but not parsed goes on to the next one, too.
        unread: What follows a match of its first group and is its second group is left as it stands: :class:`Unread` takes its
            place.
        limit_bytes: Largest file that is read.

    Raises:
        BadValueError: It is no JSON, nested beyond reason, or too large.
    """
    raw = _read(path, limit_bytes)
    problem: Exception | None = None
    for encoding in encodings:
        try:
            text, constant = _set_aside(raw.decode(encoding), unread)
            if encoding == encodings[-1]:
                raw = b""  # as large as the text
            with collection_paused():
                return json.loads(text, object_hook=hook, parse_constant=constant)
        except (ValueError, RecursionError) as error:
            problem = problem or error
    raise _bad_file(
        path, f"valid JSON in {' or '.join(e.removesuffix('-sig') for e in encodings)} ({problem})"
    ) from problem


def _set_aside(text: str, unread: re.Pattern[str] | None) -> tuple[str, Callable[[str], Any]]:
    """Put ``NaN``, which JSON does not have, in the place of what a pattern's second group matches.

    Returns:
        The text to read, and what makes of one ``NaN`` after the other what was there. With one of the file's own there is one
        too many, and it is refused.
    """
    if unread is None:
        return text, _refuse
    parts = unread.split(text)
    values = parts[2::3]
    parts[2::3] = ["NaN"] * len(values)
    rest = iter(values)

    def put_back(constant: str) -> Unread:
        value = next(rest, None)
        if value is None or constant != "NaN":
            _refuse(constant)
        return Unread(value)

    return "".join(parts), put_back


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a JSON Lines file of objects; blank lines are skipped.

    Yields:
        Where the object is (file and line, for messages), and the object.

    Raises:
        BadValueError: A line is too long or not a JSON object.
    """
    _check_plain(path)
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
        raise _bad_file(path, f"a readable UTF-8 file ({error})") from error


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


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep the collector of garbage from walking over millions of objects again and again while they are being made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _bad_file(path: Path, expected: str) -> BadValueError:
    return bad_value("file", path.name, expected=expected, remedy=f"It is {path}.")


def _check_plain(path: Path) -> None:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise _bad_file(path, "a plain file")


def _read(path: Path, limit_bytes: int) -> bytes:
    """Return a file's content.

    Raises:
        BadValueError: It is no plain file, too large, or cannot be read.
    """
    try:
        _check_plain(path)
        size = path.stat().st_size
        if size > limit_bytes:
            raise _bad_file(path, f"at most {limit_bytes} bytes, not {size}")
        return path.read_bytes()
    except OSError as error:
        raise _bad_file(path, f"a readable file ({error})") from error


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise bad_value("JSON", short(text, 40), expected=f"valid JSON in {where} ({short(str(error))})") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
