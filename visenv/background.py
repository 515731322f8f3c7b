"""One event loop for the whole process, for all that waits for a network, in a thread of its own or driven by who waits."""

from __future__ import annotations

import asyncio
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, TypeVar

__all__ = ["Waiting", "run_all_in_background", "run_in_background", "waiting"]

T = TypeVar("T")

AWAY_S = 0.02
"""How long nobody drives a loop that somebody may drive before its own thread runs it."""


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
    inline = loop.lend()
    try:
        yield Waiting(loop, inline=inline)
    finally:
        if inline:
            loop.take_back()


class Waiting:
    """Coroutines of one caller; see :func:`waiting`. Of several callers at a time, the first alone runs the loop itself."""

    def __init__(self, loop: _Loop, *, inline: bool) -> None:
        self._loop, self._inline = loop, inline
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def start(self, works: Sequence[Coroutine[Any, Any, T]]) -> list[Future[T]]:
        """Start coroutines together."""
        futures = self._loop.start(works)
        for future in futures:
            future.add_done_callback(self._finish)
        if not self._inline:
            self._loop.let_go()
        return futures

    def take(self, *, wait_s: float | None) -> list[Future[Any]]:
        """Return the futures that are done since the last call; wait for the first, about so many seconds (``None``: for ever).

        It may return early, and empty.
        """
        if self._inline and not _runs_a_loop():
            self._loop.drive(wait_s, unless=lambda: not self._done.empty())
            wait_s = 0.0
        done: list[Future[Any]] = []
        with suppress(queue.Empty):
            while True:
                now = done or wait_s == 0
                done.append(self._done.get_nowait() if now else self._done.get(timeout=wait_s))
        return done

    def _finish(self, future: Future[Any]) -> None:
        self._done.put(future)
        self._loop.pause()


class _Loop:
    """An event loop that one thread at a time runs: who drives it while waiting, else its own."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._state = threading.Condition()
        self._running = self._wanted = self._lent = False  # in some thread; by who drives; to somebody who may drive
        self._driven_s = -math.inf  # when it was driven last, by the monotonic clock
        self._driver: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly
        # A daemon: an interrupted program must not wait for answers that are under way.
        threading.Thread(target=self._run, name="visenv-background", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while True:
            with self._state:
                while self._running or self._wanted or (self._lent and time.monotonic() < self._driven_s + AWAY_S):
                    self._state.wait(AWAY_S if self._lent else None)
                self._running = True
            with suppress(BaseException):  # `sys.exit` in somebody's task, which has it too
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

    def lend(self) -> bool:
        """Let the caller drive the loop, if nobody else may."""
        with self._state:
            free, self._lent, self._driven_s = not self._lent, True, time.monotonic()
            return free

    def take_back(self) -> None:
        """End what :meth:`lend` began."""
        with self._state:
            self._lent = False
            self._state.notify_all()

    def let_go(self) -> None:
        """Let the loop's own thread run it at once, unless it is being driven."""
        with self._state:
            self._driven_s = -math.inf
            self._state.notify_all()

    def drive(self, wait_s: float | None, *, unless: Callable[[], bool]) -> None:
        """Run the loop in this thread until :meth:`pause`, so many seconds at most; not at all if ``unless`` holds."""
        with _interrupts_held(lambda: self.loop.call_soon_threadsafe(self.loop.stop)), self._claimed():
            if unless():  # asked when `pause` can be heard
                return
            end = None if wait_s is None else self.loop.call_later(wait_s, self.loop.stop)
            try:
                self.loop.run_forever()
            except SystemExit:  # in somebody's task, which has it too
                pass
            finally:
                if end is not None:
                    end.cancel()

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        with self._state:
            self._wanted = True
            while self._running:
                self.loop.call_soon_threadsafe(self.loop.stop)
                self._state.wait(AWAY_S)
            self._wanted, self._running, self._driver = False, True, threading.get_ident()
        try:
            yield
        finally:
            with self._state:
                self._running, self._driver, self._driven_s = False, None, time.monotonic()
                # Nobody is told: who drives will mostly do so again soon, and else the loop's own thread comes by itself.

    def pause(self) -> None:
        """End :meth:`drive`, if that is what runs the loop."""
        driver = self._driver
        if driver == threading.get_ident():
            self.loop.stop()
        elif driver is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)

    def _cancel(self, task: asyncio.Task[None], future: Future[Any]) -> None:
        if future.cancelled():
            self.loop.call_soon_threadsafe(task.cancel)


@contextmanager
def _interrupts_held(stop: Callable[[], object]) -> Iterator[None]:
    """Have an interrupt of this thread stop the loop and take effect afterwards, not within somebody's coroutine; a second one does."""
    here = threading.current_thread() is threading.main_thread()  # signals are handled there
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if here else {}
    before = {number: handler for number, handler in found.items() if callable(handler)}
    caught: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) > 1:
            before[signal.Signals(number)](number, frame)
        stop()

    try:
        for number in before:
            signal.signal(number, hold)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[0])


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
