"""One event loop for the whole process, in a thread of its own, for all that waits for a network."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from .errors import say

__all__ = ["run_in_background"]

T = TypeVar("T")


class _Loop:
    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        # A daemon: an interrupted program must not wait for answers that are under way.
        threading.Thread(target=self._run, name="visenv-background", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_lock = threading.Lock()
_current: _Loop | None = None


def run_in_background(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine in the process's background loop and return its future; cancelling that cancels the coroutine.

    What belongs to a loop, as clients and their connections do, is made and closed by coroutines run here. Never wait for the
    future inside such a coroutine.
    """
    global _current
    with _lock:
        if _current is None or _current.process != os.getpid():  # threads do not survive a fork
            _current = _Loop()
        loop = _current.loop
    return asyncio.run_coroutine_threadsafe(_contained(work), loop)


async def _contained(work: Coroutine[Any, Any, T]) -> T:
    """Await somebody's coroutine; a ``sys.exit`` in it would end the loop of everybody."""
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(say(error)) from error
