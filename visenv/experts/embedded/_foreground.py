"""Which pixels lie on an object: a smooth background model, local texture, and a small learned pixel classifier."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...images import Pixels
from ._tables import Network

__all__ = ["NUM_PIXEL_FEATURES", "foreground", "pixel_features"]

Floats = npt.NDArray[Any]  # float32; OpenCV's stubs do not say
GRID_PX = 64
"""The background is fitted on a grid of at most this many cells a side."""
WAVES = 5
"""Cosines along each axis in the first, global background fit."""
STRIP_PX = 1 << 16
"""The classifier sees about this many pixels at once, to stay in the cache."""
OPPONENT: Floats = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, -0.5, 0], [0.25, 0.25, -0.5]], np.float32) / 64
"""RGB to brightness, red-green and yellow-blue."""
NUM_PIXEL_FEATURES = 27


def _background(small_hw3: Floats) -> tuple[Floats, float, float]:
    """Fit a smooth surface to most of a small picture.

    Iteratively reweighted cosines first, then a local average over what they call background.

    Returns:
        The surface, and the typical distance of background pixels from it in brightness and in chroma.
    """
    height, width = small_hw3.shape[:2]
    rows = np.cos(np.pi * (np.arange(height)[:, None] + 0.5) * np.arange(min(WAVES, height)) / height)
    columns = np.cos(np.pi * (np.arange(width)[:, None] + 0.5) * np.arange(min(WAVES, width)) / width)
    basis = (rows[:, None, :, None] * columns[None, :, None, :]).reshape(height * width, -1).astype(np.float32)
    values = small_hw3.reshape(-1, 3)
    near_edge = np.ones((height, width), np.float32)
    near_edge[2:-2, 2:-2] = 0.4
    prior = near_edge.ravel()
    weights = prior
    ridge = 1e-3 * np.eye(basis.shape[1], dtype=np.float32)
    s_light = s_chroma = 1.0
    for _ in range(6):
        weighted = basis * weights[:, None]
        fit = basis @ np.linalg.solve(weighted.T @ basis + ridge * weights.sum(), weighted.T @ values)
        off = values - fit
        light, chroma = np.abs(off[:, 0]), np.hypot(off[:, 1], off[:, 2])
        s_light, s_chroma = max(0.02, float(np.median(light))), max(0.012, float(np.median(chroma)))
        weights = prior / (1 + (light / (3 * s_light)) ** 2 + (chroma / (3 * s_chroma)) ** 2) ** 2
    keep: Floats = (weights / prior).reshape(height, width).astype(np.float32)
    sigma = max(height, width) / 16
    keep = cv2.erode(keep, np.ones((3, 3), np.uint8))
    total = cv2.GaussianBlur(keep, (0, 0), sigma)
    off_smooth = cv2.GaussianBlur(off.reshape(height, width, 3) * keep[..., None], (0, 0), sigma)
    surface = fit.reshape(height, width, 3) + off_smooth / (total[..., None] + 0.05)
    return surface.astype(np.float32), s_light, s_chroma


def _box(plane: Floats, side: int) -> Floats:
    return cv2.boxFilter(plane, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REFLECT)


def _spread(plane: Floats, side: int, mean: Floats | None = None) -> Floats:
    """Return the local standard deviation over a square window."""
    mean = _box(plane, side) if mean is None else mean
    out = _box(plane * plane, side)
    out -= mean * mean
    return np.sqrt(np.maximum(out, 0, out=out), out=out)


def pixel_features(pixels: Pixels) -> Floats:
    """Return the features of every pixel, ``float32 (NUM_PIXEL_FEATURES, H, W)``.

    Fine ones at full resolution; what looks further than a few pixels at half of it.
    """
    height, width = pixels.shape[:2]
    raw = cv2.transform(pixels.astype(np.float32), OPPONENT)
    step = max(1.0, max(height, width) / GRID_PX)
    small_wh = (max(1, round(width / step)), max(1, round(height / step)))
    surface, s_light, s_chroma = _background(cv2.resize(raw, small_wh, interpolation=cv2.INTER_AREA))
    off = cv2.resize(surface, (width, height), interpolation=cv2.INTER_LINEAR)
    np.subtract(raw, off, out=off)
    out = np.empty((NUM_PIXEL_FEATURES, height, width), np.float32)
    light, red, yellow = cv2.split(off)
    grey = _box(cv2.extractChannel(raw, 0), 3)
    light3 = _box(light, 3)
    chroma3 = cv2.magnitude(_box(red, 3), _box(yellow, 3))
    chroma = cv2.magnitude(red, yellow)
    out[0], out[2], out[3] = light3, chroma3, chroma
    np.abs(light3, out=out[1])
    np.minimum(out[1] / np.float32(s_light + 0.05), 20, out=out[4])
    np.minimum(chroma3 / np.float32(s_chroma + 0.02), 20, out=out[5])
    out[6], out[7], out[8] = s_light, s_chroma, grey
    out[9], out[10] = _spread(light, 3, light3), _spread(chroma, 3)
    gx = cv2.Sobel(grey, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REFLECT)
    gy = cv2.Sobel(grey, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REFLECT)
    edges = cv2.magnitude(gx, gy)
    out[11] = edges
    half_wh = (max(1, (width + 1) // 2), max(1, (height + 1) // 2))
    half = cv2.resize(off, half_wh, interpolation=cv2.INTER_AREA)
    light, red, yellow = cv2.split(half)
    chroma = cv2.magnitude(red, yellow)
    light3, light9, light21 = _box(light, 3), _box(light, 9), _box(light, 21)
    coarse = [
        np.abs(light3), np.abs(light9), np.abs(light21),
        _box(chroma, 3), _box(chroma, 9), _box(chroma, 21),
        _spread(light, 3, light3), _spread(light, 9, light9), _spread(light, 21, light21),
        _spread(chroma, 3), _spread(chroma, 9),
        _box(np.abs(light), 3), _box(cv2.resize(edges, half_wh, interpolation=cv2.INTER_AREA), 3),
        np.abs(light - light9), cv2.magnitude(red - _box(red, 9), yellow - _box(yellow, 9)),
    ]  # fmt: skip
    for k, plane in enumerate(coarse, start=12):
        cv2.resize(plane, (width, height), dst=out[k], interpolation=cv2.INTER_LINEAR)
    return out


def foreground(pixels: Pixels, network: Network) -> Floats:
    """Return the probability of lying on an object for every pixel, ``float32 (H, W)``."""
    height, width = pixels.shape[:2]
    features = pixel_features(pixels).reshape(NUM_PIXEL_FEATURES, -1)
    out = np.empty(height * width, np.float32)
    for start in range(0, out.size, STRIP_PX):
        out[start : start + STRIP_PX] = network(features[:, start : start + STRIP_PX])[0]
    np.clip(out, -30, 30, out=out)
    return (1 / (1 + np.exp(-out))).reshape(height, width)
