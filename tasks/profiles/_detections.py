"""What the profiles with average precision share: matching, and rows of integers that keep all that the curves need.

A row has parallel lists, one entry for each category of the image: ``categories`` (a number for each name), ``truths``,
and for the detections, best first, ``scores`` (:func:`score_key`), ``hits`` and ``ignored``: whole numbers whose bit ``k``
says what a detection is at the k-th threshold. So curves over all images come from rows alone.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from visenv.answers import Answer, Box

__all__ = [
    "THRESHOLDS",
    "Floats",
    "best_pairs",
    "by_content",
    "category_key",
    "labelled",
    "match",
    "overlaps",
    "score_key",
    "to_bits",
]

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def match(
    values: Floats, ignored: Bools, reusable: Bools, thresholds: Sequence[float] = THRESHOLDS
) -> tuple[Bools, Bools]:
    """Give each detection, best score first, the free true box of the highest value, at all thresholds side by side.

    Ordinary true boxes come before ignored ones, whatever the values; of equal values the last box wins.

    Args:
        values: Overlap of detections and true boxes, ``(N, M)``.
        ignored: True boxes that count neither as found nor as missed, ``(M,)``.
        reusable: True boxes that any number of detections may have, ``(M,)``.
        thresholds: Least values, ``T`` of them.

    Returns:
        Whether each detection found an ordinary box, and whether it found an ignored one, ``(N, T)`` each.
    """
    least = np.asarray(thresholds)
    hits, spared = (np.zeros((len(values), len(least)), bool) for _ in range(2))
    if not values.size:
        return hits, spared
    steps = np.arange(len(least))
    kinds = [(np.flatnonzero(~ignored)[::-1], hits), (np.flatnonzero(ignored)[::-1], spared)]
    free = np.ones((len(least), len(ignored)), bool)
    candidates = np.flatnonzero(values.max(1) >= least.min())
    for detection in candidates:
        waiting = np.ones(len(least), bool)
        for columns, out in kinds:
            if not len(columns):
                continue
            line = np.where(free[:, columns], values[detection, columns], -1.0)
            best = line.argmax(1)
            found = waiting & (line[steps, best] >= least)
            out[detection] = found
            waiting &= ~found
            taken = found & ~reusable[columns[best]]
            free[steps[taken], columns[best[taken]]] = False
    return hits, spared


def best_pairs(values: npt.NDArray[np.floating[Any]], least: float) -> list[float]:
    """Return the values of the pairs that are made when the best of all free ones is taken again and again, down to ``least``.

    Among equal values the first row comes first, then the first column.
    """
    rows, columns = (values >= least).nonzero()
    used: tuple[set[int], set[int]] = (set(), set())
    made: list[float] = []
    for place in np.argsort(-values[rows, columns], kind="stable").tolist():
        i, j = int(rows[place]), int(columns[place])
        if i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            made.append(float(values[i, j]))
    return made


def overlaps(detected: Sequence[Box], truth: Sequence[Box], own_area: Bools, *, decimals: int | None = None) -> Floats:
    """Return IoU ``(N, M)``; for true boxes with ``own_area``, the share of the detection inside them instead.

    Args:
        detected: Boxes that were found.
        truth: True boxes.
        own_area: A flag for each true box.
        decimals: To which widths and heights are rounded before they make areas; none are by default.
    """
    a, b = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (detected, truth))
    span = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inter = np.clip(span, 0, None).prod(2)
    sides = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    area, true_area = (v.prod(1) if decimals is None else v.round(decimals).prod(1) for v in sides)
    whole = area[:, None] + true_area - inter
    whole[:, own_area] = area[:, None]
    values: Floats = np.divide(inter, whole, out=np.zeros_like(inter), where=(inter > 0) & (whole > 0))
    return values


def score_key(score: float) -> int:
    """Return a whole number that orders as the score does, and is equal for equal scores only: the bits of the float."""
    bits: int = struct.unpack(">q", struct.pack(">d", score + 0.0))[0]
    return bits if bits >= 0 else -(bits & (2**63 - 1))


def category_key(name: str) -> int:
    """Return a number for the name of a category: 48 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")


def to_bits(flags: Bools) -> list[int]:
    """Return one whole number for each line, bit ``k`` being column ``k``."""
    packed = np.packbits(flags, axis=1, bitorder="little")
    return [int.from_bytes(line.tobytes(), "little") for line in packed]


def labelled(answer: Answer | None) -> tuple[tuple[Box, ...], tuple[str, ...], tuple[float, ...]]:
    """Return what was submitted: boxes, labels and scores.

    Boxes without labels are of no category, whatever the target's is: official code has no such boxes. Without scores all are 1.
    """
    if answer is None or answer.no_target:
        return (), (), ()
    boxes = answer.boxes_xyxy
    return boxes, answer.labels or ("",) * len(boxes), answer.scores or (1.0,) * len(boxes)


def by_content(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows in an order that depends on nothing but what is in them, as if shuffled.

    Equal scores in different images are ranked by the order of the images in official code. Episodes have no such order.
    """
    return sorted(rows, key=lambda row: hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest())
