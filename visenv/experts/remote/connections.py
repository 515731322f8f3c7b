"""Connections to a server of experts, bounded before anybody has shown a token."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import BODY_S

__all__ = ["Connection"]

HEAD_S = 10.0
"""Longest time that a request's line and headers may take to arrive."""
SLACK_S = 5.0
"""What a body may take longer here than where it is read: there it gets a status."""

ORDER = itertools.count()
"""The loop's clock has the same time for all that happens in one round."""


class Connection(H11Protocol):
    """uvicorn's connection, closed when a request does not come to its end: uvicorn itself waits for ever.

    That a request was refused changes nothing: its body counts until it is there. Where as many connections are open as
    ``limit_concurrency`` says, uvicorn refuses requests on all of them; here one more takes the place of the one that has been idle for
    longest, and is closed if none is idle.
    """

    _awaited: Any = None  # the state of the request that the clock runs for
    _clock: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take over uvicorn's limit."""
        super().__init__(*args, **kwargs)
        self._most, self.limit_concurrency = self.limit_concurrency, None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._heard_last = next(ORDER)
        others = [
            c for c in self.connections if isinstance(c, Connection) and c is not self and not c.transport.is_closing()
        ]
        if self._most is not None and len(others) >= self._most:
            idle = [c for c in others if c.is_idle]
            min(idle, key=lambda c: c._heard_last, default=self).transport.abort()
        self._watch()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self.conn.their_state is h11.IDLE

    def data_received(self, data: bytes) -> None:
        """Take what arrives."""
        self._heard_last = next(ORDER)
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        super().connection_lost(exc)
        self._stop()
        self._flows()

    def pause_writing(self) -> None:
        """Run a clock while nobody reads: uvicorn waits for ever, and so does a transport that was told to close."""
        super().pause_writing()
        self._flows()
        self._stuck = self.loop.call_later(BODY_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that clock."""
        super().resume_writing()
        self._flows()

    def _flows(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _watch(self) -> None:
        """Run a clock for each part of a request, from its first byte on; what drips does not set it back."""
        state = self.conn.their_state
        if state is self._awaited:
            return
        self._stop()
        limit_s = {h11.IDLE: HEAD_S, h11.SEND_BODY: BODY_S + SLACK_S}.get(state)
        if limit_s is not None and not self.transport.is_closing():
            self._awaited = state
            self._clock = self.loop.call_later(limit_s, self.transport.abort)

    def _stop(self) -> None:
        self._awaited = None
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
