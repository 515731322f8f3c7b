"""Asking again, later and later, what cannot answer just now."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import TemporaryExpertError

__all__ = ["Backoff", "ask_patiently"]

T = TypeVar("T")


class Backoff:
    """How long to wait before asking again; for one question.

    Args:
        patience_s: Once so many seconds have passed since the first error there is no further wait; 0 asks once.
        first_wait_s: Wait before the second time; each further one is twice as long, shortened by up to half at random so that
            those who failed together do not come back together. What the server asks for is the least.
        longest_wait_s: Of those waits, unless the server asks for more.
    """

    def __init__(self, patience_s: float, *, first_wait_s: float = 0.2, longest_wait_s: float = 10.0) -> None:
        self._patience_s, self._wait_s, self._longest_wait_s = patience_s, first_wait_s, longest_wait_s
        self._until: float | None = None

    def next_wait_s(self, retry_after_s: float | None) -> float | None:
        """Return the seconds to wait after an error, ``None`` when patience is over.

        Args:
            retry_after_s: What the server asks for.
        """
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._patience_s
        left_s = self._until - now
        if left_s <= 0:
            return None
        wanted_s = max(self._wait_s * random.uniform(0.5, 1.0), retry_after_s or 0.0)
        self._wait_s = min(2 * self._wait_s, self._longest_wait_s)
        return min(wanted_s, left_s)


def ask_patiently(
    ask: Callable[[], T],
    *,
    patience_s: float,
    first_wait_s: float = 0.2,
    longest_wait_s: float = 10.0,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Call ``ask`` until it does not raise :class:`~visenv.errors.TemporaryExpertError`, and return what it returns.

    For experts that reach their model over a network: they know how long a restart takes. Whoever runs an expert does not
    ask again; the runner plays an episode again whose expert failed, after this has given up.

    Args:
        ask: Asks once, with a time limit of its own.
        patience_s: See :class:`Backoff`, as the two that follow. The last error is raised when it is over.
        first_wait_s: Before the second time.
        longest_wait_s: Between two times.
        sleep: Waits so many seconds; an event's ``wait`` can be ended early.
    """
    backoff = Backoff(patience_s, first_wait_s=first_wait_s, longest_wait_s=longest_wait_s)
    while True:
        try:
            return ask()
        except TemporaryExpertError as error:
            wait_s = backoff.next_wait_s(error.retry_after_s)
            if wait_s is None:
                raise
        sleep(wait_s)
