"""The pictures that a server keeps, so that a client sends each once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from ...images import Image

__all__ = ["Pictures"]


class Pictures:
    """The latest pictures by hash, bounded by their bytes. Thread-safe."""

    def __init__(self, *, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.num_bytes = 0
        self._kept: OrderedDict[str, Image] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, hashes: Iterable[str]) -> dict[str, Image]:
        """Return those that are here."""
        found: dict[str, Image] = {}
        with self._lock:
            for name in hashes:
                if name in self._kept:
                    self._kept.move_to_end(name)
                    found[name] = self._kept[name]
        return found

    def keep(self, images: Iterable[Image]) -> None:
        """Keep pictures, and let go of those asked for longest ago; one that is larger than all room is not kept."""
        named = {image.hash: image for image in images}  # hashed outside the lock
        with self._lock:
            for name, image in named.items():
                if name in self._kept or image.pixels.nbytes > self.limit_bytes:
                    continue
                self._kept[name] = image
                self.num_bytes += image.pixels.nbytes
            while self.num_bytes > self.limit_bytes:
                _, oldest = self._kept.popitem(last=False)
                self.num_bytes -= oldest.pixels.nbytes

    def __len__(self) -> int:
        return len(self._kept)
