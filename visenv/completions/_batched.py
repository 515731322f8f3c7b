"""Prompts of many episodes, answered together by a model in this process."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from abc import abstractmethod
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future

from ..errors import say
from ..experts.running import ran_out_of_memory
from ._protocol import Completer, Completion, CompletionError, CompletionRequest

__all__ = ["BatchedCompleter"]

LOWERED_S = 600.0
"""How long batches stay below what did not fit; what filled the memory may have been somebody else's."""
CLOSING_S = 5.0
"""Longest wait for what is under way at the end."""


class BatchedCompleter(Completer):
    """Answers coroutines in one thread of its own; what waits goes out together.

    A batch waits a moment for as many prompts as the last one had. One that runs out of memory, or fails, is halved until what
    fails stands alone, so an error is of one prompt.
    """

    def __init__(self, *, identity: str, batch_size: int, gather_s: float = 0.1) -> None:
        """Start the thread; :meth:`aclose` ends it.

        Args:
            identity: What replies depend on beside the request.
            batch_size: Most prompts at a time.
            gather_s: Longest wait for company before a batch goes out.
        """
        self.identity = identity
        self._batch_size = batch_size
        self._gather_s = gather_s
        self._arrival = threading.Condition()
        self._waiting: deque[tuple[CompletionRequest, Future[Completion]]] = deque()
        self._company = batch_size
        self._lowered = (batch_size, 0.0)
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=type(self).__name__, daemon=True)
        self._thread.start()

    async def complete(self, request: CompletionRequest) -> Completion:
        """Return the reply to a prompt, after others if there are many.

        Raises:
            CompletionError: The model could not be run on it, or is closed.
        """
        future: Future[Completion] = Future()
        with self._arrival:
            if self._closed:
                raise self._closing()
            self._waiting.append((request, future))
            self._arrival.notify()
        return await asyncio.wrap_future(future)

    async def aclose(self) -> None:
        """Refuse what waits, end the thread and let go of the model."""
        with self._arrival:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._arrival.notify()
        for _, future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._closing())
        await asyncio.to_thread(self._thread.join, CLOSING_S)

    @abstractmethod
    def _answer(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Return the reply to each of some requests that :meth:`_kind` finds equal; called in the thread."""

    def _kind(self, request: CompletionRequest) -> Hashable:
        """Return what requests of one batch have in common."""
        return None

    def _free_memory(self) -> None:
        """Give back what the model holds without need, before a smaller batch is tried."""

    def _release(self) -> None:
        """Let go of the model; called in the thread, as its last act."""

    def _closing(self) -> CompletionError:
        return CompletionError(f"{self.identity} is closed to further prompts.")

    def _work(self) -> None:
        while batch := self._take():
            answers, _ = self._run([request for request, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if isinstance(answer, Completion):
                    future.set_result(answer)
                else:
                    future.set_exception(answer)
            del batch, answers  # not to hold their pictures until the next ones come
        self._release()

    def _take(self) -> list[tuple[CompletionRequest, Future[Completion]]]:
        """Wait for prompts and return the next batch; none when closed."""
        with self._arrival:
            while not self._closed:
                if not self._waiting:
                    self._arrival.wait()
                    continue
                self._gather()
                batch = self._pop()
                self._company = max(1, len(batch))
                live = [one for one in batch if one[1].set_running_or_notify_cancel()]
                if live:  # else whoever asked has given up
                    return live
            return []

    def _gather(self) -> None:
        until = time.monotonic() + self._gather_s
        while len(self._waiting) < self._company and not self._closed:
            if not self._arrival.wait(max(0.0, until - time.monotonic())):
                return

    def _pop(self) -> list[tuple[CompletionRequest, Future[Completion]]]:
        """Take the prompt that waits longest, and others of its kind, in order."""
        size, until = self._lowered
        most = size if time.monotonic() < until else self._batch_size
        batch: list[tuple[CompletionRequest, Future[Completion]]] = []
        others: deque[tuple[CompletionRequest, Future[Completion]]] = deque()
        for one in self._waiting:
            fits = len(batch) < most and (not batch or self._kind(one[0]) == self._kind(batch[0][0]))
            (batch if fits else others).append(one)
        self._waiting = others
        return batch

    def _run(self, requests: Sequence[CompletionRequest]) -> tuple[list[Completion | CompletionError], bool]:
        """Answer a batch; say also whether memory sufficed for it."""
        try:
            found: list[Completion | CompletionError] = [*self._answer(requests)]
            if len(found) != len(requests):
                raise CompletionError(f"{self.identity} gave {len(found)} replies to {len(requests)} prompts.")
            return found, True
        except BaseException as error:  # the boundary to the model's code; this thread must go on
            full = ran_out_of_memory(error)
            traceback.clear_frames(error.__traceback__)  # they hold what filled the memory
            failure = error if isinstance(error, CompletionError) else self._word(error)
        if full:
            self._free_memory()
        if len(requests) == 1:
            return [failure], not full
        half = len(requests) // 2
        parts = [self._run(part) for part in (requests[:half], requests[half:])]
        fitted = all(fits for _, fits in parts)
        if full and fitted:  # else it may be one prompt that does not fit, and no matter of batches
            self._lowered = (half, time.monotonic() + LOWERED_S)
        return [answer for answers, _ in parts for answer in answers], fitted and not full

    def _word(self, error: BaseException) -> CompletionError:
        worded = CompletionError(f"{self.identity} failed: {say(error)}")
        worded.__cause__ = error
        return worded
