"""One event loop for the whole process, in a thread of its own, for all that waits for a network."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

__all__ = ["run_all_in_background", "run_in_background"]

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
    (future,) = run_all_in_background([work])
    return future


def run_all_in_background(works: Sequence[Coroutine[Any, Any, T]]) -> list[Future[T]]:
    """Start coroutines together, as :func:`run_in_background` does one; waking the loop costs more than starting one."""
    global _current
    if not works:
        return []
    with _lock:
        if _current is None or _current.process != os.getpid():  # threads do not survive a fork
            _current = _Loop()
        loop = _current.loop
    futures: list[Future[T]] = [Future() for _ in works]

    def start() -> None:
        for work, future in zip(works, futures, strict=True):
            task = loop.create_task(_fill(work, future))
            _tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(_tasks.discard)
            task.add_done_callback(lambda _, work=work: work.close())  # type: ignore[misc]  # of one that never began
            future.add_done_callback(partial(_cancel, loop, task))

    loop.call_soon_threadsafe(start)
    return futures


_tasks: set[asyncio.Task[None]] = set()


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], future: Future[Any]) -> None:
    if future.cancelled():
        loop.call_soon_threadsafe(task.cancel)


async def _fill(work: Coroutine[Any, Any, T], future: Future[T]) -> None:
    """Await somebody's coroutine into a future; a ``sys.exit`` in it would end the loop of everybody."""
    with suppress(InvalidStateError):  # it was cancelled meanwhile
        try:
            result = await work
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
