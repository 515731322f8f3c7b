"""Boxes that may hold an object, and what they look like."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...images import Pixels

__all__ = ["NUM_DESCRIPTOR", "describe", "distinct", "masked_picture", "propose", "windows"]

Floats = npt.NDArray[Any]  # float32; OpenCV's stubs do not say
Ints = npt.NDArray[Any]  # int32
LEVELS = (0.3, 0.5, 0.75, 0.92)
DEPTHS_PX = (1.5, 2.5, 4.0, 6.0, 9.0, 13.0, 18.0, 25.0)
CUT_LEVELS = (0.5, 0.92)
COARSE_DEPTH_PX = 2.5
MIN_AREA_PX = 40
WINDOWS_PX = (24, 36, 52, 76, 108)
SIDE = 24
BINS = 4
ANGLES = 8
NUM_DESCRIPTOR = (SIDE // 2) ** 2 * 4 + 36 * ANGLES + BINS**3 + 6
MARGIN = 1.12


def _components(mask: npt.NDArray[np.bool_], min_area: float) -> Ints:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)  # twice as fast as 4
    stats = stats[1:][stats[1:, cv2.CC_STAT_AREA] >= min_area]
    boxes: Ints = stats[:, :4].copy()
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def propose(probability: Floats) -> Floats:
    """Return boxes of connected foreground, at several thresholds and cut at necks of several widths.

    Args:
        probability: Foreground, ``(H, W)``.

    Returns:
        ``float32 (N, 4)``, half-open pixels, none nearly the same.
    """
    height, width = probability.shape
    found = []
    smooth = cv2.blur(probability, (3, 3))
    for level in LEVELS:
        mask = smooth > level
        found.append(_components(mask, MIN_AREA_PX))
        if level not in CUT_LEVELS:
            continue
        distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 3)
        step = 1
        for depth in DEPTHS_PX:
            if depth >= COARSE_DEPTH_PX and step == 1:
                distance, step = distance[::2, ::2], 2
            boxes = _components(distance > depth, 3) * step
            if not len(boxes):
                break
            grow = round(depth + 0.5)
            boxes[:, :2] -= grow
            boxes[:, 2:] += grow
            found.append(boxes)
    return distinct(np.concatenate(found), (height, width))


def distinct(boxes: npt.NDArray[Any], shape_hw: tuple[int, int]) -> Floats:
    """Clip boxes to the picture and drop the small and the nearly equal ones."""
    boxes = boxes.astype(np.float32)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, shape_hw[1])
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, shape_hw[0])
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[(sides.min(1, initial=99) >= 6) & (sides.max(1, initial=0) >= 9)]
    sides = boxes[:, 2:] - boxes[:, :2]
    grain = 2.0 ** np.round(np.log2(sides.max(1, keepdims=True, initial=1) / 12))
    _, first = np.unique(np.round(np.concatenate([boxes / grain, grain], 1)), axis=0, return_index=True)
    return boxes[np.sort(first)]


def windows(wanted: npt.NDArray[np.bool_], solid: Floats, limit: int) -> Floats:
    """Return square windows of several sizes over pixels that nothing explains yet.

    Args:
        wanted: The pixels, ``(H, W)``.
        solid: Foreground probability, ``(H, W)``; a window must hold enough of it.
        limit: Most windows.
    """
    height, width = wanted.shape
    total = cv2.integral(solid)
    left = cv2.integral(wanted.astype(np.float32))
    found = []
    for side in WINDOWS_PX:
        step = side // 4
        ys, xs = np.meshgrid(np.arange(-step, height, step), np.arange(-step, width, step), indexing="ij")
        boxes = np.stack([xs, ys, xs + side, ys + side], -1).reshape(-1, 4)
        x1, x2 = boxes[:, 0].clip(0, width), boxes[:, 2].clip(0, width)
        y1, y2 = boxes[:, 1].clip(0, height), boxes[:, 3].clip(0, height)
        share = [(t[y2, x2] - t[y1, x2] - t[y2, x1] + t[y1, x1]) / side**2 for t in (total, left)]
        ok = (share[0] > 0.4) & (share[1] > 0.25)
        found.append(np.concatenate([boxes[ok], share[1][ok, None]], 1))
    merged = np.concatenate(found)
    merged = merged[np.lexsort((merged[:, 0], merged[:, 1], -merged[:, 4]))[:limit]]
    return merged[:, :4].astype(np.float32)


def masked_picture(pixels: Pixels, probability: Floats) -> npt.NDArray[np.uint8]:
    """Return ``uint8 (H, W, 4)``: colours faded to mid-grey off the objects, and the foreground probability."""
    alpha = cv2.convertScaleAbs(probability, alpha=255)
    weight = probability[..., None] * np.float32(0.85) + np.float32(0.15)
    out = np.empty((*alpha.shape, 4), np.uint8)
    faded = (pixels.astype(np.float32) - 128) * weight + 128.5
    out[..., :3] = faded
    out[..., 3] = alpha
    return out


def _crops(picture: npt.NDArray[np.uint8], boxes: Floats) -> npt.NDArray[np.uint8]:
    """Cut a square around each box and shrink it, ``uint8 (N, SIDE, SIDE, 4)``; outside is empty."""
    height, width = picture.shape[:2]
    out = np.empty((len(boxes), SIDE, SIDE, 4), np.uint8)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1) * (MARGIN / 2), 4)
    corners = np.round(np.concatenate([centres - half[:, None], centres + half[:, None]], 1)).astype(int)
    for k, (x1, y1, x2, y2) in enumerate(corners.tolist()):
        left, top, right, bottom = max(0, x1), max(0, y1), min(width, x2), min(height, y2)
        part: npt.NDArray[Any] = picture[top:bottom, left:right]
        if (left, top, right, bottom) != (x1, y1, x2, y2):
            part = cv2.copyMakeBorder(
                part, top - y1, y2 - bottom, left - x1, x2 - right, cv2.BORDER_CONSTANT, value=(128, 128, 128, 0)
            )
        out[k] = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return out


def describe(picture: npt.NDArray[np.uint8], boxes: Floats) -> Floats:
    """Describe what is in each box: colours in place, gradients in place, a colour histogram, the box's own form.

    Args:
        picture: From :func:`masked_picture`.
        boxes: ``(N, 4)``, half-open pixels.

    Returns:
        ``float32 (N, NUM_DESCRIPTOR)``.
    """
    count = len(boxes)
    crops = _crops(picture, boxes).astype(np.float32)
    crops[..., :3] -= 128
    crops /= 128
    rows = crops[:, ::2] + crops[:, 1::2]
    coarse = ((rows[:, :, ::2] + rows[:, :, 1::2]) / 4).reshape(count, -1)
    grey = crops[..., :3] @ np.array([0.3, 0.5, 0.2], np.float32)
    gx, gy = np.zeros_like(grey), np.zeros_like(grey)
    np.subtract(grey[:, :, 2:], grey[:, :, :-2], out=gx[:, :, 1:-1])
    np.subtract(grey[:, 2:], grey[:, :-2], out=gy[:, 1:-1])
    floor = np.sqrt(gx * gx + gy * gy) * np.float32(0.6)
    hog = np.empty((count, 36, ANGLES), np.float32)
    pool = np.repeat(np.eye(6, dtype=np.float32), 4, 0)
    for k in range(ANGLES):
        angle = 2 * np.pi * k / ANGLES
        along = gx * np.float32(np.cos(angle)) + gy * np.float32(np.sin(angle)) - floor
        np.maximum(along, 0, out=along)
        hog[:, :, k] = (along.reshape(-1, SIDE) @ pool).reshape(count, 6, 4, 6).sum(2).reshape(count, 36)
    hog = np.sqrt(hog.reshape(count, -1))
    levels = ((crops[..., :3] + 1) * (BINS / 2 - 0.01)).astype(np.int32)
    bins = (levels[..., 0] * BINS + levels[..., 1]) * BINS + levels[..., 2]
    opaque = crops[..., 3]
    colours = (
        np.bincount((np.arange(count)[:, None, None] * BINS**3 + bins).ravel(), opaque.ravel(), count * BINS**3)
        .reshape(count, -1)
        .astype(np.float32)
    )
    mass = colours.sum(1, keepdims=True)
    colours = np.sqrt(colours / (mass + 1))
    sides = boxes[:, 2:] - boxes[:, :2]
    rim = (opaque[:, 0].mean(1) + opaque[:, -1].mean(1) + opaque[:, :, 0].mean(1) + opaque[:, :, -1].mean(1)) / 4
    form = np.stack([
        np.log(sides[:, 0] / 40), np.log(sides[:, 1] / 40), np.log(sides[:, 0] / sides[:, 1]),
        mass[:, 0] / SIDE**2, rim, opaque[:, 8:16, 8:16].mean((1, 2)),
    ], 1)  # fmt: skip
    return np.concatenate([coarse, hog, colours, form.astype(np.float32)], 1)
