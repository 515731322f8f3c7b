"""One thread for BLAS and OpenCV while the experts compute.

With several, both split sums by how many threads are free, and results differ in the last digits from call to call. The
experts use the cores by answering several requests of a batch at once instead.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

import cv2
from threadpoolctl import ThreadpoolController

__all__ = ["ONE_THREAD"]


class _OneThread:
    """A context that any number of threads may be in; the first to enter sets the limits, the last to leave lifts them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._controller: Any = None
        self._limit: Any = None
        self._opencv = 1

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._controller = self._controller or ThreadpoolController()
                self._limit = self._controller.limit(limits=1, user_api="blas")
                self._opencv = cv2.getNumThreads()
                cv2.setNumThreads(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.restore_original_limits()
                cv2.setNumThreads(self._opencv)


ONE_THREAD = _OneThread()
"""Enter it around everything whose numbers are shown or kept."""
