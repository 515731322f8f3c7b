"""What the detector and the segmenter know about a picture, computed once: foreground, boxes, names."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ...images import Image, Pixels
from ._foreground import foreground
from ._regions import describe, masked_picture, propose, windows
from ._tables import Tables, load_tables
from .names import categories

__all__ = ["INPUT_PX", "Analyser", "Candidates", "find_candidates", "non_maximum", "read_output"]

T = TypeVar("T")
Floats = npt.NDArray[Any]  # float32; OpenCV's stubs do not say
INPUT_PX = 768
"""Longest side that is looked at; larger pictures are shrunk to it first, as detectors with a fixed input size do."""
MIN_SIDE_PX = 8
CHUNK = 1024
KEEP = 0.02
MAX_OVERLAP = 0.5
MAX_INSIDE = 0.7
SURE = 0.5
INSET = 0.1
WINDOWS, WINDOWS_PER_PX = 80, 40 / 512**2


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything found in a picture."""

    boxes: Floats
    """``(N, 4)``, pixels, half-open."""
    probabilities: Floats
    """``(N, categories)``: that the box is right and shows this."""

    @property
    def best(self) -> Floats:
        """The highest probability of each box."""
        return np.asarray(self.probabilities.max(1, initial=0))


def _scores(tables: Tables, picture: npt.NDArray[np.uint8], boxes: Floats) -> tuple[Floats, Floats, Floats]:
    """Return class probabilities without background, box quality, and moved boxes."""
    columns = [
        tables.region(np.ascontiguousarray(describe(picture, boxes[k : k + CHUNK]).T)).T
        for k in range(0, len(boxes), CHUNK)
    ]
    out = np.concatenate(columns) if columns else np.zeros((0, len(categories()) + 6), np.float32)
    return read_output(out, boxes, picture.shape[:2])


def read_output(out: Floats, boxes: Floats, shape_hw: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Split the region network's output."""
    names = len(categories())
    logits = out[:, : names + 1] - out[:, : names + 1].max(1, keepdims=True)
    odds = np.exp(logits)
    odds /= odds.sum(1, keepdims=True)
    quality = 1 / (1 + np.exp(-out[:, names + 1].clip(-30, 30)))
    scale = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True, initial=1)
    moved = boxes + out[:, names + 2 :].clip(-0.5, 0.5) * scale
    moved[:, 0::2] = moved[:, 0::2].clip(0, shape_hw[1])
    moved[:, 1::2] = moved[:, 1::2].clip(0, shape_hw[0])
    bad = (moved[:, 2:] - moved[:, :2]).min(1, initial=99) < 4
    moved[bad] = boxes[bad]
    return odds[:, :names], quality, moved


def _overlaps(box: Floats, others: Floats) -> Floats:
    span = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(span, 0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    return np.asarray(shared / np.maximum((box[2:] - box[:2]).prod() + areas - shared, 1e-6))


def non_maximum(boxes: Floats, scores: Floats, max_overlap: float) -> npt.NDArray[np.int64]:
    """Return the indices of boxes, best first, that overlap no better one by more than ``max_overlap`` IoU."""
    order = np.lexsort((*boxes.T, -scores))
    kept = []
    while len(order):
        first = order[0]
        kept.append(first)
        order = order[1:]
        order = order[_overlaps(boxes[first], boxes[order]) <= max_overlap]
    return np.array(kept, np.int64)


def _not_parts(boxes: Floats, names: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which boxes, best first, do not lie mostly inside a better one of the same name."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    inside = (shared > MAX_INSIDE * areas[:, None]) & (names[:, None] == names[None])
    return np.asarray(~np.tril(inside, -1).any(1))


def shrunk(pixels: Pixels) -> Pixels:
    """Return a picture whose longer side has at most ``INPUT_PX``."""
    height, width = pixels.shape[:2]
    shrink = max(height, width) / INPUT_PX
    if shrink <= 1:
        return pixels
    size_wh = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def find_candidates(pixels: Pixels, probability: Floats, tables: Tables) -> Candidates:
    """Find and name everything in a picture.

    Args:
        pixels: The picture.
        probability: Its foreground, maybe smaller.
        tables: The learned numbers.
    """
    height, width = pixels.shape[:2]
    if min(probability.shape) < MIN_SIDE_PX:
        return Candidates(np.zeros((0, 4), np.float32), np.zeros((0, len(categories())), np.float32))
    pixels = shrunk(pixels)
    picture = masked_picture(pixels, probability)
    boxes, odds, quality = _refined(tables, picture, propose(probability))
    solid = odds.max(1, initial=0) * quality > SURE
    wanted = probability > 0.6
    inset = (boxes[:, 2:] - boxes[:, :2]) * INSET
    cores = np.concatenate([boxes[:, :2] + inset, boxes[:, 2:] - inset], 1)
    for x1, y1, x2, y2 in np.round(cores[solid]).astype(int).tolist():
        wanted[y1:y2, x1:x2] = False
    extra = windows(wanted, probability, WINDOWS + int(WINDOWS_PER_PX * wanted.size))
    if len(extra):
        more = _refined(tables, picture, extra)
        boxes, odds, quality = (np.concatenate(pair) for pair in zip((boxes, odds, quality), more, strict=True))
    joint = odds * quality[:, None]
    best = joint.max(1, initial=0)
    keep = np.flatnonzero(best > KEEP)
    keep = keep[non_maximum(boxes[keep], best[keep], MAX_OVERLAP)]
    keep = keep[_not_parts(boxes[keep], joint[keep].argmax(1))]
    boxes, joint = boxes[keep], joint[keep]
    scale = np.array([width / pixels.shape[1], height / pixels.shape[0]] * 2, np.float32)
    return Candidates(boxes * scale, joint)


def _refined(tables: Tables, picture: npt.NDArray[np.uint8], boxes: Floats) -> tuple[Floats, Floats, Floats]:
    """Move boxes onto what they show, look again, and return boxes, class probabilities and quality."""
    odds, quality, moved = _scores(tables, picture, boxes)
    score = odds.max(1, initial=0) * quality
    keep = np.flatnonzero(score > KEEP)
    keep = keep[non_maximum(moved[keep], score[keep], 0.7)]
    odds2, quality2, boxes = _scores(tables, picture, moved[keep])
    return boxes, (odds[keep] + odds2) / 2, quality2


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

    def __init__(self, *, cache_size: int = 64) -> None:
        """Load the shipped tables."""
        self.tables = load_tables()
        self._foregrounds: _Recent[Floats] = _Recent(min(16, cache_size))
        self._candidates: _Recent[Candidates] = _Recent(cache_size)

    def foreground(self, image: Image) -> Floats:
        """Return the probability of each pixel of :func:`shrunk` to be on an object."""
        return self._foregrounds.get(image.hash, lambda: foreground(shrunk(image.pixels), self.tables.pixel))

    def candidates(self, image: Image) -> Candidates:
        """Return what is in a picture."""
        return self._candidates.get(
            image.hash, lambda: find_candidates(image.pixels, self.foreground(image), self.tables)
        )

    def clear(self) -> None:
        """Forget everything."""
        self._foregrounds.clear()
        self._candidates.clear()
