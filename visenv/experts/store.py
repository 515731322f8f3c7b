"""Results of experts in a folder, so that a run can be played again without the experts.

An entry is one file, named by the hash of its key: a line of JSON with the hash of all that follows, a line of JSON with the key
and the result, and the pixels of an enlarged picture behind it. Nothing in it is executed. Several processes may use one folder.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import stat
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..errors import bad_value, short
from ._check import find_problem
from ._protocol import Request, Result
from .cache import Key

__all__ = ["ResultStore"]

FORMAT = "visenv expert results 1"
ENDING, PARTIAL = ".result", ".visenv-partial"
MAX_ENTRY_BYTES = 2**30
LIMIT_BYTES = 20 * 2**30
BLOCK_BYTES = 4096
"""What files take from most disks, or a multiple of it."""
ABANDONED_S = 3600.0
"""Age at which the unfinished file of a process that died is removed."""


class ResultStore:
    """A folder with results, bounded in the room they take on the disk: the entries that were not used for the longest time go first.

    Files that are damaged are asked for again, with a warning. When nothing can be written that is a warning too, once: the run
    goes on, and what it learns is not kept.
    """

    def __init__(self, folder: str | Path, *, limit_bytes: int = LIMIT_BYTES, replay: bool = False) -> None:
        """Use a folder, which is made when something is written.

        Args:
            folder: Where the entries lie.
            limit_bytes: Most bytes of all entries together, in whole blocks of the disk. A process looks through the folder only now and
                then, once for every sixteenth of the limit that it writes, so that several together may exceed it by as much each.
            replay: Only read: nothing is written, removed or marked as used.

        Raises:
            BadValueError: The limit is not positive, or there is no such folder to replay.
        """
        self.folder = Path(folder).expanduser().absolute()
        self.limit_bytes = limit_bytes
        self.replay = replay
        if limit_bytes < 1:
            raise bad_value("limit_bytes", limit_bytes, expected="at least 1")
        if replay and not self.folder.is_dir():
            raise bad_value(
                "replay", str(folder), expected="a folder that an earlier run filled", remedy="Play it with cache=FOLDER first."
            )  # fmt: skip
        self._lock = threading.Lock()
        self._unseen = secrets.randbelow(limit_bytes // 16 + 1)  # bytes written since the folder was looked at
        self._warned = False
        self._note: tuple[str, dict[str, str]] | None = None  # not written yet

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "limit_bytes": self.limit_bytes, "replay": self.replay, "note": self._note}

    def __setstate__(self, state: dict[str, Any]) -> None:
        note = state.pop("note")
        self.__init__(**state)  # type: ignore[misc]
        self._note = note

    def get(self, key: Key, request: Request) -> Result | None:
        """Return the result of a request, ``None`` when it is not there or damaged."""
        text = _key_text(key)
        path = self._path(text)
        try:
            result = _decode(_read(path), text, request)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:  # ValueError: not of the form, our own errors included
            warnings.warn(
                f"Stored result {str(path)!r} cannot be used ({short(str(error), 200)}). It is asked for again where that is "
                "possible.", RuntimeWarning, stacklevel=2,
            )  # fmt: skip
            return None
        if not self.replay:
            with contextlib.suppress(OSError):
                os.utime(path)
            self._write_note()
        return result

    def put(self, key: Key, result: Result) -> None:
        """Write a result, in full or not at all."""
        if self.replay:
            return
        text = _key_text(key)
        try:
            self._write(self._path(text), _encode(text, key, result))
        except (OSError, ValueError) as error:  # ValueError: a result that has no plain form
            self._warn(error)
        self._write_note()

    def note_experts(self, spec: str, identities: Mapping[str, str]) -> None:
        """Note who stands behind a spec, so that :meth:`experts_of` knows it where they cannot be made.

        It is written with the first result that is used or kept: to make experts alone changes nothing in the folder.
        """
        self._note = spec, dict(identities)

    def experts_of(self, spec: str) -> dict[str, str] | None:
        """Return the identities by capability that were noted last for a spec, ``None`` when there are none."""
        try:
            noted = _parse(_read(self._note_path(spec)))
        except (OSError, ValueError):
            return None
        found = noted.get("identities") if isinstance(noted, dict) and noted.get("experts") == spec else None
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            return None
        return found

    def noted(self) -> list[str]:
        """Return the specs whose experts are noted, sorted."""
        found = []
        for path in sorted(self.folder.glob("experts/*.json")):
            with contextlib.suppress(OSError, ValueError):
                noted = _parse(_read(path))
                if isinstance(noted, dict) and isinstance(noted.get("experts"), str):
                    found.append(noted["experts"])
        return sorted(found)

    def _path(self, text: str) -> Path:
        name = hashlib.sha256(text.encode()).hexdigest()
        return self.folder / name[:2] / f"{name}{ENDING}"

    def _note_path(self, spec: str) -> Path:
        return self.folder / "experts" / f"{hashlib.sha256(spec.encode()).hexdigest()}.json"

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.parent / f".{path.stem[:16]}-{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}"
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        with self._lock:
            self._unseen += -(-len(content) // BLOCK_BYTES) * BLOCK_BYTES
            look = self._unseen > self.limit_bytes // 16
            self._unseen = 0 if look else self._unseen
        if look:
            self._make_room()

    def _write_note(self) -> None:
        with self._lock:
            note, self._note = self._note, None
        if note is None or self.experts_of(note[0]) == note[1]:
            return
        text = json.dumps({"format": FORMAT, "experts": note[0], "identities": note[1]}, indent=2) + "\n"
        try:
            self._write(self._note_path(note[0]), text.encode())
        except OSError as error:
            self._warn(error)

    def _make_room(self) -> None:
        """Remove what was not used for the longest time, until a sixteenth of the limit is free."""
        entries = sorted(self._entries())
        held = sum(size for _, size, _ in entries)
        if held <= self.limit_bytes * 15 // 16:
            return
        for _, size, path in entries:
            with contextlib.suppress(OSError):  # another process removed it
                path.unlink()
            held -= size
            if held <= self.limit_bytes * 15 // 16:
                return

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Give the time of last use, the size on the disk and the place of each entry; remove what dead processes left."""
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(OSError):
                found = path.lstat()
                if path.suffix == ENDING and stat.S_ISREG(found.st_mode):
                    yield found.st_mtime, max(found.st_size, 512 * getattr(found, "st_blocks", 0)), path
                elif path.suffix == PARTIAL and time.time() - found.st_mtime > ABANDONED_S:
                    path.unlink()

    def _warn(self, error: Exception) -> None:
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            warnings.warn(
                f"Results of experts cannot be stored in {str(self.folder)!r} ({short(str(error), 200)}). The run goes on; what is "
                "missing there cannot be replayed.", RuntimeWarning, stacklevel=4,
            )  # fmt: skip


def _key_text(key: Key) -> str:
    """Write a key as JSON: the same text for equal keys, in every process."""
    return json.dumps(_plain(key), ensure_ascii=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if value is None or isinstance(value, (str, bool)):
        return value
    return float(value) + 0.0  # 1 and 1.0 are equal, and so are 0.0 and -0.0


def _encode(text: str, key: Key, result: Result) -> bytes:
    from .remote.forms import result_to_form  # not sooner: it imports pydantic

    blobs: list[memoryview] = []
    form = result_to_form(result, blobs)
    body = json.dumps({"key": text, "capability": key[1], "result": _to_json(form)}, allow_nan=False).encode()
    content = b"".join([body, b"\n", *blobs])
    header = json.dumps({"format": FORMAT, "sha256": hashlib.sha256(content).hexdigest()}).encode()
    return header + b"\n" + content


def _decode(data: bytes, text: str, request: Request) -> Result:
    """Read an entry.

    Raises:
        ValueError: It is none, or not of this request.
    """
    from .remote.forms import Blobs, result_from_form

    head, _, content = data.partition(b"\n")
    header = _parse(head)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"it does not begin as {FORMAT!r} do")
    if header.get("sha256") != hashlib.sha256(content).hexdigest():
        raise ValueError("its content is not that of its hash")
    body, _, pixels = content.partition(b"\n")
    entry = _parse(body)
    if not isinstance(entry, dict) or entry.get("key") != text:
        raise ValueError("it is of another request")
    blobs = Blobs(memoryview(pixels))
    result = result_from_form(request.capability, _from_json(entry.get("result")), blobs, "result")
    blobs.check_end()
    problem = find_problem(request, result)
    if problem:
        raise ValueError(f"it holds {problem}")
    return result


def _to_json(value: Any) -> Any:
    """Return plain data with bytes as text."""
    if isinstance(value, dict):
        return {k: _to_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_to_json(v) for v in value]
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(v) for v in value]
    if isinstance(value, dict):
        if set(value) == {"base64"} and isinstance(value["base64"], str):
            return base64.b64decode(value["base64"], validate=True)
        return {k: _from_json(v) for k, v in value.items()}
    return value


def _read(path: Path) -> bytes:
    """Return the content of a plain file of bounded size; a link is not followed."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_ENTRY_BYTES:
            raise ValueError(f"it is no plain file of at most {MAX_ENTRY_BYTES} bytes")
        return file.read(found.st_size)


def _parse(data: bytes) -> Any:
    """Parse JSON, whatever is wrong with it being a ``ValueError``."""
    try:
        return json.loads(data, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
