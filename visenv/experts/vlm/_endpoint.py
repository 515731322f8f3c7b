"""One question to an OpenAI-compatible endpoint: bounded in time and bytes, whatever the server does."""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from ...errors import ExpertError, TemporaryExpertError, missing_extra, short
from ...redaction import redact

__all__ = ["Endpoint", "RefusedError", "Reply"]

MAX_BYTES = 2**22
"""Longest body of an answer."""
BUSY = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say that asking later may help."""
HOPELESS = frozenset({401, 404})
"""Statuses that every question would get: the key or the model is not known."""
LONGEST_WAIT_S = 120.0
"""Most that a server can ask us to wait."""


class RefusedError(ExpertError):
    """The endpoint answers no question of ours, whatever it is."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote."""

    text: str
    cut: bool
    """Whether it ended at the limit of tokens."""


class Endpoint:
    """A model behind an address. Thread-safe; asks once, and never waits longer than twice ``timeout_s``."""

    def __init__(self, model: str, url: str, key: str, *, timeout_s: float, max_tokens: int) -> None:
        """Connect to nothing yet.

        Args:
            model: Its name at the endpoint.
            url: Address that ends where ``/chat/completions`` begins, such as ``http://localhost:8000/v1``.
            key: Sent as the bearer token; empty for none.
            timeout_s: Longest silence, and longest time that the body of an answer takes.
            max_tokens: Longest reply.

        Raises:
            MissingExtraError: The package ``openai`` is not installed.
        """
        try:
            import openai
        except ModuleNotFoundError as error:
            raise missing_extra("Expert 'vlm'", "openai") from error
        self.model, self.where, self._url = model, redact(url, ()), url
        self._key, self._timeout_s, self._max_tokens = key, timeout_s, max_tokens
        self._package: Any = openai
        self._lock = threading.Lock()
        self._client: Any = None

    def ask(self, prompt: str, image_url: str) -> Reply:
        """Ask about one picture, without sampling.

        Args:
            prompt: What to ask.
            image_url: The picture as a data URL.

        Raises:
            TemporaryExpertError: Out of reach, too slow or busy.
            RefusedError: The key or the model is not known.
            ExpertError: Refused, or no reply in the form of the API.
        """
        content = [
            {"type": "image_url", "image_url": {"url": image_url}},
            {"type": "text", "text": prompt},
        ]
        body = self._send(
            lambda client: client.chat.completions.with_raw_response.create(
                model=self.model, messages=[{"role": "user", "content": content}], temperature=0, seed=0,
                max_tokens=self._max_tokens,
            )
        )  # fmt: skip
        try:
            choice = body["choices"][0]
            text, finish = choice["message"]["content"], choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise ExpertError(f"{self.where} answered {short(body)}, which holds no reply.") from None
        if finish == "content_filter":
            raise ExpertError(f"{self.where} withheld the reply: its content filter did not let it through.")
        if not isinstance(text, str):
            raise ExpertError(f"{self.where} answered with the content {short(text)}, expected text.")
        return Reply(text, finish == "length")

    def find_models(self) -> list[str]:
        """Return the names of the models that the endpoint lists.

        Raises:
            TemporaryExpertError: Out of reach, too slow or busy.
            ExpertError: Refused, or no list of models.
        """
        body = self._send(lambda client: client.models.with_raw_response.list())
        try:
            return [str(one["id"]) for one in body["data"]]
        except (KeyError, TypeError):
            raise ExpertError(f"{self.where} answered {short(body)}, which lists no models.") from None

    def close(self) -> None:
        """Close the connections; they open again when they are needed."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                # Retries are the caller's business, and so is where its pictures go: no redirects.
                self._client = self._package.OpenAI(
                    base_url=self._url, api_key=self._key or "none", max_retries=0, timeout=self._timeout_s,
                    default_headers={"Accept-Encoding": "identity"},
                    http_client=self._package.DefaultHttpxClient(
                        event_hooks={"response": [self._bound]}, follow_redirects=False, timeout=self._timeout_s
                    ),
                )  # fmt: skip
            return self._client

    def _send(self, call: Callable[[Any], Any]) -> Any:
        """Return the JSON that a call answers with, or raise what its failure means for the caller."""
        try:
            response = call(self._connect()).http_response
        except self._package.APITimeoutError:
            raise TemporaryExpertError(f"{self.where} did not answer within {self._timeout_s:g} s.") from None
        except self._package.APIConnectionError as error:
            cause = error.__cause__ or error
            if isinstance(cause, ExpertError):  # ours, of a body that is too long, which openai 2 wraps
                raise cause from None
            raise TemporaryExpertError(f"{self.where} cannot be reached: {self._say(cause)}") from None
        except self._package.APIStatusError as error:
            raise self._worded(error.status_code, error.response.headers, error.message) from None
        try:
            return json.loads(response.content)
        except (ValueError, RecursionError):
            raise ExpertError(f"{self.where} answered {short(response.content[:200])}, expected JSON.") from None

    def _worded(self, status: int, headers: Any, message: str) -> ExpertError:
        text = f"{self.where} refused with status {status}: {self._say(message)}"
        if status not in BUSY and status < 500:
            return RefusedError(text) if status in HOPELESS else ExpertError(text)
        return TemporaryExpertError(text, retry_after_s=_seconds(headers.get("retry-after")))

    def _say(self, what: object) -> str:
        text = " ".join(str(what).split())[:200]
        return redact(text, (self._key,) if self._key else ())

    def _bound(self, response: Any) -> None:
        """Limit what is read of an answer, an error's body too, before anything of it is read."""
        encoding = response.headers.get("content-encoding", "").lower()
        if encoding not in ("", "identity"):  # a few bytes could become gigabytes
            raise ExpertError(f"{self.where} answered in the encoding {short(encoding)}, expected none.")
        library = importlib.import_module(type(response).__module__.partition(".")[0])
        response.stream = _body_class(library)(response.stream, self._timeout_s, self.where)


@cache
def _body_class(library: ModuleType) -> Any:
    """Return a class of bodies for the HTTP library that the installed version of ``openai`` uses."""

    class Body(library.SyncByteStream):  # type: ignore[misc,name-defined]
        def __init__(self, stream: Any, timeout_s: float, where: str) -> None:
            self._stream, self._timeout_s, self._where = stream, timeout_s, where

        def __iter__(self) -> Iterator[bytes]:
            until, total = time.monotonic() + self._timeout_s, 0
            for chunk in self._stream:
                total += len(chunk)
                if total > MAX_BYTES:
                    raise ExpertError(f"{self._where} answered with more than {MAX_BYTES} bytes.")
                if time.monotonic() > until:
                    raise library.ReadTimeout("the answer takes too long")
                yield chunk

        def close(self) -> None:
            self._stream.close()

    return Body


def _seconds(text: str | None) -> float | None:
    """Return what the header ``Retry-After`` asks for, if it is a plain number."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return min(seconds, LONGEST_WAIT_S) if seconds >= 0 else None
