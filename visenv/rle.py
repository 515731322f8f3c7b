"""Compressed run lengths, COCO's text form of a mask: read and checked, any number of codes in one pass.

A code holds the lengths of runs of background and foreground in turn, column by column. Digits have five bits, the lowest
first; bit 6 says that more follow, bit 5 of the last one is the sign; from the fourth run on a number is the difference to the
run before the last. pycocotools, whose ``rleFrString`` and ``rleToString`` define the form, trusts what it reads: codes whose
runs do not fill the picture make it loop or write where it must not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

__all__ = ["MAX_PX", "Measures", "lengthen", "measure", "number", "rle_total", "runs_of", "to_code"]

MAX_PX = 2**27
"""Pixels of the largest mask, as many as a picture may have."""
DIGITS = bytes(range(48, 112))
CONTINUED = DIGITS[32:]
"""Digits that another one follows."""
LAST = bytes((((c - 48) & 31 ^ 16) - 16) & 255 for c in range(256))
"""Signed value of the last digit of a number, by character."""
MAX_DIGITS = 6
"""Of a number: 30 bits, twice what a difference of runs within ``MAX_PX`` needs."""
Ints = npt.NDArray[np.signedinteger]


class Measures(NamedTuple):
    """What codes say, without decoding them: an entry for each."""

    total_px: list[int]
    """All runs; -1 for what is no code, or has a run above ``MAX_PX``."""
    foreground_px: list[int]
    is_plain: list[bool]
    """Whether pycocotools would write the same: no digit too many, and no run without length but the first."""


class _Runs(NamedTuple):
    """The runs of several codes, one after the other, behind two zeros."""

    lengths: npt.NDArray[np.int32]
    edges: npt.NDArray[np.int64]
    """Where each code begins, and where the last one ends."""
    is_plain: npt.NDArray[np.bool_]


def measure(codes: Sequence[bytes]) -> Measures:
    """Measure codes, all in one pass over their characters."""
    if not codes:
        return Measures([], [], [])
    runs = _decoded(codes)
    if runs is None and len(codes) == 1:
        return Measures([-1], [0], [False])
    if runs is None:
        alone = [measure([code]) for code in codes]
        return Measures(*(list(chain.from_iterable(lists)) for lists in zip(*alone, strict=True)))
    sums = []
    for parity in (0, 1):
        before = np.add.accumulate(runs.lengths[parity::2], dtype=np.int64)
        of_edges = before[(runs.edges - (parity + 1)) >> 1]
        sums.append(of_edges[1:] - of_edges[:-1])
    foreground = np.where(runs.edges[:-1] & 1, *sums)  # every second run, from the second of its code on
    return Measures((sums[0] + sums[1]).tolist(), foreground.tolist(), runs.is_plain.tolist())


def rle_total(counts: bytes) -> int:
    """Return how many pixels a compressed code covers, or -1 when it is not one."""
    return measure([counts]).total_px[0] if counts else 0


def runs_of(code: bytes) -> npt.NDArray[np.int32]:
    """Return the lengths of the runs of a code that :func:`measure` found to be one, background first."""
    runs = _decoded([code])
    assert runs is not None
    return runs.lengths[2:]


def to_code(edges: Ints, size_hw: tuple[int, int]) -> bytes:
    """Write a mask as a plain code.

    Args:
        edges: Positions at which background and foreground change, ascending, column by column; two at one place are none.
        size_hw: Height and width in pixels.
    """
    total = size_hw[0] * size_hw[1]
    is_last = np.ones(len(edges), bool)
    np.not_equal(edges[1:], edges[:-1], out=is_last[:-1])
    if not is_last.all():  # of several edges at one place one is left, or none
        last = is_last.nonzero()[0]
        times = last.copy()
        times[1:] -= last[:-1] + 1
        edges = edges[last[times & 1 == 0]]
    bounds = np.empty(len(edges) + 2, np.int64)
    bounds[0], bounds[1:-1], bounds[-1] = 0, edges, total
    runs = bounds[1:] - bounds[:-1]
    if len(runs) > 1 and not runs[-1]:
        runs = runs[:-1]
    made: bytes = coco.frPyObjects({"size": list(size_hw), "counts": runs}, *size_hw)["counts"]
    return made


def lengthen(counts: bytes, before_px: int, after_px: int) -> bytes:
    """Add background before and after a compressed code whose last run is background (or that gets none after it).

    Only the first number and the last, which is a difference to the run before the last one, change.
    """
    if before_px:
        end = next(i for i, byte in enumerate(counts) if not (byte - 48) & 0x20) + 1
        if end == len(counts):  # background only
            return number(_value(counts) + before_px + after_px)
        counts = number(_value(counts[:end]) + before_px) + counts[end:]
    if after_px:
        start = len(counts) - 1
        while start and (counts[start - 1] - 48) & 0x20:
            start -= 1
        counts = counts[:start] + number(_value(counts[start:]) + after_px)
    return counts


def number(value: int) -> bytes:
    """Write one number; that of all pixels is the code of a mask without foreground."""
    digits = bytearray()
    while True:
        chunk = value & 0x1F
        value >>= 5
        more = value != (-1 if chunk & 0x10 else 0)
        digits.append(chunk + 48 + 0x20 * more)
        if not more:
            return bytes(digits)


def _value(digits: bytes) -> int:
    value = 0
    for place, byte in enumerate(digits):
        value |= ((byte - 48) & 0x1F) << 5 * place
    return value - (1 << 5 * len(digits)) if (digits[-1] - 48) & 0x10 else value


def _decoded(codes: Sequence[bytes]) -> _Runs | None:
    """Read codes; ``None`` if one of them is none."""
    joined = b"".join(codes)
    if not all(codes) or joined.translate(None, DIGITS) or any(code[-1] >= CONTINUED[0] for code in codes):
        return None
    chars = np.frombuffer(joined, np.uint8)
    more = (chars >= CONTINUED[0]).nonzero()[0]
    lengths = np.zeros(len(joined) - len(more) + 2, np.int32)
    lengths[2:] = np.frombuffer(joined.translate(LAST, CONTINUED), np.int8)
    edges = np.array([0, *accumulate(map(len, codes))])
    edges += 2 - more.searchsorted(edges)
    starts, ends = edges[:-1], edges[1:]
    is_plain = np.ones(len(codes), bool)
    if len(more):
        spare = _add_digits(lengths, chars, more)
        if spare is None:
            return None
        is_plain[ends.searchsorted(spare, "right")] = False
    _sum_differences(lengths, edges)
    # Sums wrap at 2**32, and no step can lead from a fair run round to another: the first unfair one is seen as it is.
    if (lengths.view(np.uint32) > MAX_PX).any():
        return None
    if np.count_nonzero(lengths) < len(lengths) - 2:
        empty = (lengths == 0).nonzero()[0][2:]
        places = ends.searchsorted(empty, "right")
        is_plain[places[empty != starts[places]]] = False
    return _Runs(lengths, edges, is_plain)


def _add_digits(lengths: npt.NDArray[np.int32], chars: npt.NDArray[np.uint8], more: Ints) -> Ints | None:
    """Add the lower digits of numbers that have several to the last ones.

    Args:
        lengths: Last digits, behind two zeros; changed in place.
        chars: All characters.
        more: Places of digits that another one follows.

    Returns:
        Which numbers would do with fewer digits; ``None`` if one has too many.
    """
    of_number = more - np.arange(-2, len(more) - 2)
    digits = chars[more] - CONTINUED[0]
    is_top = np.ones(len(more), bool)  # the highest of these digits of a number
    np.not_equal(of_number[1:], of_number[:-1], out=is_top[:-1])
    tops = is_top.nonzero()[0]
    where = of_number[tops]
    values = lengths[where]
    highest = digits[tops]
    spare = where[values == -(highest >> 4).astype(np.int8)]
    values = values * 32 + highest
    lower = tops.copy()  # how many more of these digits a number has
    lower[1:] -= tops[:-1] + 1
    longer = lower.nonzero()[0]
    for place in range(1, MAX_DIGITS):
        if not len(longer):
            break
        if place == MAX_DIGITS - 1:
            return None
        values[longer] = values[longer] * 32 + digits[tops[longer] - place]
        longer = longer[lower[longer] > place]
    lengths[where] = values
    numbers: Ints = spare
    return numbers


def _sum_differences(lengths: npt.NDArray[np.int32], edges: Ints) -> None:
    """Turn differences into runs, in place; every code's first three numbers are runs already."""
    starts, ends = edges[:-1], edges[1:]
    third = starts[starts + 2 < ends] + 2
    lengths[third] -= lengths[third - 2]
    for parity in (0, 1):
        line = lengths[parity::2]
        np.add.accumulate(line, out=line)
        if len(starts) > 1:  # a sum goes on from code to code: take away what it was before each
            first = (edges - (parity - 1)) >> 1
            line[1:] -= line[first[:-1] - 1].repeat(first[1:] - first[:-1])
