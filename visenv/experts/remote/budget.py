"""How much all calls in flight may hold together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ...errors import TemporaryExpertError

__all__ = ["Budget"]


class Budget:
    """Bytes that are given out while there are some. Thread-safe."""

    def __init__(self, *, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.num_bytes = 0
        """Given out now."""
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def hold(self, num_bytes: int) -> Iterator[None]:
        """Have so many while the body of the ``with`` runs.

        Raises:
            TemporaryExpertError: Others have too many just now.
        """
        with self._lock:
            if self.num_bytes + num_bytes > self.limit_bytes:
                raise TemporaryExpertError("too many pixels at once")
            self.num_bytes += num_bytes
        try:
            yield
        finally:
            with self._lock:
                self.num_bytes -= num_bytes
