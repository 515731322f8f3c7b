"""Foreground, neighbours' colours and GrabCut around a prompt, with clicks that are always honoured."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...answers import Box
from ...images import Image
from ...masks import Bool2D, Mask
from .._protocol import Capability, Request, Result, Segmentation, SegmentRequest
from ._analysis import INPUT_PX, Analyser
from ._batch import BatchExpert

__all__ = ["EmbeddedSegmenter"]

Floats = npt.NDArray[Any]  # float32; OpenCV's stubs do not say
Bytes = npt.NDArray[Any]  # uint8
CROP_PX = 256
"""The longer side of what is worked on; larger crops are shrunk."""
MARGIN = 0.25
WINDOW_MARGIN_PX, WINDOW_STEP_PX = 128, 64
"""Of the window that is cut out of large pictures; steps let neighbouring prompts share one."""
BINS = 8
OWN_BIAS = 0.25
"""How much likelier than a neighbour's a pixel inside the box is at first, log-odds."""
SPECK = 0.08
"""Separate pieces smaller than this share of the largest are dropped."""
TOLERANCE = 10
"""A click takes connected pixels along whose colours differ by at most this, grey levels."""


class EmbeddedSegmenter(BatchExpert):
    """Segments one object from a box, clicks, a previous mask, or any mix of them.

    The start is a learned foreground, inside the box and less what has the colours of neighbours that
    reach out of it; GrabCut where that foreground says nothing. Each click that the mask contradicts turns the wrong
    region around it over: as far as the nearest edge of the mask, and on to connected pixels of the same colour.
    """

    name = "embedded-segmenter"
    version = "2"
    capabilities: frozenset[Capability] = frozenset({"segment"})

    def __init__(self, *, threads: int | None = None, analyser: Analyser | None = None) -> None:
        """Segment with an analyser of its own, or with one shared with a detector."""
        super().__init__(threads=threads)
        self.analyser = analyser or Analyser()
        learned = self.analyser.tables.sha256 + self.analyser.network.sha256  # the network says what is under a click
        self.weights_hash = hashlib.sha256(learned.encode()).hexdigest()
        if self.analyser.input_px != INPUT_PX:
            self.version += f"-input{self.analyser.input_px}"

    def answer(self, request: Request) -> Result:
        """Segment one object."""
        assert isinstance(request, SegmentRequest)
        image = request.image
        if max(image.size_wh) > INPUT_PX:
            return self._in_window(request)
        width, height = image.size_wh
        clicks = [
            (min(width - 1, max(0, int(x))), min(height - 1, max(0, int(y))), positive)
            for (x, y), positive in zip(request.points_xy, request.points_positive, strict=True)
        ]
        box = self._start_box(image, request.box_xyxy, request.previous, clicks)
        if box is None:
            return Segmentation(mask=Mask.empty((height, width)), score=0.0)
        part, origin, score = self._cut(image, box, request.previous, clicks)
        return Segmentation(mask=Mask.from_crop(part, origin, (height, width)), score=score)

    def _in_window(self, request: SegmentRequest) -> Segmentation:
        """Segment in a window of a large picture around the prompt, where the foreground is seen at full size."""
        width, height = request.image.size_wh
        corners = [request.box_xyxy] if request.box_xyxy is not None else []
        if not corners and request.previous is not None and request.previous.area_px:
            corners = [request.previous.box_xyxy]
        corners += [
            (px, py, px + 1, py + 1)
            for x, y in request.points_xy
            for px, py in [(min(max(x, 0), width - 1), min(max(y, 0), height - 1))]
        ]
        if not corners:
            return Segmentation(mask=Mask.empty((height, width)), score=0.0)
        whole = np.array(corners)
        low, high = whole[:, :2].min(0), whole[:, 2:].max(0)
        x1, y1 = (int(max(0, v) // WINDOW_STEP_PX * WINDOW_STEP_PX) for v in low - WINDOW_MARGIN_PX)
        x2, y2 = (-int(-v // WINDOW_STEP_PX) * WINDOW_STEP_PX for v in high + WINDOW_MARGIN_PX)
        x2, y2 = min(x2, width), min(y2, height)
        if max(x2 - x1, y2 - y1) > INPUT_PX:  # a large thing in a large picture: look at all of it, smaller
            scale = INPUT_PX / max(width, height)
            small: Bytes = cv2.resize(
                request.image.pixels,
                (max(1, int(width * scale)), max(1, int(height * scale))),
                interpolation=cv2.INTER_AREA,
            )
            across, down = small.shape[1] / width, small.shape[0] / height
            matrix = np.array([[across, 0, 0], [0, down, 0]])
        else:
            small = request.image.pixels[y1:y2, x1:x2]
            across = down = 1.0
            matrix = np.array([[1.0, 0, -x1], [0, 1.0, -y1]])
        shape = (small.shape[0], small.shape[1])

        def moved(x: float, y: float) -> tuple[float, float]:
            return across * x + matrix[0, 2], down * y + matrix[1, 2]

        box = request.box_xyxy
        inner = replace(
            request, image=Image(small.copy()), box_xyxy=None if box is None else (*moved(*box[:2]), *moved(*box[2:])),
            points_xy=tuple(moved(x, y) for x, y in request.points_xy),
            previous=None if request.previous is None else request.previous.warp(matrix, shape),
        )  # fmt: skip
        found = self.answer(inner)
        assert isinstance(found, Segmentation)
        back = np.array([[1 / across, 0, -matrix[0, 2] / across], [0, 1 / down, -matrix[1, 2] / down]])
        return Segmentation(mask=found.mask.warp(back, (height, width)), score=found.score)

    def _start_box(
        self, image: Image, box: Box | None, previous: Mask | None, clicks: list[tuple[int, int, bool]]
    ) -> tuple[int, int, int, int] | None:
        """Return the box to look into, whole pixels inside the picture."""
        width, height = image.size_wh
        found: list[tuple[float, float, float, float]] = []
        if box is not None:
            found.append(box)
        elif previous is not None and previous.area_px:
            found.append(previous.box_xyxy)
        on = [(x, y) for x, y, positive in clicks if positive]
        if not found:
            if not on:
                return None
            found.append(self._box_at(image, on))
        found += [(x - 1, y - 1, x + 2, y + 2) for x, y in on]
        whole = np.array(found)
        x1, y1 = np.floor(whole[:, :2].min(0)).astype(int).tolist()
        x2, y2 = np.ceil(whole[:, 2:].max(0)).astype(int).tolist()
        x1, y1, x2, y2 = max(0, x1), max(0, y1), min(width, x2), min(height, y2)
        return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None

    def _box_at(self, image: Image, on: list[tuple[int, int]]) -> tuple[float, float, float, float]:
        """Return the likeliest object box that holds most of the clicks, or a small box around them."""
        found = self.analyser.candidates(image)
        spots = np.array(on, np.float32) + 0.5
        if len(found.boxes):
            boxes = found.boxes
            inside = ((spots[None] > boxes[:, None, :2]) & (spots[None] < boxes[:, None, 2:])).all(2).mean(1)
            off = np.abs(spots.mean(0) - (boxes[:, :2] + boxes[:, 2:]) / 2) / (boxes[:, 2:] - boxes[:, :2])
            value = inside * (found.best + 0.05) * (1.5 - off.max(1).clip(0, 0.5))
            best = int(value.argmax())
            if inside[best] > 0:
                x1, y1, x2, y2 = (float(v) for v in boxes[best])
                return x1, y1, x2, y2
        half = max(8.0, max(image.size_wh) / 24)
        (x1, y1), (x2, y2) = spots.min(0) - half, spots.max(0) + half
        return float(x1), float(y1), float(x2), float(y2)

    def _cut(
        self, image: Image, box: tuple[int, int, int, int], previous: Mask | None, clicks: list[tuple[int, int, bool]]
    ) -> tuple[Bool2D, tuple[int, int], float]:
        """Return the mask of a crop, the crop's corner and a confidence."""
        width, height = image.size_wh
        x1, y1, x2, y2 = box
        pad = round(MARGIN * max(x2 - x1, y2 - y1)) + 4
        left, top, right, bottom = max(0, x1 - pad), max(0, y1 - pad), min(width, x2 + pad), min(height, y2 + pad)
        pixels = image.pixels[top:bottom, left:right]
        probability = self._probability(image, (left, top, right, bottom))
        scale = min(1.0, CROP_PX / max(pixels.shape[:2]))
        small_wh = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        small: Bytes = np.ascontiguousarray(pixels)
        if scale < 1:
            small = cv2.resize(pixels, small_wh, interpolation=cv2.INTER_AREA)
        fore = cv2.resize(probability, small_wh, interpolation=cv2.INTER_AREA)
        start: Bool2D | None = None
        if previous is not None and previous.size_hw == (height, width):
            dense = previous.to_dense()[top:bottom, left:right].view(np.uint8)
            start = cv2.resize(dense * np.uint8(255), small_wh, interpolation=cv2.INTER_AREA) > 127
            start = start if start.any() else None
        across, down = small_wh[0] / pixels.shape[1], small_wh[1] / pixels.shape[0]
        inner = [
            max(0, int((x1 - left) * across)),
            max(0, int((y1 - top) * down)),
            min(small_wh[0], math.ceil((x2 - left) * across)),
            min(small_wh[1], math.ceil((y2 - top) * down)),
        ]
        near = [(x - left, y - top, positive) for x, y, positive in clicks if left <= x < right and top <= y < bottom]
        spots = [
            (min(small_wh[0] - 1, int(x * across)), min(small_wh[1] - 1, int(y * down)), positive)
            for x, y, positive in near
        ]
        cut = start if start is not None else first_guess(small, fore, inner)
        for spot in spots:
            cut = turn_over(cut, small, fore, inner, spot)
        if scale < 1:
            full_wh = (pixels.shape[1], pixels.shape[0])
            mask = cv2.resize(cut.astype(np.float32), full_wh, interpolation=cv2.INTER_LINEAR) > 0.5
        else:
            mask = cut.copy()
        for x, y, positive in near:  # the last word
            mask[y, x] = positive
        inside = probability[mask]
        score = float(inside.mean()) if inside.size else 0.0
        return mask, (left, top), round(score, 4)

    def _probability(self, image: Image, crop: tuple[int, int, int, int]) -> Floats:
        """Return the foreground model's view of a crop, at the picture's own size."""
        whole = self.analyser.foreground(image)
        left, top, right, bottom = crop
        sx, sy = whole.shape[1] / image.size_wh[0], whole.shape[0] / image.size_wh[1]
        if sx == sy == 1:
            return whole[top:bottom, left:right]
        y, x = min(int(top * sy), whole.shape[0] - 1), min(int(left * sx), whole.shape[1] - 1)
        part = whole[y : max(y + 1, int(np.ceil(bottom * sy))), x : max(x + 1, int(np.ceil(right * sx)))]
        return cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)

    def close(self) -> None:
        """Forget the analysed pictures."""
        self.analyser.clear()


def _within(mask: Bool2D, box: list[int]) -> Bool2D:
    x1, y1, x2, y2 = box
    out = np.zeros_like(mask)
    out[y1:y2, x1:x2] = mask[y1:y2, x1:x2]
    return out


def _softened(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Smooth a colour histogram over neighbouring bins and make it a density."""
    cube = counts.reshape(BINS, BINS, BINS)
    for axis in range(3):
        low = np.concatenate([cube.take([0], axis), cube.take(range(BINS - 1), axis)], axis)
        high = np.concatenate([cube.take(range(1, BINS), axis), cube.take([BINS - 1], axis)], axis)
        cube = low / 4 + cube / 2 + high / 4
    out: npt.NDArray[Any] = cube.ravel() / max(cube.sum(), 1e-9)
    return out


def first_guess(pixels: Bytes, fore: Floats, inner_xyxy: list[int]) -> Bool2D:
    """Segment what a box holds.

    Args:
        pixels: A crop around the box, ``uint8 (H, W, 3)``.
        fore: Probability of any object, ``(H, W)``.
        inner_xyxy: The box in the crop.
    """
    x1, y1, x2, y2 = inner_xyxy
    solid = fore > 0.5
    inner = _within(solid, inner_xyxy)
    share = np.count_nonzero(inner) / max(1, (x2 - x1) * (y2 - y1))
    if share < 0.1 or (share > 0.97 and solid.mean() > 0.9):
        return _grab_cut(pixels, inner_xyxy)
    outer = solid & ~_within(np.ones_like(solid), inner_xyxy)
    if np.count_nonzero(outer) < 12:
        return inner
    height, width = fore.shape
    across = np.abs((np.arange(width) + 0.5 - (x1 + x2) / 2) * 2 / (x2 - x1))
    down = np.abs((np.arange(height) + 0.5 - (y1 + y2) / 2) * 2 / (y2 - y1))
    radius = np.hypot(across[None], down[:, None])
    levels = (pixels >> 5).astype(np.int64)
    bins = (levels[..., 0] * BINS + levels[..., 1]) * BINS + levels[..., 2]
    central = np.exp(-1.5 * radius[inner] ** 2)
    own = _softened(np.bincount(bins[inner], central, BINS**3))
    others = _softened(np.bincount(bins[outer], minlength=BINS**3).astype(np.float64))
    odds = np.log(own + 2e-3) - np.log(others + 2e-3)
    value: Floats = np.where(solid, odds[bins] + OWN_BIAS + (1 - radius), 0).astype(np.float32)
    value = cv2.GaussianBlur(value, (0, 0), max(1.0, 0.04 * max(x2 - x1, y2 - y1)))
    kept = inner & (value > 0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(kept.view(np.uint8), connectivity=4)
    if count > 2:
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        kept &= (areas >= SPECK * areas.max())[labels]
    return kept if kept.any() else inner


def _grab_cut(pixels: Bytes, inner_xyxy: list[int]) -> Bool2D:
    """Run GrabCut from a box. The same input gives the same mask in any thread."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = inner_xyxy
    state = np.full((height, width), cv2.GC_BGD, np.uint8)
    state[y1:y2, x1:x2] = cv2.GC_PR_FGD
    on = np.asarray(state == cv2.GC_PR_FGD)
    if min(np.count_nonzero(on), np.count_nonzero(~on)) < 12 or min(height, width) < 4:
        return on
    cv2.setRNGSeed(1)  # of this thread: the k-means inside GrabCut draws from it
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(pixels), state, (0, 0, 1, 1), *models, 2, cv2.GC_INIT_WITH_MASK)
    cut = np.asarray((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD))
    return cut if cut.any() else on


def turn_over(mask: Bool2D, pixels: Bytes, fore: Floats, inner_xyxy: list[int], spot: tuple[int, int, bool]) -> Bool2D:
    """Correct a mask around one click; nothing changes when it agrees already."""
    x, y, positive = spot
    if mask[y, x] == positive:
        return mask
    wrong = mask != positive
    if positive and fore[y, x] > 0.4:
        wrong &= fore > 0.25
        wrong[y, x] = True
    _, labels = cv2.connectedComponents(wrong.view(np.uint8), connectivity=4)
    region = labels == labels[y, x]
    depth = cv2.distanceTransform(np.pad(region.view(np.uint8), 1), cv2.DIST_L2, 5)[y + 1, x + 1]
    x1, y1, x2, y2 = inner_xyxy
    reach = max(1.5, float(depth))
    if positive:
        reach = max(1.5, min(reach, 0.25 * max(x2 - x1, y2 - y1)))
    turned: Bytes = np.zeros(mask.shape, np.uint8)
    cv2.circle(turned, (x, y), round(reach), 1, -1)
    visited = np.ones((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    visited[1:-1, 1:-1] = ~region
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (2 << 8)
    cv2.floodFill(cv2.blur(pixels, (3, 3)), visited, (x, y), 0, (TOLERANCE,) * 3, (TOLERANCE,) * 3, flags)
    flooded = visited[1:-1, 1:-1] == 2
    if positive:
        flooded = _within(flooded, [max(0, x1 - 3), max(0, y1 - 3), x2 + 3, y2 + 3])
    turned |= flooded
    turned = cv2.morphologyEx(turned, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.where((turned > 0) & region, positive, mask)
