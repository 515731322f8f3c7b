"""The files of a run directory: the log of episodes, the pictures by hash, and JSON that is there in full or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from visenv.errors import BadValueError, VisenvError, bad_value
from visenv.images import Image

from .records import EpisodeRecord, Key

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "EpisodeLog",
    "ImageFiles",
    "StorageError",
    "drop_partial_files",
    "iterate_records",
    "latest",
    "read_records",
    "read_states",
    "write_bytes",
    "write_json",
]


PARTIAL = ".visenv-partial"
"""Ending of a file that is being written."""


class StorageError(VisenvError, OSError):
    """The disk is full, may not be written to, or fails."""

    def __str__(self) -> str:
        return str(self.args[0])


class EpisodeLog:
    """Appends records to ``episodes.jsonl``, each safe on disk before :meth:`append` returns.

    A crash so loses at most the episodes that were being played.

    Opening drops a torn last line, as a crash leaves it, and refuses a directory that another run is writing to.
    """

    def __init__(self, run: Path) -> None:
        """Open the log of ``run``.

        Raises:
            VisenvError: Another run writes to this directory.
            StorageError: The log cannot be opened or written to.
        """
        self.path = run / "episodes.jsonl"
        with storing(self.path):
            self._file: IO[bytes] = self.path.open("a+b", buffering=0)
        try:
            self._lock(run)
            with storing(self.path):
                self._drop_torn_line()
        except BaseException:
            self._file.close()
            raise

    def _lock(self, run: Path) -> None:
        try:
            if fcntl is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VisenvError(
                f"Another visenv process is writing to {str(run)!r}. Expected one run per directory. "
                "Wait for it, or use another directory."
            ) from None
        except OSError as error:
            warnings.warn(
                f"{str(run)!r} lies where files cannot be locked ({error.strerror}): see to it that one run at a time writes to it.",
                stacklevel=3,
            )

    def append(self, record: EpisodeRecord) -> None:
        """Write one record and sync it.

        Raises:
            StorageError: It could not be written; the file is as it was before.
        """
        line = record.to_json().encode("ascii") + b"\n"
        before = self._file.seek(0, os.SEEK_END)
        try:
            with storing(self.path):
                while line:
                    line = line[self._file.write(line) :]
                os.fsync(self._file.fileno())
        except StorageError:
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
        """Store a picture as PNG and return its file's name.

        Raises:
            StorageError: It cannot be written.
        """
        path = self.path(f"{image.hash}.png")
        if not path.exists():
            with storing(path):
                self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, image.to_png())
        return path.name

    def link(self, image: Image, file: Path) -> str:
        """Store a picture that was read from ``file`` as that file, hard-linked where the disk can; return the name."""
        ending = file.suffix.lower() if re.fullmatch(r"\.[a-z0-9]{1,5}", file.suffix.lower()) else ".img"
        path = self.path(image.hash + ending)
        if path.exists():
            return path.name
        with storing(path):
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
    return list(iterate_records(run))


def iterate_records(run: Path) -> Iterator[EpisodeRecord]:
    """Give the records that :func:`read_records` returns, one at a time."""
    path = run / "episodes.jsonl"
    for number, line in _lines(path):
        try:
            yield EpisodeRecord.from_json(line.decode("utf-8"))
        except ValueError as error:  # BadValueError and UnicodeDecodeError
            raise BadValueError(f"{path}, line {number}: {error}") from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield number, line
    except FileNotFoundError:
        return


def read_states(run: Path) -> dict[Key, bool]:
    """Return whether each recorded episode so far has a score, without holding what the records say.

    Raises:
        BadValueError: A line is no record.
    """
    states: dict[Key, bool] = {}
    for number, line in _lines(run / "episodes.jsonl"):
        try:
            said = json.loads(line)
            key = tuple(said[name] for name in ("agent", "task", "split", "level", "index"))
            states[key] = states.get(key, False) or not said["failed"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadValueError(
                f"{run / 'episodes.jsonl'}, line {number}: not an episode record ({error!r}). "
                "Records of another visenv version need that version."
            ) from error
    return states


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
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with storing(path):
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Say of a failure of the disk that it is one.

    Raises:
        StorageError: In the place of any ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.strerror or error}: {str(path)!r}") from error


def drop_partial_files(run: Path) -> None:
    """Remove what a process that was killed left half written; only whoever holds the log may do so."""
    for folder in (run, run / "images"):
        for path in folder.glob(f".*{PARTIAL}"):
            path.unlink()
