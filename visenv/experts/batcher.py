"""A queue in front of one expert, for callers in many threads: their requests go out together."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any

from ..errors import ExpertError, TemporaryExpertError, bad_value, say
from ._protocol import Expert, Request, Result
from .running import run_isolated

__all__ = ["BatcherCounts", "MicroBatcher"]

Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatcherCounts:
    """What a :class:`MicroBatcher` has done so far."""

    batches: int = 0
    """Times the expert was given work."""
    requests: int = 0
    """Requests accepted."""
    shared: int = 0
    """Those of them that were equal to one waiting or running, and so were not asked again."""
    refused: int = 0
    """Requests refused because the queue was full."""
    overdue: int = 0
    """Requests whose caller stopped waiting."""
    queued: int = 0
    """Requests waiting now."""


class MicroBatcher:
    """Answers calls from many threads with one expert, in one thread of its own.

    What arrives while the expert is busy goes out together as its next batch. Where several callers took part in the last
    batch, the next one waits a moment for as many. Equal requests are asked once. Results are those of the expert alone.
    """

    def __init__(
        self,
        expert: Expert,
        *,
        answer: Callable[[Sequence[Request]], Sequence[Result | ExpertError]] | None = None,
        gather_s: float = 0.002,
        max_batch: int = 256,
        max_queued: int = 1024,
    ) -> None:
        """Start the thread; :meth:`close` ends it. The expert is the caller's to close.

        Args:
            expert: Who answers.
            answer: How it answers a batch, each failure in its place: :func:`run_isolated` by default, or the ``execute`` of an
                :class:`ExpertSet` that holds it and remembers.
            gather_s: Longest wait for company before a batch goes out.
            max_batch: Most requests taken at once; whoever answers cuts them by pixels.
            max_queued: Most requests that wait; further calls are refused. One call alone may bring more.

        Raises:
            BadValueError: A number is out of range.
        """
        if not gather_s >= 0 or max_batch < 1 or max_queued < 1:
            raise bad_value(
                "batcher", (gather_s, max_batch, max_queued), expected="gather_s >= 0, and at least 1 of each"
            )
        self.expert = expert
        self._answer = answer or partial(run_isolated, expert)
        self._gather_s = gather_s
        self._max_batch = max_batch
        self._max_queued = max_queued
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._waiting: OrderedDict[Key, _Ticket] = OrderedDict()
        self._running: dict[Key, _Ticket] = {}
        self._arrived = 0  # calls since the last batch was taken
        self._company = 0  # calls in the last batch
        self._closed = False
        self._counts = dict.fromkeys(("batches", "requests", "shared", "refused", "overdue"), 0)
        self._thread = threading.Thread(target=self._work, name=f"batcher-{expert.name}", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[Request], timeout_s: float = 60.0) -> list[Result | ExpertError]:
        """Answer requests in order; one that cannot be answered gives its error in place.

        Args:
            requests: Of any capabilities and sizes.
            timeout_s: Longest wait.

        Raises:
            TemporaryExpertError: The queue is full, the answers are not there in time, or the batcher is or was closed.
        """
        call = _Call()
        keyed = [(request.key(), request) for request in requests]
        with self._lock:
            if self._closed:
                raise self._closing()
            known = [self._waiting.get(key) or self._running.get(key) for key, _ in keyed]
            new = len({key for (key, _), ticket in zip(keyed, known, strict=True) if ticket is None})
            if self._waiting and len(self._waiting) + new > self._max_queued:
                self._counts["refused"] += len(requests)
                raise TemporaryExpertError(
                    f"{self.expert.identity} has {len(self._waiting)} requests waiting; {new} more would be above its limit of "
                    f"{self._max_queued}. Ask later, or with fewer callers."
                )
            for key, request in keyed:
                ticket = self._waiting.get(key) or self._running.get(key)
                if ticket is None:
                    ticket = self._waiting[key] = _Ticket(key, request)
                call.join(ticket)
            self._counts["requests"] += len(requests)
            self._counts["shared"] += len(requests) - new
            if call.left:
                self._arrived += 1
                self._arrival.notify()
        if call.left and not call.done.wait(timeout_s):
            self._give_up(call, timeout_s)
        return [ticket.result() for ticket in call.tickets]

    def counts(self) -> BatcherCounts:
        """Return what was done so far."""
        with self._lock:
            return BatcherCounts(**self._counts, queued=len(self._waiting))

    def close(self, wait_s: float = 5.0) -> None:
        """End: callers that wait get an error at once; then wait up to ``wait_s`` for the expert to end what it does."""
        with self._lock:
            self._closed = True
            for ticket in (*self._waiting.values(), *self._running.values()):
                ticket.answer(self._closing())
            self._waiting.clear()
            self._arrival.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(wait_s)

    def __enter__(self) -> MicroBatcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _closing(self) -> TemporaryExpertError:
        return TemporaryExpertError(f"{self.expert.identity} is closed to further requests.")

    def _give_up(self, call: _Call, timeout_s: float) -> None:
        with self._lock:
            if not call.left:  # answered in the last moment
                return
            self._counts["overdue"] += call.left
            for ticket in dict.fromkeys(call.tickets):
                ticket.calls = [other for other in ticket.calls if other is not call]
                if not ticket.calls and self._waiting.get(ticket.key) is ticket:
                    del self._waiting[ticket.key]  # nobody waits for it any more
            raise TemporaryExpertError(
                f"{self.expert.identity} gave no answer within {timeout_s:g} s; {len(self._waiting)} other requests wait. Ask "
                "later, with fewer callers, or allow more time."
            )

    def _work(self) -> None:
        while batch := self._take():
            self._play(batch)
            del batch  # not to hold its pictures until the next one comes

    def _play(self, batch: list[_Ticket]) -> None:
        answers: Sequence[Result | ExpertError]
        try:
            answers = self._answer([ticket.request for ticket in batch])
            if len(answers) != len(batch):
                raise ExpertError(f"{len(answers)} answers for {len(batch)} requests")
        except BaseException as error:  # whatever it is, this thread must go on and its callers must hear of it
            answers = [ExpertError(f"{self.expert.identity} failed: {say(error)}")] * len(batch)
        with self._lock:
            self._running.clear()
            for ticket, answer in zip(batch, answers, strict=True):
                ticket.answer(answer)

    def _take(self) -> list[_Ticket]:
        """Wait for requests and return the next batch; none when closed."""
        with self._lock:
            while not self._closed:
                if not self._waiting:
                    self._arrival.wait()
                    continue
                self._gather()
                self._company, self._arrived = self._arrived, 0
                number = min(self._max_batch, len(self._waiting))
                if number:  # else who had come has given up meanwhile
                    batch = [self._waiting.popitem(last=False)[1] for _ in range(number)]
                    self._running = {ticket.key: ticket for ticket in batch}
                    self._counts["batches"] += 1
                    return batch
            return []

    def _gather(self) -> None:
        """Wait a moment for as many callers as last time."""
        until = time.monotonic() + self._gather_s
        while self._arrived < self._company and len(self._waiting) < self._max_batch and not self._closed:
            if not self._arrival.wait(max(0.0, until - time.monotonic())):
                return


class _Call:
    """One call of ``submit``: the tickets that it waits for. Changed only under the batcher's lock."""

    def __init__(self) -> None:
        self.tickets: list[_Ticket] = []
        self.left = 0
        """Different tickets without an answer."""
        self.done = threading.Event()

    def join(self, ticket: _Ticket) -> None:
        self.tickets.append(ticket)
        if self not in ticket.calls:
            ticket.calls.append(self)
            self.left += 1


@dataclass(eq=False, slots=True)
class _Ticket:
    """One request and who waits for its answer. Changed only under the batcher's lock."""

    key: Key
    request: Request
    calls: list[_Call] = field(default_factory=list)
    _answer: Result | ExpertError | None = None

    def answer(self, answer: Result | ExpertError) -> None:
        """Hand the answer to everybody who waits; a second one is ignored."""
        if self._answer is not None:
            return
        self._answer = answer
        for call in self.calls:
            call.left -= 1
            if not call.left:
                call.done.set()
        self.calls = []  # else each holds the other, and both the picture

    def result(self) -> Result | ExpertError:
        assert self._answer is not None
        return self._answer
