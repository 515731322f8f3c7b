"""The files of a run directory: the log of episodes, the pictures by hash, and JSON that is there in full or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from visenv.errors import BadValueError, VisenvError, bad_value
from visenv.images import Image
from visenv.redaction import hide_values

from .records import EpisodeRecord, Key

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]

__all__ = ["EpisodeLog", "ImageFiles", "drop_partial_files", "latest", "read_records", "write_bytes", "write_json"]


class EpisodeLog:
    """Appends records to ``episodes.jsonl``, each safe on disk before :meth:`append` returns.

    A crash so loses at most the episodes that were being played.

    Opening drops a torn last line, as a crash leaves it, and refuses a directory that another run is writing to.
    """

    def __init__(self, run: Path, *, secrets: Iterable[str] = ()) -> None:
        """Open the log of ``run``; what is in ``secrets`` is left out of every record.

        Raises:
            VisenvError: Another run writes to this directory.
        """
        self._secrets = tuple(secrets)
        self.path = run / "episodes.jsonl"
        self._file: IO[bytes] = self.path.open("a+b", buffering=0)
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise VisenvError(
                    f"Another visenv process is writing to {str(run)!r}. Expected one run per directory. "
                    "Wait for it, or use another directory."
                ) from None
        self._drop_torn_line()

    def append(self, record: EpisodeRecord) -> None:
        """Write one record and sync it.

        Raises:
            OSError: It could not be written; the file is as it was before.
        """
        line = hide_values(record.to_json(), self._secrets).encode("ascii") + b"\n"
        before = self._file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):  # what stays of the line is dropped by whoever opens the file next
                self._file.truncate(before)
            raise

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._file.close()

    def __enter__(self) -> EpisodeLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop_torn_line(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        end = size
        while end:  # look back for the last line end, a block at a time
            start = max(0, end - 65536)
            self._file.seek(start)
            found = self._file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != size:
            self._file.truncate(end)
            os.fsync(self._file.fileno())


class ImageFiles:
    """Pictures in one folder, named by content hash, each content stored once and atomically."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the picture of this name lies.

        Raises:
            BadValueError: Not a name that this class gives; it never leads out of the folder.
        """
        if not re.fullmatch(r"[0-9a-f]{64}\.[a-z0-9]{1,5}", name):
            raise bad_value("name", name, expected="64 hexadecimal digits and an ending, such as .png")
        return self.folder / name

    def put(self, image: Image) -> str:
        """Store a picture as PNG and return its file's name."""
        path = self.path(f"{image.hash}.png")
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, image.to_png())
        return path.name

    def link(self, image: Image, file: Path) -> str:
        """Store a picture that was read from ``file`` as that file, hard-linked where the disk can; return the name."""
        ending = file.suffix.lower() if re.fullmatch(r"\.[a-z0-9]{1,5}", file.suffix.lower()) else ".img"
        path = self.path(image.hash + ending)
        if path.exists():
            return path.name
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            path.hardlink_to(file.resolve(strict=True))
        except FileExistsError:
            pass
        except OSError:  # another disk, or one without links
            write_bytes(path, file.read_bytes())
        return path.name


def read_records(run: Path) -> list[EpisodeRecord]:
    """Read every record of a run directory, in the order of writing; a torn last line is left out.

    Raises:
        BadValueError: A line is not a record.
    """
    path = run / "episodes.jsonl"
    if not path.exists():
        return []
    return list(_records(path))


def _records(path: Path) -> Iterator[EpisodeRecord]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield EpisodeRecord.from_json(line.decode("utf-8"))
            except ValueError as error:  # BadValueError and UnicodeDecodeError
                raise BadValueError(f"{path}, line {number}: {error}") from error


def latest(records: Iterable[EpisodeRecord]) -> dict[Key, EpisodeRecord]:
    """Return the last record of each episode that was not a failure, or its last failure."""
    kept: dict[Key, EpisodeRecord] = {}
    for record in records:
        known = kept.get(record.key)
        if known is None or known.failed or not record.failed:
            kept[record.key] = record
    return kept


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically, readable by people."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode("ascii"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there in full or not at all, whatever happens meanwhile."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def drop_partial_files(run: Path) -> None:
    """Remove what a process that was killed left half written; only whoever holds the log may do so."""
    for folder in (run, run / "images"):
        for path in folder.glob(".*"):
            if re.fullmatch(r"\..+\.\d+", path.name) and path.is_file():
                path.unlink()
