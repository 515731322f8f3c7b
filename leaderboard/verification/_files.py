"""Reading files that others wrote: plain files only, no larger than there is use for, whatever they hold."""

from __future__ import annotations

import json
import re
import stat
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage
from PIL import ImageOps

from visenv.errors import BadValueError
from visenv.images import Image

from ..records import RunInfo
from ._findings import Findings, json_text, printable

__all__ = ["PICTURE_NAME", "check_pictures", "read_info", "read_json", "record_lines"]

MAX_FILE = 2**26
"""Largest ``run.json`` or ``summary.json`` that is read, bytes."""
MAX_LINE = 2**28
"""Longest record that is read, bytes."""
MAX_NAMES = 1000
"""Most agents, and most tasks, of a run."""
PICTURE_NAME = re.compile(r"([0-9a-f]{64})(\.[a-z0-9]{1,5})")
FORMATS = {".png": ("PNG",), ".jpg": ("JPEG", "MPO"), ".jpeg": ("JPEG", "MPO")}
OTHER_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "TIFF", "GIF")
"""Formats that are decoded; of all that Pillow knows, some call other programs."""


def read_info(run: Path, found: Findings) -> RunInfo | None:
    """Return the settings of a run, or ``None`` and a problem.

    Raises:
        BadValueError: There is no run directory.
    """
    path = run / "run.json"
    if not run.is_dir() or not (path.exists() or path.is_symlink()):
        raise BadValueError(
            f"{str(run)!r} is no run directory: it has no run.json. Expected what `visenv bench --out DIR` makes. Give its DIR."
        )
    try:
        data = read_json(path)
    except (BadValueError, FileNotFoundError) as error:
        found.add("settings", path.name, str(error))
        return None
    try:
        info = RunInfo(**data)
        if json_text(info.to_dict()) != json_text(data):
            found.add("settings", path.name, "not as visenv writes it (a number of another type)")
    except (ValueError, TypeError, RecursionError) as error:
        why = " ".join(str(error).splitlines()[:3])
        found.add("settings", path.name, f"is not readable as the settings of a run ({printable(why, 300)})")
        return None
    if max(len(info.agents), len(info.tasks)) > MAX_NAMES:
        found.add("settings", path.name, f"more than {MAX_NAMES} agents or tasks")
        return None
    return info


def read_json(path: Path) -> Any:
    """Return a file's JSON, which is not null.

    Raises:
        FileNotFoundError: There is no such file.
        BadValueError: What is wrong with it.
    """
    try:
        wrong = _why_not_plain(path)
        if wrong is None and path.stat().st_size > MAX_FILE:
            wrong = f"is larger than {MAX_FILE} bytes"
        if wrong is None:
            content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
            if content is not None:
                return content
            wrong = "is empty"
    except FileNotFoundError:
        raise
    except (ValueError, RecursionError, OSError) as error:
        wrong = f"is not readable ({printable(str(error), 200)})"
    raise BadValueError(wrong)


def record_lines(run: Path, found: Findings) -> Iterator[bytes]:
    """Read the records' lines one by one; a torn last one is left out."""
    path = run / "episodes.jsonl"
    try:
        wrong = _why_not_plain(path)
    except FileNotFoundError:
        return
    if wrong is not None:
        found.add("form", path.name, wrong)
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if line.endswith(b"\n"):
                yield line
            elif len(line) >= MAX_LINE:
                found.add("form", f"line {number}", f"is longer than {MAX_LINE} bytes; the rest was not read")
                return
            else:
                found.note("A torn last line was left out.")


def check_pictures(folder: Path, sizes_wh: Mapping[str, tuple[int, int]], found: Findings) -> None:
    """Decode every stored picture: its content must have the hash that is its name, and the size that records say."""
    if not folder.exists() and not folder.is_symlink():
        if sizes_wh:
            found.note("The stored pictures are not there.")
        return
    if folder.is_symlink() or not folder.is_dir():
        found.add("image", folder.name, "is a link or a file; expected a folder")
        return
    there = set()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):  # what a crash leaves, or a file manager
            continue
        there.add(path.name)
        wrong = _why_no_picture(path, sizes_wh.get(path.name))
        if wrong is not None:
            found.add("image", f"images/{printable(path.name)}", wrong)
    for name in sorted(sizes_wh.keys() - there):
        found.add("image", f"images/{printable(name)}", "is named by a record and is not there")


def _why_no_picture(path: Path, size_wh: tuple[int, int] | None) -> str | None:
    wrong = _why_not_plain(path)
    if wrong is not None:
        return wrong
    named = PICTURE_NAME.fullmatch(path.name)
    if named is None:
        return "is not named by a hash"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures; twice that size is an error
            with PilImage.open(path, formats=FORMATS.get(named[2], OTHER_FORMATS)) as file:
                upright = ImageOps.exif_transpose(file)
                picture = Image(np.array((upright or file).convert("RGB")))
    except Exception as error:  # whatever a decoder raises on a damaged file
        return f"is not readable ({printable(f'{type(error).__name__}: {error}', 200)})"
    if picture.hash != named[1]:
        return "holds another picture than its name says"
    return None if size_wh in (None, picture.size_wh) else f"is of {picture.size_wh}; a record says {size_wh}"


def _why_not_plain(path: Path) -> str | None:
    """Say why a path is not a plain file that may be read; links are not followed, whoever made them."""
    mode = path.lstat().st_mode
    return None if stat.S_ISREG(mode) else "is a link; expected a file" if stat.S_ISLNK(mode) else "is no plain file"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
