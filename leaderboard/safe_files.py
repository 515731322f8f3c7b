"""Reading what others wrote: plain files only, no larger than there is use for, and no exception but the named ones.

Whoever reads a run directory that came from elsewhere reads it through here: a link leads nowhere, a pipe does not
hang, a large or deeply nested file does not exhaust the machine, and no picture decoder runs that is not asked for.
"""

from __future__ import annotations

import json
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from visenv.errors import BadValueError, short
from visenv.images import FORMATS, Image, decode_image

__all__ = [
    "MAX_FILE",
    "MAX_LINE",
    "PICTURE_NAME",
    "UnsafeFileError",
    "load_picture",
    "open_plain",
    "parse_json",
    "printable",
    "read_json",
    "read_lines",
    "read_text",
]

MAX_FILE = 2**26
"""Largest ``run.json`` or ``summary.json`` that is read, bytes."""
MAX_LINE = 2**28
"""Longest record that is read, bytes."""
MAX_RECORDS = 2**40
"""Largest file of records that is read, bytes; it is read line by line."""
MAX_PICTURE = 2**28
"""Largest file of a picture that is read, bytes."""
PICTURE_NAME = re.compile(r"([0-9a-f]{64})(\.[a-z0-9]{1,5})")
"""Name of a stored picture: the hash of its content, and an ending."""
BY_ENDING = {".png": ("PNG",), ".jpg": ("JPEG",), ".jpeg": ("JPEG",)}
"""Formats that are decoded of files with these endings."""


class UnsafeFileError(BadValueError):
    """A file is not of the kind, size or content that is read.

    Attributes:
        why: What is wrong, as the rest of a sentence that begins with the file's name.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{printable(str(path), 300)!r} {why}.")
        self.why = why


def open_plain(path: Path, limit: int) -> BinaryIO:
    """Open a plain file for reading; the caller closes it.

    A link is not followed, and a pipe or device is not waited for. (Links in the folders above the file are followed:
    which directory is read is the caller's choice.)

    Args:
        path: What to open.
        limit: Most bytes that it may have.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafeFileError: A link, a folder, a pipe or device, too large, or nothing that may be read.
    """
    try:
        wrong = _why_not_plain(path.lstat())
        if wrong is not None:  # before it is opened: opening a device may do something
            raise UnsafeFileError(path, wrong)
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte; our own error passes
        if isinstance(error, UnsafeFileError):
            raise
        raise UnsafeFileError(path, f"cannot be read ({printable(str(error), 200)})") from error
    found = os.fstat(file.fileno())  # of what was opened, whatever the name is now
    wrong = _why_not_plain(found) or (f"is larger than {limit} bytes" if found.st_size > limit else None)
    if wrong is not None:
        file.close()
        raise UnsafeFileError(path, wrong)
    return file


def read_text(path: Path, limit: int = MAX_FILE) -> str:
    """Return the text of a plain file.

    Args:
        path: What to read.
        limit: Most bytes that it may have.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafeFileError: As :func:`open_plain`, or it is not UTF-8.
    """
    with open_plain(path, limit) as file:
        try:
            content = file.read(limit + 1)  # a file that grows meanwhile is no reason to read on
            if len(content) > limit:
                raise UnsafeFileError(path, f"is larger than {limit} bytes")
            return content.decode("utf-8")
        except UnsafeFileError:
            raise
        except (OSError, ValueError) as error:
            raise UnsafeFileError(path, f"is not readable ({printable(str(error), 200)})") from error


def read_json(path: Path, limit: int = MAX_FILE) -> Any:
    """Return the JSON content of a plain file, which is not ``null``.

    Args:
        path: What to read.
        limit: Most bytes that it may have.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafeFileError: As :func:`read_text`, or it is not JSON.
    """
    try:
        content = parse_json(read_text(path, limit))
    except UnsafeFileError:
        raise
    except ValueError as error:
        raise UnsafeFileError(path, f"is not readable ({printable(str(error), 200)})") from error
    if content is None:
        raise UnsafeFileError(path, "is empty")
    return content


def read_lines(path: Path, limit: int = MAX_LINE) -> Iterator[bytes]:
    r"""Read a plain file line by line, line ends kept; only a last line may lack its ``\n``.

    Args:
        path: What to read.
        limit: Most bytes that a line may have.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafeFileError: As :func:`open_plain`, or a line is longer than ``limit``.
    """
    with open_plain(path, MAX_RECORDS) as file:
        number = 0
        while line := file.readline(limit):
            number += 1
            if len(line) >= limit and not line.endswith(b"\n"):
                raise UnsafeFileError(path, f"has a line longer than {limit} bytes, number {number}")
            yield line


def load_picture(path: Path, limit: int = MAX_PICTURE) -> Image:
    """Decode a plain file as a picture, EXIF orientation applied, as RGB.

    Only formats of :data:`visenv.images.FORMATS` are decoded, for ``.png`` and ``.jpg`` only that one. The folder that it lies
    in may not be a link either: it is part of the run.

    Args:
        path: What to decode.
        limit: Most bytes that it may have.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafeFileError: As :func:`open_plain`, or nothing that is decoded.
    """
    if path.parent.is_symlink():
        raise UnsafeFileError(path, "lies in a folder that is a link")
    with open_plain(path, limit) as content:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of large pictures: the number of pixels is checked here
                formats = BY_ENDING.get(path.suffix, FORMATS)
                data = content.read(os.fstat(content.fileno()).st_size)  # no buffer as large as the limit is made
                return decode_image(data, where=path.name, formats=formats, max_bytes=limit)
        except (OSError, BadValueError) as error:
            raise UnsafeFileError(path, f"is not readable ({printable(str(error), 200)})") from error


def parse_json(text: str) -> Any:
    """Parse JSON as the standard has it: no NaN, and nothing nested so deeply that it exhausts the stack.

    Raises:
        BadValueError: For anything else, whatever is wrong with it.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why = printable(str(error).splitlines()[0], 200)
        raise BadValueError(f"not standard JSON ({why})") from error


def printable(text: str, limit: int = 120) -> str:
    """Return text that a terminal can take, of at most ``limit`` characters."""
    return text if text.isprintable() and len(text) <= limit else short(text, limit)


def _why_not_plain(found: os.stat_result) -> str | None:
    """Say why something is not a plain file; links are not followed, whoever made them."""
    if stat.S_ISREG(found.st_mode):
        return None
    return "is a link; expected a file" if stat.S_ISLNK(found.st_mode) else "is no plain file"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
