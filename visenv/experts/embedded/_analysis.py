"""What the detector and the segmenter know about a picture, computed once: foreground, boxes, names."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ...images import Image, Pixels
from ._foreground import foreground
from ._tables import load_tables
from .network import Candidates, DetectorNetwork

__all__ = ["INPUT_PX", "Analyser", "shrunk"]

T = TypeVar("T")
Floats = npt.NDArray[Any]  # float32; OpenCV's stubs do not say
INPUT_PX = 768
"""Longest side that is looked at; larger pictures are shrunk to it first, as detectors with a fixed input size do."""


def shrunk(pixels: Pixels, side_px: int = INPUT_PX) -> Pixels:
    """Return a picture whose longer side has at most ``side_px``."""
    height, width = pixels.shape[:2]
    shrink = max(height, width) / side_px
    if shrink <= 1:
        return pixels
    size_wh = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


class _Recent(Generic[T]):
    """The latest results by key."""

    def __init__(self, size: int) -> None:
        self._items: OrderedDict[str, T] = OrderedDict()
        self._size = size
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:  # whoever comes second for the same key waits for the first
            with self._lock:
                if key in self._items:
                    self._items.move_to_end(key)
                    return self._items[key]
            made = make()
            with self._lock:
                self._items[key] = made
                self._making.pop(key, None)
                while len(self._items) > self._size:
                    self._items.popitem(last=False)
            return made

    def clear(self) -> None:
        with self._lock:
            self._items.clear()


class Analyser:
    """Analyses pictures and remembers the latest: foreground of 16, objects of ``cache_size``. Thread-safe."""

    def __init__(
        self, *, network: DetectorNetwork | None = None, input_px: int = INPUT_PX, cache_size: int = 64
    ) -> None:
        """Load the shipped tables and a network, by default the shipped one, which sees pictures of at most ``input_px``."""
        self.tables = load_tables()
        self.network = network or DetectorNetwork()
        self.input_px = input_px
        self._foregrounds: _Recent[Floats] = _Recent(min(16, cache_size))
        self._candidates: _Recent[Candidates] = _Recent(cache_size)

    def foreground(self, image: Image) -> Floats:
        """Return the probability of each pixel of :func:`shrunk` to be on an object."""
        return self._foregrounds.get(image.hash, lambda: foreground(shrunk(image.pixels), self.tables.pixel))

    def candidates(self, image: Image) -> Candidates:
        """Return what is in a picture."""
        return self._candidates.get(image.hash, lambda: self._find(image.pixels))

    def _find(self, pixels: Pixels) -> Candidates:
        seen = shrunk(pixels, self.input_px)
        found = self.network.find(seen)
        scale = np.array([pixels.shape[1] / seen.shape[1], pixels.shape[0] / seen.shape[0]] * 2, np.float32)
        return Candidates(found.boxes * scale, found.probabilities)

    def clear(self) -> None:
        """Forget everything."""
        self._foregrounds.clear()
        self._candidates.clear()
