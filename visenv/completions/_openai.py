"""Language models behind OpenAI-compatible endpoints, asked by the official client, many prompts at a time."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from types import ModuleType
from typing import Any

from ..chat import to_openai_messages
from ..encoding import resize_image, to_data_url
from ..errors import missing_extra, short
from ..experts.embeddings import EmbeddingCache
from ..experts.retrying import Backoff
from ..images import Image
from ..redaction import redact
from ..vision import Vision
from ._address import find_endpoint
from ._protocol import Completer, Completion, CompletionError, CompletionRequest, TemporaryCompletionError
from ._replies import StreamedReply, cut_at_stop, read_reply, says_context_full, seconds_of

__all__ = ["OpenAICompleter"]

MAX_BYTES = 2**23
"""Longest body of an answer; a reply of the longest text that is read, in escapes of six bytes, has less."""
MAX_STREAM_BYTES = 2**27
"""Longest stream: a piece of a few letters takes some hundred bytes."""
BUSY = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say that asking later may help."""
TELEMETRY = tuple(
    f"X-Stainless-{what}" for what in ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
)
"""Headers in which the client tells of the machine it runs on. Who sends a prompt does not ask for that."""
KEPT_URL_BYTES = 2**28


class OpenAICompleter(Completer):
    """Asks an endpoint, and again while it is busy or out of reach. Pictures travel as PNG, each encoded once.

    Extra: ``openai``.
    """

    def __init__(
        self,
        model: str,
        *,
        url: str = "",
        key_env: str = "",
        stream: bool = False,
        send_stop: bool = True,
        timeout_s: float = 300.0,
        patience_s: float = 120.0,
    ) -> None:
        """Connect to nothing yet.

        Args:
            model: Its name at the endpoint.
            url: See :func:`~visenv.completions.find_endpoint`, as ``key_env``.
            key_env: Name of the environment variable that holds the key.
            stream: Have replies sent piece by piece, which some servers need to notice that nobody waits any more.
            send_stop: Tell the server the strings that end a reply. Without, replies are cut behind them here: for servers that refuse
                them, as ``transformers serve`` does for every model that takes pictures.
            timeout_s: Longest time that one reply takes, from asking to its end.
            patience_s: How long an endpoint that is busy or out of reach is asked again.

        Raises:
            MissingExtraError: The package ``openai`` is not installed.
            BadValueError: No address, or no such variable.
        """
        try:
            import openai
            from openai import DefaultAioHttpClient, Omit
        except ImportError as error:
            raise missing_extra("A model behind an endpoint", "openai") from error
        address, key = find_endpoint(url, key_env)
        self.identity, self.model, self.where = model, model, redact(address, ())
        self._package: Any = openai
        self._place = f"{address}/chat/completions"  # whole, so that it is not put together for each request
        self._stream, self._send_stop, self._timeout_s, self._patience_s = stream, send_stop, timeout_s, patience_s
        self._secrets = (key,) if key else ()

        def connect() -> Any:
            # aiohttp: a fraction of httpx's work for each request among a hundred. Retries are ours, and so is where
            # pictures go: no redirects.
            client = DefaultAioHttpClient(timeout=None, follow_redirects=False, event_hooks={"response": [self._bound]})
            client.headers.clear()  # `openai` sends its own of the same names
            headers: dict[str, Any] = {"Accept-Encoding": "identity", **dict.fromkeys(TELEMETRY, Omit())}
            return openai.AsyncOpenAI(
                base_url=address, api_key=key or "none", max_retries=0, timeout=None, http_client=client,
                default_headers=headers,
            )  # fmt: skip

        self._connect: Callable[[], Any] = connect
        self._client: Any = None
        self._urls: dict[str, EmbeddingCache[str]] = {}

    async def complete(self, request: CompletionRequest) -> Completion:
        """Return the reply to a prompt; see :class:`Completer`."""
        body = await self._body(request)
        begun = any(message["role"] == "assistant" for message in request.messages)
        backoff = Backoff(self._patience_s)
        while True:
            try:
                completion = await self._ask(body)
                if completion.finish == "context_full" and not begun:
                    raise CompletionError(
                        f"{self.where} takes no prompt as long as the first one of an episode, or not with replies of "
                        f"{request.sampling.max_tokens} tokens. Take a longer context, or a smaller max_tokens=…"
                    )
                if not self._send_stop:
                    completion = replace(completion, stop_left_out=False)
                return cut_at_stop(
                    completion, request.sampling.stop
                )  # some servers know no stop strings, and do not say so
            except TemporaryCompletionError as error:
                wait_s = backoff.next_wait_s(error.retry_after_s)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    async def aclose(self) -> None:
        """Close the connections; they open again when they are needed."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        for kept in self._urls.values():
            kept.clear()

    async def _body(self, request: CompletionRequest) -> dict[str, Any]:
        sampling = request.sampling
        images = request.images
        url_of = await self._encoded(images, request.vision) if images else {}
        body: dict[str, Any] = {
            "model": self.model, "messages": to_openai_messages(request.messages, url_of=url_of.__getitem__),
            "temperature": sampling.temperature,
        }  # fmt: skip
        # Hosted models refuse fields that they do not know, even with the value that changes nothing.
        if sampling.max_tokens:
            body["max_tokens"] = sampling.max_tokens
        if sampling.temperature > 0:
            body["seed"] = sampling.seed
        if sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        if sampling.stop and self._send_stop:
            body["stop"] = list(sampling.stop)
        if request.tools:
            body["tools"] = list(request.tools)
        if self._stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    async def _encoded(self, images: Sequence[Image], vision: Vision) -> dict[Image, str]:
        """Return the pictures' addresses; what is new takes milliseconds, for which other prompts need not wait."""
        if vision.spec not in self._urls:
            self._urls[vision.spec] = EmbeddingCache(limit_bytes=KEPT_URL_BYTES, size_of=len)

        def encode(new: list[Image]) -> list[str]:
            return [to_data_url(resize_image(image, vision.resized_wh(image.size_wh))) for image in new]

        get = partial(self._urls[vision.spec].get, images, encode)
        urls = get() if all(image in self._urls[vision.spec] for image in images) else await asyncio.to_thread(get)
        return dict(zip(images, urls, strict=True))

    async def _ask(self, body: dict[str, Any]) -> Completion:
        if self._client is None:
            self._client = self._connect()
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._stream:
                    return await self._read_stream(body)
                # Not `chat.completions.create`: it walks through every message to check what our types say already, which
                # takes five times as long as all the rest.
                return read_reply(await self._client.post(self._place, cast_to=object, body=body), where=self.where)
        except TimeoutError:
            raise TemporaryCompletionError(f"{self.where} gave no reply within {self._timeout_s:g} s.") from None
        except self._package.APIStatusError as error:
            return self._refused(error)
        except CompletionError as error:  # of what the server sent, which may hold anything
            error.args = (self._say(error),)
            raise
        except Exception as error:  # the boundary to the client and what it stands on: a reply that did not arrive
            if says_context_full(400, str(error)):  # an error in the middle of a stream
                return Completion(content="", finish="context_full")
            raise self._lost(error) from None

    async def _read_stream(self, body: dict[str, Any]) -> Completion:
        pieces = await self._client.post(
            self._place, cast_to=object, body=body, stream=True, stream_cls=self._package.AsyncStream[object]
        )
        reply = StreamedReply(self.where)
        async with pieces:
            async for piece in pieces:
                if not reply.add(piece):
                    break
        return reply.whole()

    def _refused(self, error: Any) -> Completion:
        """Return a reply that says that the context is full, or raise what a refusal means."""
        status, message = error.status_code, self._say(f"{error.message} {short(error.body, 500)}")
        if says_context_full(status, f"{error.message} {error.body}"):
            return Completion(content="", finish="context_full")
        text = f"{self.where} refused with status {status}: {message}"
        if status in BUSY or status >= 500:
            raise TemporaryCompletionError(text, retry_after_s=seconds_of(error.response.headers.get("retry-after")))
        raise CompletionError(text)

    def _lost(self, error: Exception) -> CompletionError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, CompletionError):  # ours, of a body that is too long, which the client wraps
                return cause
            cause = cause.__cause__
        return TemporaryCompletionError(f"{self.where} sent no whole reply: {self._say(error.__cause__ or error)}")

    def _say(self, what: object) -> str:
        return redact(" ".join(str(what).split())[:300], self._secrets)

    async def _bound(self, response: Any) -> None:
        """Limit what is read of an answer, an error's body too, before anything of it is read."""
        encoding = response.headers.get("content-encoding", "").lower()
        if encoding not in ("", "identity"):  # a few bytes could become gigabytes
            raise CompletionError(f"{self.where} answered in the encoding {short(encoding)}, expected none.")
        library = importlib.import_module(type(response).__module__.partition(".")[0])
        most = MAX_STREAM_BYTES if self._stream else MAX_BYTES
        response.stream = _body_class(library)(response.stream, self.where, most)


@cache
def _body_class(library: ModuleType) -> Any:
    """Return a class of bodies for the HTTP library that the installed version of ``openai`` uses."""

    class Body(library.AsyncByteStream):  # type: ignore[misc,name-defined]
        def __init__(self, stream: Any, where: str, most: int) -> None:
            self._stream, self._where, self._most = stream, where, most

        async def __aiter__(self) -> AsyncIterator[bytes]:
            total = 0
            async for chunk in self._stream:
                total += len(chunk)
                if total > self._most:
                    raise CompletionError(f"{self._where} answered with more than {self._most} bytes.")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Body
