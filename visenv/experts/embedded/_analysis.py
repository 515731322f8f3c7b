"""What the detector and the segmenter know about a picture, computed once: foreground, boxes, names."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...images import Image, Pixels
from ..embeddings import EmbeddingCache
from ._foreground import foreground
from ._tables import load_tables
from .network import Candidates, DetectorNetwork

__all__ = ["INPUT_PX", "Analyser", "shrunk"]

Floats = npt.NDArray[Any]  # float32; OpenCV's stubs do not say
INPUT_PX = 768
"""Longest side that is looked at; larger pictures are shrunk to it first, as detectors with a fixed input size do."""
FOREGROUND_BYTES, CANDIDATES_BYTES = 48 * 2**20, 32 * 2**20
"""What is kept: the foreground of twenty pictures of 768 px, the objects of a thousand slices of 512 px."""


def shrunk(pixels: Pixels, side_px: int = INPUT_PX) -> Pixels:
    """Return a picture whose longer side has at most ``side_px``."""
    height, width = pixels.shape[:2]
    shrink = max(height, width) / side_px
    if shrink <= 1:
        return pixels
    size_wh = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


class Analyser:
    """Analyses pictures and remembers the latest, bounded by bytes. Thread-safe."""

    def __init__(self, *, network: DetectorNetwork | None = None, input_px: int = INPUT_PX) -> None:
        """Load the shipped tables and a network, by default the shipped one, which sees pictures of at most ``input_px``."""
        self.tables = load_tables()
        self.network = network or DetectorNetwork()
        self.input_px = input_px
        self._foregrounds: EmbeddingCache[Floats] = EmbeddingCache(
            limit_bytes=FOREGROUND_BYTES, size_of=lambda floats: floats.nbytes
        )
        self._candidates: EmbeddingCache[Candidates] = EmbeddingCache(
            limit_bytes=CANDIDATES_BYTES,
            size_of=lambda found: found.boxes.nbytes + found.probabilities.nbytes,
        )

    def foreground(self, image: Image) -> Floats:
        """Return the probability of each pixel of :func:`shrunk` to be on an object."""
        return self._foregrounds.get(
            [image], lambda images: [foreground(shrunk(i.pixels), self.tables.pixel) for i in images]
        )[0]

    def candidates(self, image: Image) -> Candidates:
        """Return what is in a picture."""
        return self._candidates.get([image], lambda images: [self._find(i.pixels) for i in images])[0]

    def _find(self, pixels: Pixels) -> Candidates:
        seen = shrunk(pixels, self.input_px)
        found = self.network.find(seen)
        scale = np.array([pixels.shape[1] / seen.shape[1], pixels.shape[0] / seen.shape[0]] * 2, np.float32)
        return Candidates(found.boxes * scale, found.probabilities)

    def clear(self) -> None:
        """Forget everything."""
        self._foregrounds.clear()
        self._candidates.clear()
