"""Replies kept in a folder, so that a run can be repeated without its model, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_args

from ..errors import bad_value, short
from ._protocol import Completer, Completion, CompletionError, CompletionRequest, Finish

__all__ = ["RecordingCompleter", "ReplayingCompleter"]

T = TypeVar("T")
FORMAT = "visenv completion 1"
MAX_BYTES = 2**25


class RecordingCompleter(Completer):
    """Asks another completer and keeps every reply; what is kept is not asked again.

    One file for each request, named by its key: several processes may use one folder, and the first reply to a request stays.
    That a prompt did not fit is kept too, for a replay, but asked again: another server may have more room.
    """

    def __init__(self, inner: Completer, folder: str | Path, model: str) -> None:
        """Use a folder, which is made when something is written.

        Args:
            inner: Who is asked.
            folder: Where replies are kept.
            model: The name under which a replay finds them.

        Raises:
            BadValueError: The folder holds replies of other weights under that name.
        """
        self.inner, self.identity, self.vision = inner, inner.identity, inner.vision
        self._folder, self._model = _Folder(folder), model
        self._noted = self._folder.get_model(model)
        if self._noted is not None and self._noted != (inner.identity, inner.vision):
            raise bad_value(
                "cache", str(folder), expected=f"a folder without replies of another model named {model!r}",
                remedy="Take another folder for these weights.",
            )  # fmt: skip
        self._asked: dict[str, asyncio.Task[Completion]] = {}
        self._waiting: Counter[str] = Counter()
        self._warned = False

    async def complete(self, request: CompletionRequest) -> Completion:
        """Return the kept reply, or the inner completer's.

        Raises:
            CompletionError: As the inner one.
        """
        key = request.key(self.identity)
        kept = self._kept(key)
        if kept is not None and kept.finish != "context_full":
            return kept
        if key not in self._asked:  # equal prompts at the same time must get equal replies
            self._asked[key] = asyncio.create_task(self._ask(key, request))
            self._asked[key].add_done_callback(lambda _: self._asked.pop(key))
        task = self._asked[key]
        self._waiting[key] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
                task.cancel()  # nobody waits any more; of no consequence when it is done

    async def aclose(self) -> None:
        """Give up what is asked, and close the inner completer."""
        for task in list(self._asked.values()):
            task.cancel()
        await self.inner.aclose()

    def _kept(self, key: str) -> Completion | None:
        try:
            return self._folder.get(key)
        except CompletionError as error:
            warnings.warn(f"{error} It is asked for again.", RuntimeWarning, stacklevel=2)
            self._folder.drop(key)
            return None

    async def _ask(self, key: str, request: CompletionRequest) -> Completion:
        completion = await self.inner.complete(request)
        try:
            if self._noted is None:
                self._folder.put_model(self._model, self.identity, self.vision)
                self._noted = self.identity, self.vision
            kept = self._folder.put(key, completion)
            if kept.finish == "context_full" != completion.finish:
                self._folder.drop(key)
                kept = self._folder.put(key, completion)
            return kept
        except (OSError, CompletionError) as error:  # a reply that was paid for is used all the same
            if not self._warned:
                warnings.warn(f"Replies cannot be kept ({error}). The run goes on.", RuntimeWarning, stacklevel=2)
            self._warned = True
        return completion


class ReplayingCompleter(Completer):
    """Gives the replies that a folder holds, and asks nobody."""

    def __init__(self, folder: str | Path, model: str) -> None:
        """Use a folder that a :class:`RecordingCompleter` filled, under the same name of the model.

        Raises:
            BadValueError: There is no such folder.
        """
        if not Path(folder).expanduser().is_dir():
            raise bad_value(
                "replay", str(folder), expected="a folder that an earlier run filled", remedy="Play it with cache=FOLDER first."
            )  # fmt: skip
        self._folder = _Folder(folder)
        self.identity, self.vision = self._folder.get_model(model) or (model, None)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Return the kept reply.

        Raises:
            CompletionError: There is none, or it is damaged.
        """
        kept = self._folder.get(request.key(self.identity))
        if kept is None:
            raise CompletionError(
                f"No reply to this prompt is kept in {self._folder.path.name!r}: the model, the sampling, the prompt or the "
                "pictures are others than in the run that filled it."
            )
        return kept

    async def aclose(self) -> None:
        """Do nothing: nothing is held."""


class _Folder:
    """One file for each reply, and one for each model; messages name the folder, not the way to it."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder).expanduser().absolute()

    def get(self, key: str) -> Completion | None:
        """Return a kept reply, ``None`` if there is none.

        Raises:
            CompletionError: The file is damaged, or cannot be read.
        """
        return self._read(self._file(key), lambda entry: _to_completion(entry, key))

    def put(self, key: str, completion: Completion) -> Completion:
        """Keep a reply, in full or not at all; return the one that is kept, which another process may have been first with.

        Raises:
            OSError: It cannot be written.
        """
        self._write(self._file(key), {"format": FORMAT, "key": key, "completion": asdict(completion)})
        return self.get(key) or completion

    def drop(self, key: str) -> None:
        """Forget a reply."""
        with contextlib.suppress(OSError):
            self._file(key).unlink()

    def get_model(self, model: str) -> tuple[str, str | None] | None:
        """Return the identity of a model and how it sees, ``None`` if nothing of it is kept.

        Raises:
            CompletionError: The file is damaged, or cannot be read.
        """
        return self._read(
            self._model_file(model),
            lambda entry: (_text(entry["identity"]), entry["vision"] and _text(entry["vision"])),
        )

    def put_model(self, model: str, identity: str, vision: str | None) -> None:
        """Note whose replies are kept under a name.

        Raises:
            OSError: It cannot be written.
        """
        self._write(self._model_file(model), {"format": FORMAT, "model": model, "identity": identity, "vision": vision})

    def _read(self, path: Path, read: Callable[[Any], T]) -> T | None:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CompletionError(f"The kept reply {path.name!r} cannot be read: {error.strerror}.") from None
        try:
            if len(data) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
            entry = json.loads(data)
            if entry["format"] != FORMAT:
                raise ValueError("another form")
            return read(entry)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CompletionError(
                f"The kept reply {path.name!r} in {self.path.name!r} is damaged ({short(str(error), 100)})."
            ) from None

    def _write(self, path: Path, entry: dict[str, Any]) -> None:
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.visenv-partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(json.dumps(entry).encode("ascii"))
            try:
                os.link(partial, path)  # fails where there is one already
            except FileExistsError:
                pass
            except OSError:  # a disk without hard links
                partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()

    def _file(self, key: str) -> Path:
        return self.path / key[:2] / f"{key}.json"

    def _model_file(self, model: str) -> Path:
        return self.path / "models" / f"{hashlib.sha256(model.encode()).hexdigest()[:16]}.json"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _to_completion(entry: Any, key: str) -> Completion:
    if entry["key"] != key:
        raise ValueError("of another prompt")
    found = Completion(**{**entry["completion"], "tool_calls": tuple(entry["completion"]["tool_calls"])})
    counts = (found.prompt_tokens, found.completion_tokens)
    if (
        not isinstance(found.content, str)
        or found.finish not in get_args(Finish)
        or not isinstance(found.stop_left_out, bool)
        or not all(isinstance(call, dict) for call in found.tool_calls)
        or not all(n is None or (isinstance(n, int) and n >= 0) for n in counts)
    ):
        raise ValueError("no completion")
    return found
