"""Binary masks as COCO run-length encodings, with a cached crop for drawing and pixel work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from .errors import bad_value
from .rle import MAX_PX, lengthen, measure, number, runs_of, to_code

__all__ = [
    "Mask", "box_iou_matrix", "intersection_and_areas", "mask_iou_matrix", "read_masks", "read_size", "union_masks",
]  # fmt: skip

Bool2D = npt.NDArray[np.bool_]
Boxes = npt.NDArray[np.float64]
Ints = npt.NDArray[np.signedinteger]


class Mask:
    """One binary mask of a picture, stored as COCO compressed RLE (column-major).

    Equal when size and pixels are. Area, box and ``crop_hw`` are kept beside the code once they are known.
    """

    __slots__ = ("_area", "_box", "_crop", "counts", "size_hw")

    def __init__(self, size_hw: tuple[int, int], counts: bytes) -> None:
        """Wrap an existing code; use :meth:`from_dense` or :meth:`from_json` to make one."""
        self.size_hw = (int(size_hw[0]), int(size_hw[1]))
        self.counts = counts
        self._area: int | None = None
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
        return cls(size_hw, lengthen(coco.encode(dense)["counts"], left * height, (width - right - spare) * height))

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
        return read_masks([data])[0]

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> Mask:
        """Return a mask without foreground."""
        height, width = size_hw
        if height < 1 or width < 1:
            raise bad_value("size_hw", size_hw, expected="at least one pixel")
        mask = cls(size_hw, number(height * width))
        mask._area = 0
        return mask

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
        if self._area is None:
            self._area = int(coco.area(self.to_coco()))
        return self._area

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

    def take(self, rows: Ints, columns: Ints) -> Mask:
        """Return the mask of the pixels in some rows and columns, as ``dense[rows][:, columns]``, without decoding it.

        Args:
            rows: Ascending, any of them repeated or left out.
            columns: The same.
        """
        is_new = np.ones(len(columns), bool)
        np.not_equal(columns[1:], columns[:-1], out=is_new[1:])
        kept = columns[is_new]
        x, y = np.divmod(runs_of(self.counts).cumsum()[:-1], self.size_hw[0])
        column = kept.searchsorted(x)
        inside = kept[np.minimum(column, len(kept) - 1)] == x
        edges = column * len(rows) + inside * rows.searchsorted(y)
        size_hw = len(rows), len(kept)
        taken = Mask(size_hw, to_code(edges, size_hw))
        if len(kept) == len(columns):
            return taken
        return Mask.from_dense(taken.to_dense()[:, is_new.cumsum() - 1])

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


def read_masks(data: Sequence[object]) -> list[Mask]:
    """Read masks as :meth:`Mask.from_json` does, many of them in a tenth of the time; those that are masks stay as they are.

    Raises:
        BadValueError: One of them is not of that form, or its runs do not fill the picture.
    """
    if any(isinstance(one, Mask) for one in data):
        return [one if isinstance(one, Mask) else read_masks([one])[0] for one in data]
    forms = [_form(one) for one in data]
    found = measure([code for _, code in forms])
    masks: list[Mask] = []
    for (size_hw, code), total, area, is_plain in zip(forms, *found, strict=True):
        if total != size_hw[0] * size_hw[1]:
            raise bad_value("mask", data[len(masks)], expected="runs that add up to height x width")
        mask = Mask(size_hw, code if is_plain else to_code(runs_of(code).cumsum()[:-1], size_hw))
        mask._area = area
        masks.append(mask)
    return masks


def read_size(value: object) -> tuple[int, int]:
    """Read ``[height, width]``.

    Raises:
        BadValueError: Not two positive integers, or more pixels than a mask may have.
    """
    if isinstance(value, (list, tuple)) and len(value) == 2:
        height, width = value
        if type(height) is int and type(width) is int and height > 0 and width > 0 and height * width <= MAX_PX:
            return height, width
    raise bad_value("size", value, expected=f"[height, width], {MAX_PX} pixels at most")


def _form(data: object) -> tuple[tuple[int, int], bytes]:
    """Return the size and the code of a mask in JSON; what the code says is not looked at."""
    try:
        code = data["counts"]  # type: ignore[index]
        if isinstance(code, str):
            code = code.encode("ascii")
        if isinstance(code, bytes):
            return read_size(data["size"]), code  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        pass
    raise bad_value("mask", data, expected=f'{{"size": [height, width], "counts": "…"}}, {MAX_PX} pixels at most')


def intersection_and_areas(first: Mask, second: Mask) -> tuple[int, int, int]:
    """Count the pixels in both masks, in the first and in the second: nothing is decoded, and what is known not counted again.

    Masks of two sizes have no pixel in common.
    """
    codes = [first.to_coco(), second.to_coco()]
    if first._area is None or second._area is None:
        both, first._area, second._area = coco.area([coco.merge(codes, intersect=True), *codes]).tolist()
    elif not first._area or not second._area:
        both = 0
    else:
        both = int(coco.area([coco.merge(codes, intersect=True)])[0])
    return both, first._area, second._area


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
