"""The routes of a server of experts, as a FastAPI application that uvicorn runs and Ray Serve too.

- ``GET /health``: 200 while it can answer; needs no token.
- ``GET /v1/experts``: which experts there are and what is taken, as JSON.
- ``POST /v1/run``: a call (calls.py).
- ``GET /metrics``: numbers, as Prometheus reads them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from ...errors import TemporaryExpertError, missing_extra, say
from ...redaction import redact
from .arrival import Arrival
from .calls import Pieces
from .frames import CONTENT_TYPE, FrameError, TooLarge, WireError
from .service import Service

__all__ = ["BODY_S", "CONCURRENCY", "digest_of", "make_app"]

CONCURRENCY = 128
"""Calls in flight; further ones are asked to come back."""
BODY_S = 60.0
"""Longest time that a body may take to arrive, and that a piece of an answer may take to be read."""
PIECE_BYTES = 2**18
"""Of an answer, sent at a time."""
SMALL_BYTES = 2**19
"""A body that is here up to so much when its map is: the map is read at once, larger ones in a thread."""
HASH_BYTES = 2**19
"""Of pixels, hashed in a thread while more of them arrive."""
RETRY_AFTER_S = 1
HEALTH_S = 1.0
"""How old what the experts say of their health may be."""
HEALTH_WAIT_S = 5.0
"""How long the experts may take to say it; nobody knows then whether they can answer."""
LOG = logging.getLogger("visenv.experts.remote")
T = TypeVar("T")


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A call that gets a status and a sentence instead of an answer."""

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers or {}


def make_app(
    service: Service, *, token_digest: bytes | None = None, concurrency: int = CONCURRENCY, hosts: Sequence[str] | None = None
) -> Any:  # fmt: skip
    """Return the application, which closes the service when it ends.

    Args:
        service: Answers the calls.
        token_digest: The :func:`digest_of` what a client must show for everything but ``/health``; ``None`` lets everybody in.
        concurrency: Calls in flight.
        hosts: Names under which the server may be addressed; any by default. A web page cannot reach a server on the reader's own
            machine under a name of its own then.

    Raises:
        MissingExtraError: FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI
        from starlette.middleware.trustedhost import TrustedHostMiddleware
    except ImportError as error:
        raise missing_extra("A server of experts", "serve") from error

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(title="visenv experts", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    routes = _Routes(service, token_digest=token_digest, concurrency=concurrency)
    app.add_route("/health", routes.health, methods=["GET"])
    app.add_route("/v1/experts", routes.catalogue, methods=["GET"])
    app.add_route("/v1/run", routes.run, methods=["POST"])
    app.add_route("/metrics", routes.metrics, methods=["GET"])
    return app


def digest_of(token: str) -> bytes:
    """Return what of a token is enough to know it again."""
    return hashlib.sha256(token.encode()).digest()


class _Answer:
    """The answer to a call, as an ASGI application that sends it piece by piece and then lets go of what the call holds."""

    def __init__(self, status_code: int, pieces: Pieces, held: contextlib.ExitStack) -> None:
        self.status_code = status_code
        self._pieces = pieces
        self._held = held

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        size = sum(map(len, self._pieces))
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(size).encode())]
        with self._held, contextlib.suppress(TimeoutError):  # whoever does not read gets no more
            await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
            for piece in self._pieces:
                for start in range(0, len(piece), PIECE_BYTES):
                    size -= len(part := bytes(piece[start : start + PIECE_BYTES]))
                    async with asyncio.timeout(BODY_S):
                        await send({"type": "http.response.body", "body": part, "more_body": size > 0})


class _Routes:
    """What each route does. Everything but reading a body happens in threads."""

    def __init__(self, service: Service, *, token_digest: bytes | None, concurrency: int) -> None:
        from anyio import CapacityLimiter

        self._service = service
        self._digest = token_digest
        self._concurrency = concurrency
        self._limiter = CapacityLimiter(concurrency)
        self._aside = CapacityLimiter(4)  # health and metrics answer while all others are busy
        self._in_flight = 0
        self._bytes = 0
        self._look: asyncio.Task[bool] | None = None
        self._looked_at = 0.0

    async def health(self, request: Any) -> Any:
        """Say whether the experts can answer; why not is for the log."""
        now = time.monotonic()
        if self._look is None or (self._look.done() and now - self._looked_at > HEALTH_S):
            self._looked_at = now
            self._look = asyncio.create_task(self._is_well())  # one look, for all who ask meanwhile
        await asyncio.wait([self._look], timeout=max(0.0, self._looked_at + HEALTH_WAIT_S - now))
        is_well = self._look.done() and self._look.result()
        return _json(200, {"status": "ok"}) if is_well else _json(503, {"status": "unavailable"})

    async def _is_well(self) -> bool:
        try:
            await self._in_thread(self._service.health, self._aside)
        except Exception as error:  # the boundary to the experts: whatever it is, they cannot answer
            LOG.warning("not healthy: %s", redact(say(error)))
            return False
        return True

    async def catalogue(self, request: Any) -> Any:
        """Say which experts there are."""
        try:
            self._admit(request)
        except Refusal as refusal:
            return _refuse(refusal)
        return _json(200, self._service.catalogue.model_dump())

    async def metrics(self, request: Any) -> Any:
        """Say the numbers."""
        from starlette.responses import Response

        try:
            self._admit(request)
        except Refusal as refusal:
            return _refuse(refusal)
        text = await self._in_thread(self._service.metrics_text, self._aside)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def run(self, request: Any) -> Any:
        """Answer a call."""
        metrics, start = self._service.metrics, time.perf_counter()
        held = contextlib.ExitStack()  # until the answer is sent
        held.enter_context(metrics.during("visenv_calls_in_flight"))
        reply: Any = None
        try:
            reply = _Answer(*await self._answer(request, held), held)
        except Refusal as refusal:
            reply = _refuse(refusal)
        finally:
            if not isinstance(reply, _Answer):
                held.close()
        metrics.add("visenv_calls_total", status=str(reply.status_code))
        metrics.add("visenv_call_seconds_total", time.perf_counter() - start)
        return reply

    async def _answer(self, request: Any, held: contextlib.ExitStack) -> tuple[int, Pieces]:
        self._admit(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
            raise Refusal(415, f"The body must be {CONTENT_TYPE}.")
        if self._in_flight >= self._concurrency:
            raise _busy("too many calls at once")
        self._in_flight += 1
        held.callback(self._leave)
        try:
            arrival = await self._read(request, held)
            if not arrival.num_bytes and (lacking := self._service.lacking(arrival.finish())) is not None:
                return 409, lacking  # no pixels, so nothing for a thread
            return await self._in_thread(functools.partial(self._service.answer, arrival, held), self._limiter)
        except FrameError as error:
            raise Refusal(400, f"Not a call: {error}.") from None
        except TooLarge as error:
            raise Refusal(413, f"Too much for one call: {error}.") from None
        except WireError as error:
            raise Refusal(422, f"Not a call that can be answered: {error}.") from None
        except TemporaryExpertError as error:
            raise _busy(redact(str(error)), error.retry_after_s) from None
        except Refusal:
            raise
        except Exception as error:  # the boundary to everything behind this route: the server goes on
            LOG.exception("a call failed")
            raise Refusal(500, f"The server failed: {type(error).__name__}.") from None

    async def _read(self, request: Any, held: contextlib.ExitStack) -> Arrival:
        """Read the body; its bytes count until the answer is sent."""
        arrival, taken = Arrival(limit_bytes=self._service.body_bytes), 0
        hashing: asyncio.Future[None] | None = None
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in self._chunks(request):
                    self._bytes += len(chunk)
                    taken += len(chunk)
                    if arrival.take(chunk):
                        arrival.open() if taken < SMALL_BYTES else await self._in_thread(arrival.open, self._limiter)
                    if arrival.unhashed >= HASH_BYTES and (hashing is None or hashing.done()):
                        hashing = asyncio.ensure_future(self._in_thread(arrival.hash, self._limiter))
        except TimeoutError:
            raise Refusal(408, f"The body took longer than {BODY_S:g} s.") from None
        finally:
            held.callback(self._let_go, taken)
            if hashing is not None:
                await hashing
        return arrival

    def _leave(self) -> None:
        self._in_flight -= 1

    def _let_go(self, num_bytes: int) -> None:
        self._bytes -= num_bytes

    def _admit(self, request: Any) -> None:
        """Refuse whoever does not show the token; how long that takes does not depend on how much of it is right."""
        if self._digest is None:
            return
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(digest_of(shown.strip()), self._digest)
        if not same or scheme.lower() != "bearer":
            raise Refusal(401, "A token is needed: `Authorization: Bearer TOKEN`.", {"WWW-Authenticate": "Bearer"})

    async def _chunks(self, request: Any) -> AsyncIterator[bytes]:
        """Give the body as it arrives, no more of it than is taken."""
        from starlette.requests import ClientDisconnect

        limit = self._service.body_bytes
        announced = request.headers.get("content-length", "0")
        too_long = Refusal(413, f"The body is longer than the {limit} bytes that are taken.", {"Connection": "close"})
        if not announced.isascii() or not announced.isdigit() or len(announced) > 15 or int(announced) > limit:
            raise too_long
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_long
                if self._bytes + len(chunk) > 4 * limit:
                    raise _busy("too many bytes at once")
                yield chunk
        except ClientDisconnect:
            raise Refusal(400, "The body was cut off.") from None

    async def _in_thread(self, work: Callable[[], T], limiter: Any) -> T:
        from anyio import to_thread

        return await to_thread.run_sync(work, limiter=limiter)


def _busy(why: str, after_s: float | None = None) -> Refusal:
    seconds = max(1, round(RETRY_AFTER_S if after_s is None else min(after_s, 3600)))
    return Refusal(503, f"Not now: {why}.", {"Retry-After": str(seconds)})


def _refuse(refusal: Refusal) -> Any:
    return _json(refusal.status, {"error": str(refusal)}, refusal.headers)


def _json(status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    from starlette.responses import Response

    text = json.dumps(content, ensure_ascii=True)
    return Response(text, status_code=status, media_type="application/json", headers=headers)
