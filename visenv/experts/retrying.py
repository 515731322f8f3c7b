"""Asking again, later and later, an expert that cannot answer just now."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import TemporaryExpertError

__all__ = ["ask_patiently"]

T = TypeVar("T")


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
        patience_s: Once so many seconds have passed since the first error the last one is raised; 0 asks once.
        first_wait_s: Wait before the second time; each further one is twice as long, shortened by up to half at random so that
            those who failed together do not come back together. What the expert asks for (``retry_after_s``) is the least.
        longest_wait_s: Of those waits, unless the expert asks for more.
        sleep: Waits so many seconds; an event's ``wait`` can be ended early.
    """
    until: float | None = None
    wait_s = first_wait_s
    while True:
        try:
            return ask()
        except TemporaryExpertError as error:
            now = time.monotonic()
            until = now + patience_s if until is None else until
            left_s = until - now
            if left_s <= 0:
                raise
            wanted_s = max(wait_s * random.uniform(0.5, 1.0), error.retry_after_s or 0.0)
        sleep(min(wanted_s, left_s))
        wait_s = min(2 * wait_s, longest_wait_s)
