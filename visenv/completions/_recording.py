"""Replies kept in a folder, so that a run can be repeated without its model, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from ..errors import bad_value, short
from ._protocol import Completer, Completion, CompletionError, CompletionRequest, Finish

__all__ = ["RecordingCompleter", "ReplayingCompleter"]

FORMAT = "visenv completion 1"
MAX_BYTES = 2**25


class RecordingCompleter(Completer):
    """Asks another completer and keeps every reply; what is kept is not asked again.

    One file for each request, named by its key: several processes may use one folder. The first reply to a request stays.
    """

    def __init__(self, inner: Completer, folder: str | Path, identity: str) -> None:
        """Use a folder, which is made when something is written.

        Args:
            inner: Who is asked.
            folder: Where replies are kept.
            identity: The model's name, under which they are. Other weights under the same name need another folder.
        """
        self.inner, self.identity, self.vision = inner, identity, inner.vision
        self._folder = _Folder(folder)
        self._noted = inner.vision is None
        self._asked: dict[str, asyncio.Task[Completion]] = {}

    async def complete(self, request: CompletionRequest) -> Completion:
        """Return the kept reply, or the inner completer's.

        Raises:
            CompletionError: As the inner one, or the folder cannot be read or written.
        """
        key = request.key(self.identity)
        kept = self._folder.get(key)
        if kept is not None:
            return kept
        if key not in self._asked:  # equal prompts at the same time must get equal replies
            self._asked[key] = asyncio.create_task(self._ask(key, request))
            self._asked[key].add_done_callback(lambda _: self._asked.pop(key))
        return await asyncio.shield(self._asked[key])

    async def aclose(self) -> None:
        """Close the inner completer."""
        await self.inner.aclose()

    async def _ask(self, key: str, request: CompletionRequest) -> Completion:
        completion = self._folder.put(key, await self.inner.complete(request))
        if not self._noted:  # a replay has no model to ask
            self._folder.put(_vision_key(self.identity), Completion(content=self.vision or ""))
            self._noted = True
        return completion


class ReplayingCompleter(Completer):
    """Gives the replies that a folder holds, and asks nobody."""

    def __init__(self, folder: str | Path, identity: str) -> None:
        """Use a folder that a :class:`RecordingCompleter` filled, under the same identity.

        Raises:
            BadValueError: There is no such folder.
        """
        if not Path(folder).expanduser().is_dir():
            raise bad_value(
                "replay", str(folder), expected="a folder that an earlier run filled", remedy="Play it with cache=FOLDER first."
            )  # fmt: skip
        self.identity = identity
        self._folder = _Folder(folder)
        noted = self._folder.get(_vision_key(identity))
        self.vision = noted.content if noted is not None else None

    async def complete(self, request: CompletionRequest) -> Completion:
        """Return the kept reply.

        Raises:
            CompletionError: There is none, or it is damaged.
        """
        kept = self._folder.get(request.key(self.identity))
        if kept is None:
            raise CompletionError(
                f"No reply to this prompt is kept in {str(self._folder.path)!r}: the model, the sampling, the prompt or the "
                "pictures are others than in the run that filled it."
            )
        return kept

    async def aclose(self) -> None:
        """Do nothing: nothing is held."""


class _Folder:
    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder).expanduser().absolute()

    def get(self, key: str) -> Completion | None:
        """Return a kept reply, ``None`` if there is none.

        Raises:
            CompletionError: The file is damaged, or cannot be read.
        """
        path = self._file(key)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CompletionError(f"The kept reply {str(path)!r} cannot be read: {error.strerror}.") from None
        try:
            return _read(data, key)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CompletionError(
                f"The kept reply {str(path)!r} is damaged ({short(str(error), 100)}). Remove it, or take another folder."
            ) from None

    def put(self, key: str, completion: Completion) -> Completion:
        """Keep a reply, in full or not at all; return the one that is kept, which another process may have been first with.

        Raises:
            CompletionError: It cannot be written.
        """
        path = self._file(key)
        content = json.dumps({"format": FORMAT, "key": key, "completion": asdict(completion)}).encode("ascii")
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.visenv-partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            with contextlib.suppress(FileExistsError):
                os.link(partial, path)
        except OSError as error:
            raise CompletionError(f"A reply cannot be kept in {str(self.path)!r}: {error.strerror}.") from None
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()
        return self.get(key) or completion

    def _file(self, key: str) -> Path:
        return self.path / key[:2] / f"{key}.json"


def _vision_key(identity: str) -> str:
    """Return the key under which a folder holds how a model sees."""
    return hashlib.sha256(f"vision of {identity}".encode()).hexdigest()


def _read(data: bytes, key: str) -> Completion:
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    entry: Any = json.loads(data)
    if entry["format"] != FORMAT or entry["key"] != key:
        raise ValueError("another form, or of another prompt")
    found = Completion(**{**entry["completion"], "tool_calls": tuple(entry["completion"]["tool_calls"])})
    counts = (found.prompt_tokens, found.completion_tokens)
    if (
        not isinstance(found.content, str)
        or found.finish not in get_args(Finish)
        or not all(isinstance(call, dict) for call in found.tool_calls)
        or not all(n is None or (isinstance(n, int) and n >= 0) for n in counts)
    ):
        raise ValueError("no completion")
    return found
