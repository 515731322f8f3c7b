"""Decoded pictures that are kept while there is room, for threads that ask for the same ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from visenv.images import Image

__all__ = ["PictureMemory"]


class PictureMemory:
    """Keeps the pictures used last.

    Thread-safe: one that several threads ask for at once is loaded once, and different ones are loaded side by side.
    """

    def __init__(self, limit_bytes: int) -> None:
        """Keep pixels of ``limit_bytes`` at most, but always the picture used last."""
        self._limit = limit_bytes
        self._held: OrderedDict[Path, Image] = OrderedDict()
        self._bytes = 0
        self._loading: dict[Path, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Path, load: Callable[[], Image]) -> Image:
        """Return the picture under a key, loaded if it is not there; what ``load`` raises passes, and nothing is kept."""
        with self._lock:
            found = self._find(key)
            if found is not None:
                return found
            turn = self._loading.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                found = self._find(key)
            if found is not None:  # another thread had the turn before
                return found
            try:
                image = load()
            except BaseException:
                with self._lock:
                    self._loading.pop(key, None)
                raise
            with self._lock:
                self._keep(key, image)
            return image

    def _find(self, key: Path) -> Image | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def _keep(self, key: Path, image: Image) -> None:
        self._loading.pop(key, None)
        if key in self._held:  # put out or failed meanwhile, and loaded twice since
            return
        self._held[key] = image
        self._bytes += image.pixels.nbytes
        while len(self._held) > 1 and self._bytes > self._limit:
            self._bytes -= self._held.popitem(last=False)[1].pixels.nbytes
