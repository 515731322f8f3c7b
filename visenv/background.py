"""One event loop for the whole process, for all that waits for a network, in a thread of its own or driven by who waits."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

__all__ = ["Waiting", "run_all_in_background", "run_in_background", "waiting"]

T = TypeVar("T")


def run_in_background(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine in the process's background loop and return its future; cancelling that cancels the coroutine.

    What belongs to a loop, as clients and their connections do, is made and closed by coroutines run here. Never wait for the
    future inside such a coroutine.
    """
    (future,) = run_all_in_background([work])
    return future


def run_all_in_background(works: Sequence[Coroutine[Any, Any, T]]) -> list[Future[T]]:
    """Start coroutines together, as :func:`run_in_background` does one; waking the loop costs more than starting one."""
    if not works:
        return []
    loop = _this_process()
    futures = loop.start(works)
    loop.let_go()
    return futures


@contextmanager
def waiting() -> Iterator[Waiting]:
    """Lend a way to have many coroutines under way and to wait for whichever is done next.

    The thread that waits runs the loop itself meanwhile. With both in threads of their own, a turn of theirs that is Python
    from end to end would mostly wait for the interpreter.
    """
    loop = _this_process()
    inline = loop.lent.acquire(blocking=False)
    try:
        yield Waiting(loop, inline=inline)
    finally:
        if inline:
            loop.let_go()
            loop.lent.release()


class Waiting:
    """Coroutines of one caller; see :func:`waiting`. Of several callers at a time, the first alone runs the loop itself."""

    def __init__(self, loop: _Loop, *, inline: bool) -> None:
        self._loop, self._inline = loop, inline
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def start(self, works: Sequence[Coroutine[Any, Any, T]]) -> list[Future[T]]:
        """Start coroutines together. They get on while somebody is in :meth:`take`, or after :meth:`let_go`."""
        futures = self._loop.start(works)
        for future in futures:
            future.add_done_callback(self._finish)
        if not self._inline:
            self._loop.let_go()
        return futures

    def take(self, *, wait_s: float | None) -> list[Future[Any]]:
        """Return the futures that are done since the last call; wait for the first, so many seconds at most (``None``: for ever).

        It may return early, and empty.
        """
        if self._inline and not _runs_a_loop():
            self._loop.drive(wait_s, unless=lambda: not self._done.empty())
            wait_s = 0.0
        else:
            self._loop.let_go()
        done: list[Future[Any]] = []
        with suppress(queue.Empty):
            while True:
                now = done or wait_s == 0
                done.append(self._done.get_nowait() if now else self._done.get(timeout=wait_s))
        return done

    def let_go(self) -> None:
        """Let the loop run in its own thread until the next :meth:`take`: something else takes this thread's time."""
        self._loop.let_go()

    def _finish(self, future: Future[Any]) -> None:
        self._done.put(future)
        self._loop.pause()


class _Loop:
    """An event loop that one thread at a time runs: its own, or one that drives it for a while."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.lent = threading.Lock()
        """Held by the one caller who may drive."""
        self._state = threading.Condition()
        self._running = self._free = self._wanted = False  # in some thread; for its own; by who drives
        self._driver: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly
        # A daemon: an interrupted program must not wait for answers that are under way.
        threading.Thread(target=self._run, name="visenv-background", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while True:
            with self._state:
                self._state.wait_for(lambda: self._free and not (self._wanted or self._running))
                self._running = True
            self.loop.run_forever()
            with self._state:
                self._running = False
                self._state.notify_all()

    def start(self, works: Sequence[Coroutine[Any, Any, T]]) -> list[Future[T]]:
        """Start coroutines as soon as the loop runs."""
        futures: list[Future[T]] = [Future() for _ in works]

        def start() -> None:
            for work, future in zip(works, futures, strict=True):
                task = self.loop.create_task(_fill(work, future))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(lambda _, work=work: work.close())  # type: ignore[misc]  # of one that never began
                future.add_done_callback(partial(self._cancel, task))

        self.loop.call_soon_threadsafe(start)
        return futures

    def let_go(self) -> None:
        """Let the loop's own thread run it, as soon as nobody drives it."""
        if not self._free:
            with self._state:
                self._free = True
                self._state.notify_all()

    def drive(self, wait_s: float | None, *, unless: Callable[[], bool]) -> None:
        """Run the loop in this thread until :meth:`pause`, so many seconds at most; not at all if ``unless`` holds."""
        with self._state:
            self._wanted, self._free = True, False
            try:
                if self._running:
                    self.loop.call_soon_threadsafe(self.loop.stop)
                    self._state.wait_for(lambda: not self._running)
                self._running = True
            finally:
                self._wanted = False
        end = None
        try:
            if not unless():
                self._driver = threading.get_ident()
                end = None if wait_s is None else self.loop.call_later(wait_s, self.loop.stop)
                self.loop.run_forever()
        finally:
            self._driver = None
            if end is not None:
                end.cancel()
            with self._state:
                self._running = False
                self._state.notify_all()

    def pause(self) -> None:
        """End :meth:`drive`, if that is what runs the loop."""
        if self._driver == threading.get_ident():
            self.loop.stop()
        elif self._driver is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)

    def _cancel(self, task: asyncio.Task[None], future: Future[Any]) -> None:
        if future.cancelled():
            self.loop.call_soon_threadsafe(task.cancel)


async def _fill(work: Coroutine[Any, Any, T], future: Future[T]) -> None:
    """Await somebody's coroutine into a future; a ``sys.exit`` in it would end the loop of everybody."""
    with suppress(InvalidStateError):  # it was cancelled meanwhile
        try:
            result = await work
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)


_lock = threading.Lock()
_current: _Loop | None = None


def _this_process() -> _Loop:
    global _current
    with _lock:
        if _current is None or _current.process != os.getpid():  # threads do not survive a fork
            _current = _Loop()
        return _current


def _runs_a_loop() -> bool:
    """Whether a loop of somebody else runs in this thread, as in a notebook: no second one can."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
