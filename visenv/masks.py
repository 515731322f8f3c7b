"""Binary masks as COCO run-length encodings, with a cached crop for drawing and pixel work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from .errors import bad_value

__all__ = ["Mask", "box_iou_matrix", "intersection_and_areas", "mask_iou_matrix", "union_masks"]

DIGITS = bytes(range(48, 112))
"""The characters of a compressed code."""
Bool2D = npt.NDArray[np.bool_]
Boxes = npt.NDArray[np.float64]


class Mask:
    """One binary mask of a picture, stored as COCO compressed RLE (column-major).

    Equal when size and pixels are. ``crop`` is kept beside the code when it is cheap to have.
    """

    __slots__ = ("_box", "_crop", "counts", "size_hw")

    def __init__(self, size_hw: tuple[int, int], counts: bytes) -> None:
        """Wrap an existing code; use :meth:`from_dense` or :meth:`from_json` to make one."""
        self.size_hw = (int(size_hw[0]), int(size_hw[1]))
        self.counts = counts
        self._box: tuple[int, int, int, int] | None = None
        self._crop: Bool2D | None = None

    @classmethod
    def from_dense(cls, mask_hw: npt.NDArray[Any]) -> Mask:
        """Encode a dense mask, ``bool`` or 0/1 integers ``(H, W)``."""
        if mask_hw.ndim != 2 or not mask_hw.size:
            raise bad_value("mask_hw", mask_hw.shape, expected="an array of shape (H, W)")
        dense = np.asfortranarray(mask_hw != 0, dtype=np.uint8)
        return cls(mask_hw.shape, coco.encode(dense)["counts"])

    @classmethod
    def from_crop(cls, crop_hw: Bool2D, origin_xy: tuple[int, int], size_hw: tuple[int, int]) -> Mask:
        """Encode a mask that is zero outside ``crop_hw`` placed with its corner at ``origin_xy`` (px).

        Parts outside the canvas are cut off.
        """
        height, width = size_hw
        x, y = origin_xy
        top, left = max(0, y), max(0, x)
        part = crop_hw[
            top - y : max(top, min(height, y + crop_hw.shape[0])) - y,
            left - x : max(left, min(width, x + crop_hw.shape[1])) - x,
        ]
        # Encode only the columns that the crop spans, one more to end in background, and lengthen the outer runs.
        right = left + part.shape[1]
        spare = int(right < width)
        dense = np.zeros((height, max(1, part.shape[1] + spare)), np.uint8, order="F")
        dense[top : top + part.shape[0], : part.shape[1]] = part
        if not part.size:
            return cls.empty(size_hw)
        return cls(size_hw, _lengthen(coco.encode(dense)["counts"], left * height, (width - right - spare) * height))

    @classmethod
    def from_box(cls, box_xyxy: Sequence[float], size_hw: tuple[int, int]) -> Mask:
        """Return the mask of a filled box, edges rounded to whole pixels and clipped."""
        x1, y1, x2, y2 = (round(v) for v in box_xyxy)
        return cls.from_crop(np.ones((max(0, y2 - y1), max(0, x2 - x1)), bool), (x1, y1), size_hw)

    @classmethod
    def from_json(cls, data: object) -> Mask:
        """Read ``{"size": [height, width], "counts": str}``.

        Raises:
            BadValueError: Not that form, or a code whose runs do not fill the picture.
        """
        try:
            height, width = data["size"]  # type: ignore[index]
            counts = data["counts"]  # type: ignore[index]
            counts = counts.encode("ascii") if isinstance(counts, str) else counts
            if type(height) is not int or type(width) is not int or not isinstance(counts, bytes):
                raise TypeError("of other types")
        except (TypeError, KeyError, ValueError) as error:
            raise bad_value("mask", data, expected='{"size": [height, width], "counts": "…"}') from error
        if height < 1 or width < 1 or height * width > 2**28 or rle_total(counts) != height * width:
            raise bad_value("mask", data, expected="runs that add up to height x width")
        return cls((height, width), counts)

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> Mask:
        """Return a mask without foreground."""
        return cls.from_dense(np.zeros(size_hw, np.uint8))

    def to_coco(self) -> dict[str, Any]:
        """Return the pycocotools form, ``counts`` as bytes."""
        return {"size": list(self.size_hw), "counts": self.counts}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, ``counts`` as text."""
        return {"size": list(self.size_hw), "counts": self.counts.decode("ascii")}

    def to_dense(self) -> Bool2D:
        """Decode to ``bool (H, W)``, a fresh array."""
        dense: Bool2D = coco.decode(self.to_coco()).view(bool)
        return dense

    @property
    def area_px(self) -> int:
        """Foreground pixels."""
        return int(coco.area(self.to_coco()))

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """Tight box in pixels, half-open; all zeros for an empty mask."""
        if self._box is None:
            x, y, w, h = (int(v) for v in coco.toBbox(self.to_coco()))
            self._box = (x, y, x + w, y + h) if w and h else (0, 0, 0, 0)
        return self._box

    @property
    def crop_hw(self) -> Bool2D:
        """The mask inside its own box, ``bool``, read-only and cached."""
        if self._crop is None:
            x1, y1, x2, y2 = self.box_xyxy
            crop = np.ascontiguousarray(self.to_dense()[y1:y2, x1:x2])
            crop.flags.writeable = False
            self._crop = crop
        return self._crop

    def intersection_px(self, other: Mask) -> int:
        """Count the pixels in both masks, which must have one size."""
        return int(coco.area(coco.merge([self.to_coco(), other.to_coco()], intersect=True)))

    def intersect(self, other: Mask) -> Mask:
        """Return the pixels in both masks, which must have one size."""
        merged = coco.merge([self.to_coco(), other.to_coco()], intersect=True)
        return Mask((merged["size"][0], merged["size"][1]), merged["counts"])

    def minus(self, other: Mask) -> Mask:
        """Return this mask without the pixels of ``other``."""
        return Mask.from_dense(self.to_dense() & ~other.to_dense())

    def warp(self, matrix: npt.NDArray[np.float64], size_hw: tuple[int, int]) -> Mask:
        """Map the mask by a 2x3 affine ``matrix`` (pixel edges to pixel edges) onto another canvas.

        Linear interpolation, cut at one half, so a shrunk mask keeps its area.
        """
        a, b = matrix[:, :2], matrix[:, 2]
        if np.array_equal(a, np.eye(2)) and np.array_equal(b, np.round(b)):  # a crop: move, do not resample
            x1, y1, _, _ = self.box_xyxy
            return Mask.from_crop(self.crop_hw, (x1 + int(b[0]), y1 + int(b[1])), size_hw)
        # OpenCV maps pixel centres; our matrices map edges, half a pixel away.
        centred = matrix.copy()
        centred[:, 2] = a @ np.array([0.5, 0.5]) + b - 0.5
        scale = float(np.sqrt(abs(np.linalg.det(a))))
        dense: npt.NDArray[Any] = self.to_dense().astype(np.float32)
        if scale < 1:
            blur = max(1, round(1 / scale)) | 1  # odd, to stay centred
            dense = cv2.blur(dense, (blur, blur))
        warped = cv2.warpAffine(dense, centred, (size_hw[1], size_hw[0]), flags=cv2.INTER_LINEAR)
        return Mask.from_dense(warped > 0.5)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.size_hw == other.size_hw and self.counts == other.counts

    def __hash__(self) -> int:
        return hash((self.size_hw, self.counts))

    def __repr__(self) -> str:
        return f"Mask({self.size_hw[1]}x{self.size_hw[0]}, {self.area_px} px)"

    def __reduce__(self) -> tuple[Any, ...]:
        return Mask, (self.size_hw, self.counts)


def _lengthen(counts: bytes, before_px: int, after_px: int) -> bytes:
    """Add background before and after a compressed code whose last run is background (or that gets none after it).

    Only the first number and the last, which is a difference to the run before the last one, change.
    """
    if before_px:
        end = next(i for i, byte in enumerate(counts) if not (byte - 48) & 0x20) + 1
        if end == len(counts):  # background only
            return _number(_value(counts) + before_px + after_px)
        counts = _number(_value(counts[:end]) + before_px) + counts[end:]
    if after_px:
        start = len(counts) - 1
        while start and (counts[start - 1] - 48) & 0x20:
            start -= 1
        counts = counts[:start] + _number(_value(counts[start:]) + after_px)
    return counts


def _value(digits: bytes) -> int:
    value = 0
    for place, byte in enumerate(digits):
        value |= ((byte - 48) & 0x1F) << 5 * place
    return value - (1 << 5 * len(digits)) if (digits[-1] - 48) & 0x10 else value


def _number(value: int) -> bytes:
    digits = bytearray()
    while True:
        chunk = value & 0x1F
        value >>= 5
        more = value != (-1 if chunk & 0x10 else 0)
        digits.append(chunk + 48 + 0x20 * more)
        if not more:
            return bytes(digits)


def rle_total(counts: bytes) -> int:
    """Return how many pixels a compressed code covers, or -1 when it is not one.

    Source: the LEB128-like form of ``rleFrString`` in pycocotools, which itself trusts its input: digits of five bits, the
    lowest first, bit 6 saying that more follow, bit 5 of the last one being the sign; from the fourth run on,
    differences to the run before the last.
    """
    if not counts:
        return 0
    if counts.translate(None, DIGITS):
        return -1
    values = np.frombuffer(counts, np.uint8) - 48
    ends = (values < 32).nonzero()[0]
    if not len(ends) or ends[-1] != len(values) - 1:
        return -1
    lengths = ends.copy()
    lengths[1:] -= ends[:-1]
    lengths[0] += 1
    longest = int(lengths.max())
    if longest > 8:
        return -1
    runs = (values[ends].astype(np.int64) ^ 16) - 16
    longer = (lengths > 1).nonzero()[0]
    for place in range(1, longest):  # one more digit for every number that has it, ever fewer
        runs[longer] = runs[longer] * 32 + (values[ends[longer] - place] & 31)
        longer = longer[lengths[longer] > place + 1]
    np.add.accumulate(runs[1::2], out=runs[1::2])
    np.add.accumulate(runs[2::2], out=runs[2::2])
    return -1 if int(runs.min()) < 0 else int(runs.sum())


def intersection_and_areas(first: Mask, second: Mask) -> tuple[int, int, int]:
    """Count the pixels in both masks, in the first and in the second: two calls into C, nothing is decoded.

    Masks of two sizes have no pixel in common.
    """
    codes = [first.to_coco(), second.to_coco()]
    both, one, other = coco.area([coco.merge(codes, intersect=True), *codes]).tolist()
    return both, one, other


def union_masks(masks: Iterable[Mask], size_hw: tuple[int, int]) -> Mask:
    """Return the pixels of any mask; an empty mask of ``size_hw`` when there is none."""
    masks = tuple(masks)
    if len(masks) == 1:
        return masks[0]
    codes = [m.to_coco() for m in masks]
    if not codes:
        return Mask.empty(size_hw)
    merged = coco.merge(codes, intersect=False)
    return Mask((merged["size"][0], merged["size"][1]), merged["counts"])


def mask_iou_matrix(first: Sequence[Mask], second: Sequence[Mask]) -> Boxes:
    """Return IoU, ``float64 (len(first), len(second))``; entry ``[i, j]`` is of ``first[i]`` and ``second[j]``."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(
        coco.iou([m.to_coco() for m in first], [m.to_coco() for m in second], [0] * len(second)), np.float64
    )


def box_iou_matrix(first_xyxy: npt.ArrayLike, second_xyxy: npt.ArrayLike) -> Boxes:
    """Return plain IoU of boxes in pixels, ``float64 (N, M)``; 0 where two do not overlap."""
    a = np.asarray(first_xyxy, np.float64).reshape(-1, 4)
    b = np.asarray(second_xyxy, np.float64).reshape(-1, 4)
    span = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inter = np.clip(span, 0, None).prod(axis=2)
    area_a = (a[:, 2:] - a[:, :2]).prod(axis=1)
    area_b = (b[:, 2:] - b[:, :2]).prod(axis=1)
    union = area_a[:, None] + area_b[None, :] - inter
    iou: Boxes = np.divide(inter, union, out=np.zeros_like(inter), where=(inter > 0) & (union > 0))
    return iou
