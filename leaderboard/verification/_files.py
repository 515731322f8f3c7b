"""The files of a run: its settings, its records line by line, its stored pictures. Whatever is wrong is a problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from visenv.errors import BadValueError

from ..records import RunInfo
from ..safe_files import PICTURE_NAME, UnsafeFileError, load_picture, printable, read_json, read_lines
from ._findings import Findings, json_text

__all__ = ["check_pictures", "read_info", "record_lines"]

MAX_NAMES = 1000
"""Most agents, and most tasks, of a run."""
MAX_ROWS = 50_000
"""Most agents times tasks."""


def read_info(run: Path, found: Findings) -> RunInfo | None:
    """Return the settings of a run, or ``None`` and a problem.

    Raises:
        BadValueError: There is no run directory.
    """
    path = run / "run.json"
    if not run.is_dir() or not (path.exists() or path.is_symlink()):
        raise BadValueError(
            f"{str(run)!r} is no run directory: it has no run.json. Expected what `visenv bench --out DIR` makes. "
            "Give its DIR."
        )
    try:
        data = read_json(path)
        info = RunInfo(**data)
        info.check_names()
        if json_text(info.to_dict()) != json_text(data):
            found.add("settings", path.name, "not as visenv writes it (a number of another type)")
    except UnsafeFileError as error:
        found.add("settings", path.name, error.why)
        return None
    except (ValueError, TypeError, RecursionError, FileNotFoundError) as error:
        why = " ".join(str(error).splitlines()[:3])
        found.add("settings", path.name, f"is not readable as the settings of a run ({printable(why, 300)})")
        return None
    if max(len(info.agents), len(info.tasks)) > MAX_NAMES or len(info.agents) * len(info.tasks) > MAX_ROWS:
        what = f"more than {MAX_NAMES} agents or tasks, or more than {MAX_ROWS} pairs of them"
        found.add("settings", path.name, what)
        return None
    return info


def record_lines(run: Path, found: Findings) -> Iterator[bytes]:
    """Read the records' lines one by one; a torn last one is left out."""
    path = run / "episodes.jsonl"
    try:
        for line in read_lines(path):
            if line.endswith(b"\n"):
                yield line
            else:
                found.note("A torn last line was left out.")
    except FileNotFoundError:
        return
    except UnsafeFileError as error:
        found.add("form", path.name, error.why)


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
    named = PICTURE_NAME.fullmatch(path.name)
    try:
        picture = load_picture(path) if named is not None else None
    except UnsafeFileError as error:
        return error.why
    except FileNotFoundError:
        return "is gone"
    if named is None or picture is None:
        return "is not named by a hash"
    if picture.hash != named[1]:
        return "holds another picture than its name says"
    return None if size_wh in (None, picture.size_wh) else f"is of {picture.size_wh}; a record says {size_wh}"
