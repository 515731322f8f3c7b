"""Warning of a thing once."""

from __future__ import annotations

import logging
import threading

__all__ = ["WarnOnce"]

MOST = 1024


class WarnOnce:
    """Logs a warning the first time that something gives reason to it; of so many things at most. Thread-safe."""

    def __init__(self, logger: str) -> None:
        """Warn through the logger of this name."""
        self._log = logging.getLogger(logger)
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, thing: str, message: str, *args: object) -> None:
        """Warn unless this thing was warned of before."""
        with self._lock:
            if thing in self._seen or len(self._seen) >= MOST:
                return
            self._seen.add(thing)
        self._log.warning(message, *args)
