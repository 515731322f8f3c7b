"""The latest results of experts in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from ._check import num_bytes
from ._protocol import Result

__all__ = ["CACHE_BYTES", "Key", "ResultCache"]

Key = tuple[Any, ...]
"""An expert's identity, and the key of a request."""
CACHE_BYTES = 256 * 2**20
"""What remembered results and their keys may hold in memory."""


class ResultCache:
    """The latest results, bounded in number and in bytes. Thread-safe."""

    def __init__(self, *, limit: int = 4096, limit_bytes: int = CACHE_BYTES) -> None:
        self.limit = limit
        self.limit_bytes = limit_bytes
        self._kept: OrderedDict[Key, tuple[Result, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """An estimate of what the results hold."""
        return self._bytes

    def get(self, key: Key) -> Result | None:
        """Return a result, ``None`` when it is not there."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Key, result: Result) -> None:
        """Keep a result, the oldest ones making room."""
        size = num_bytes(key) + num_bytes(result)
        with self._lock:
            _, before = self._kept.pop(key, (None, 0))
            self._kept[key] = result, size
            self._bytes += size - before
            while len(self._kept) > self.limit or self._bytes > self.limit_bytes:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed
