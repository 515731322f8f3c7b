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
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from ...errors import ExpertError, TemporaryExpertError, missing_extra
from ...redaction import redact
from .frames import CONTENT_TYPE, FrameError, WireError
from .service import Service

__all__ = ["CONCURRENCY", "make_app"]

CONCURRENCY = 128
"""Calls in flight; further ones are asked to come back."""
BODY_S = 60.0
"""Longest time that a body may take to arrive."""
RETRY_AFTER_S = 1
HEALTH_S = 1.0
"""How old what the experts say of their health may be."""
LOG = logging.getLogger("visenv.experts.remote")
T = TypeVar("T")


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A call that gets a status and a sentence instead of an answer."""

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers or {}


def make_app(
    service: Service, *, token: str | None = None, concurrency: int = CONCURRENCY, hosts: Sequence[str] | None = None
) -> Any:
    """Return the application, which closes the service when it ends.

    Args:
        service: Answers the calls.
        token: What a client must show for everything but ``/health``; ``None`` lets everybody in.
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
    routes = _Routes(service, token=token, concurrency=concurrency)
    app.add_route("/health", routes.health, methods=["GET"])
    app.add_route("/v1/experts", routes.catalogue, methods=["GET"])
    app.add_route("/v1/run", routes.run, methods=["POST"])
    app.add_route("/metrics", routes.metrics, methods=["GET"])
    return app


class _Routes:
    """What each route does. Everything but reading a body happens in threads."""

    def __init__(self, service: Service, *, token: str | None, concurrency: int) -> None:
        from anyio import CapacityLimiter

        self._service = service
        self._digest = None if token is None else hashlib.sha256(token.encode()).digest()
        self._concurrency = concurrency
        self._limiter = CapacityLimiter(concurrency)
        self._aside = CapacityLimiter(4)  # health and metrics answer while all others are busy
        self._in_flight = 0
        self._bytes = 0
        self._looked_at = -math.inf
        self._is_well = True

    async def health(self, request: Any) -> Any:
        """Say whether the experts can answer; why not is for the log."""
        if time.monotonic() - self._looked_at > HEALTH_S:  # anybody may ask, as often as they like
            self._looked_at = time.monotonic()
            try:
                await self._in_thread(self._service.health, self._aside)
                self._is_well = True
            except ExpertError as error:
                LOG.warning("not healthy: %s", redact(str(error)))
                self._is_well = False
        return _json(200, {"status": "ok"}) if self._is_well else _json(503, {"status": "unavailable"})

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
        from starlette.responses import Response

        metrics, start = self._service.metrics, time.perf_counter()
        with metrics.during("visenv_calls_in_flight"):
            try:
                status, body = await self._answer(request)
                reply = Response(body, status_code=status, media_type=CONTENT_TYPE)
            except Refusal as refusal:
                reply = _refuse(refusal)
        metrics.add("visenv_calls_total", status=str(reply.status_code))
        metrics.add("visenv_call_seconds_total", time.perf_counter() - start)
        return reply

    async def _answer(self, request: Any) -> tuple[int, bytes]:
        self._admit(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
            raise Refusal(415, f"The body must be {CONTENT_TYPE}.")
        if self._in_flight >= self._concurrency:
            raise _busy("too many calls at once")
        self._in_flight += 1
        held = 0
        try:
            body = bytearray()
            try:
                async with asyncio.timeout(BODY_S):
                    async for chunk in self._chunks(request):
                        self._bytes += len(chunk)
                        held += len(chunk)
                        body += chunk
            except TimeoutError:
                raise Refusal(408, f"The body took longer than {BODY_S:g} s.") from None
            return await self._in_thread(functools.partial(self._service.answer, body), self._limiter)
        except FrameError as error:
            raise Refusal(400, f"Not a call: {error}.") from None
        except WireError as error:
            raise Refusal(422, f"Not a call that can be answered: {error}.") from None
        except TemporaryExpertError as error:
            raise _busy(redact(str(error)), error.retry_after_s) from None
        except Refusal:
            raise
        except Exception as error:  # the boundary to everything behind this route: the server goes on
            LOG.exception("a call failed")
            raise Refusal(500, f"The server failed: {type(error).__name__}.") from None
        finally:
            self._in_flight -= 1
            self._bytes -= held

    def _admit(self, request: Any) -> None:
        """Refuse whoever does not show the token; how long that takes does not depend on how much of it is right."""
        if self._digest is None:
            return
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(hashlib.sha256(shown.strip().encode()).digest(), self._digest)
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
