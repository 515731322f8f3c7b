"""Looking at large pictures in overlapping slices: where to cut, how to merge the finds, and an expert that does it for any detector.

Source: sliced inference as the package ``sahi`` does it (obss/sahi 0.12.8, ``slicing.py`` and ``postprocess/``; MIT); the rules
only, and tests compare with the package. Different here: overlaps are in double precision, and the whole picture, shrunk by the
detector, is looked at only on demand: what a detector makes of things that became too small is often wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .. import plugins
from ..errors import ExpertError, bad_value
from ..images import Image
from ..masks import Mask, union_masks
from ._options import check_count, check_flag, check_number
from ._protocol import Capability, Detections, DetectRequest, Expert, PointRequest, Points, Request, Result
from .running import run_isolated

__all__ = ["MergeSettings", "Sliced", "SlicedDetector", "merge_detections", "slice_boxes"]

Boxes = npt.NDArray[np.float64]
Ints = npt.NDArray[np.signedinteger]
How = Literal["nmm", "nms"]
Metric = Literal["ios", "iou"]
MIN_SIZE_PX = 32
MAX_OVERLAP = 0.9
MAX_SLICES = 4096
"""Most slices of one picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeSettings:
    """When two finds are one object, and what becomes of them; the defaults are SAHI's."""

    how: How = "nmm"
    """``nmm``: the better find grows to hold the others (greedy non-maximum merging); ``nms``: the others are dropped."""
    metric: Metric = "ios"
    """Overlap as intersection over the smaller box, or over the union."""
    threshold: float = 0.5
    """Overlap from which they are one object, 0.01 to 1."""

    def __post_init__(self) -> None:
        for name, kind in (("how", How), ("metric", Metric)):
            if getattr(self, name) not in get_args(kind):
                raise bad_value(name, getattr(self, name), expected=" or ".join(get_args(kind)))
        check_number("threshold", self.threshold, low=0.01, high=1)


def slice_boxes(size_wh: tuple[int, int], *, size_px: int, overlap: float) -> list[tuple[int, int, int, int]]:
    """Return the slices of a picture as pixel boxes, row by row.

    The last slice of a row or column is moved back inside the picture, so all have one size unless the picture is smaller.

    Args:
        size_wh: Of the picture.
        size_px: Side of a slice.
        overlap: Least overlap of neighbours as a share of the side, rounded down to whole pixels.

    Example:
        >>> slice_boxes((1000, 500), size_px=512, overlap=0.25)
        [(0, 0, 512, 500), (384, 0, 896, 500), (488, 0, 1000, 500)]
    """
    columns, rows = (_spans(length, size_px, int(overlap * size_px)) for length in size_wh)
    return [(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns]


def _spans(length: int, size: int, shared: int) -> list[tuple[int, int]]:
    spans, start = [], 0
    while start + size < length:
        spans.append((start, start + size))
        start += size - shared
    return [*spans, (max(0, length - size), length)]


def merge_detections(found: Detections, settings: MergeSettings | None = None) -> Detections:
    """Merge finds of one picture that are one object; only finds of one label are.

    Going from the best score down, each find left over takes all that overlap it enough. With ``nmm`` it grows to hold them,
    one after the other as long as the grown box overlaps the next enough, and keeps its own label and score; masks are joined.

    Args:
        found: Finds of all slices, in pixels of the picture.
        settings: SAHI's by default.

    Returns:
        The objects, best first.
    """
    settings = settings or MergeSettings()
    boxes, scores = np.asarray(found.boxes_xyxy, np.float64), np.asarray(found.scores, np.float64)
    kinds = np.unique(found.labels, return_inverse=True)[1] if len(found.labels) else np.zeros(0, int)
    order = np.lexsort((boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -scores))
    kept: list[int] = []
    grown: list[Boxes] = []
    members: list[list[int]] = []
    while len(order):
        best, rest = int(order[0]), order[1:]
        taken = (kinds[rest] == kinds[best]) & (
            _overlap(boxes[best], boxes[rest], settings.metric) >= settings.threshold
        )
        box, group = _grow(boxes, best, rest[taken], settings)
        kept.append(best)
        grown.append(box)
        members.append(group)
        order = rest[~taken]
    masks = found.masks
    return Detections(
        boxes_xyxy=np.array(grown, np.float64).reshape(-1, 4), scores=scores[kept],
        labels=tuple(found.labels[k] for k in kept),
        masks=None if masks is None else tuple(_joined([masks[k] for k in group]) for group in members),
    )  # fmt: skip


def _grow(boxes: Boxes, best: int, others: Ints, settings: MergeSettings) -> tuple[Boxes, list[int]]:
    """Return the box that holds a find and those merged into it, and which they are."""
    box, group = boxes[best].copy(), [best]
    if settings.how == "nms":
        return box, group
    for k in others.tolist():
        if _overlap(box, boxes[k : k + 1], settings.metric)[0] >= settings.threshold:
            box[:2], box[2:] = np.minimum(box[:2], boxes[k, :2]), np.maximum(box[2:], boxes[k, 2:])
            group.append(k)
    return box, group


def _overlap(box: Boxes, others: Boxes, metric: Metric) -> Boxes:
    span = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(span, 0).prod(1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(1)
    whole = np.minimum(area, areas) if metric == "ios" else area + areas - shared
    share: Boxes = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return share


def _joined(masks: list[Mask]) -> Mask:
    return masks[0] if len(masks) == 1 else union_masks(masks, masks[0].size_hw)


class SlicedDetector(Expert):
    """Asks another detector about every slice of a picture and merges what it finds.

    Points are the centres of what is detected. Pictures no larger than a slice are passed on as they are.
    """

    version = "1"
    mixed_sizes = True

    def __init__(
        self, inner: Expert, *, size_px: int = 512, overlap: float = 0.2, whole: bool = False,
        merge: MergeSettings | None = None,
    ) -> None:  # fmt: skip
        """Slice for ``inner``, which must be able to detect.

        Args:
            inner: The detector.
            size_px: Side of a slice.
            overlap: Of neighbouring slices, as a share of the side.
            whole: Whether to look at the whole picture, too, which finds what is larger than a slice.
            merge: How finds are merged.
        """
        if "detect" not in inner.capabilities:
            raise bad_value("of", inner.name, expected="an expert that can detect")
        self.inner = inner
        self.size_px = check_count("size", size_px, low=MIN_SIZE_PX)
        self.overlap = check_number("overlap", overlap, low=0, high=MAX_OVERLAP)
        self.whole = check_flag("whole", whole)
        self.merge = merge or MergeSettings()
        self.name = f"sliced-{inner.name}"
        self.capabilities: frozenset[Capability] = frozenset({"detect", "point"})
        self.batch_pixels = inner.batch_pixels
        how = (inner.identity, self.size_px, self.overlap, self.whole, *astuple(self.merge))
        self.weights_hash = hashlib.sha256(repr(how).encode()).hexdigest()

    def run(self, requests: Sequence[Request]) -> list[Result | ExpertError]:
        """Answer a batch; all slices of all its pictures go to the inner expert together. A slice that fails fails its request."""
        windows = {request.image.hash: self._windows(request.image) for request in requests}
        asked: list[Request] = [
            DetectRequest(image=image, phrase=request.phrase)
            for request in requests
            if isinstance(request, DetectRequest | PointRequest)
            for image, _ in windows[request.image.hash]
        ]
        answers = iter(run_isolated(self.inner, asked))
        results: list[Result | ExpertError] = []
        for request in requests:
            parts = [(next(answers), origin) for _, origin in windows[request.image.hash]]
            found = self._merged(request.image, parts)
            if isinstance(request, PointRequest) and isinstance(found, Detections):
                boxes = found.boxes_xyxy
                results.append(Points(points_xy=(boxes[:, :2] + boxes[:, 2:]) / 2, scores=found.scores))
            else:
                results.append(found)
        return results

    def _windows(self, image: Image) -> list[tuple[Image, tuple[int, int]]]:
        """Return what the inner expert is shown, with its corner in the picture."""
        boxes = slice_boxes(image.size_wh, size_px=self.size_px, overlap=self.overlap)
        if len(boxes) == 1:
            return [(image, (0, 0))]
        if len(boxes) > MAX_SLICES:
            raise ExpertError(
                f"A picture of {image.size_wh} px makes {len(boxes)} slices of {self.size_px} px, more than {MAX_SLICES}."
            )
        cut = [(Image(image.pixels[y1:y2, x1:x2].copy()), (x1, y1)) for x1, y1, x2, y2 in boxes]
        return [*cut, (image, (0, 0))] if self.whole else cut

    def _merged(
        self, image: Image, parts: Sequence[tuple[Result | ExpertError, tuple[int, int]]]
    ) -> Detections | ExpertError:
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        labels: list[str] = []
        masks: list[Mask] = []
        with_masks = True
        for found, (x, y) in parts:
            if isinstance(found, ExpertError):
                return found
            assert isinstance(found, Detections)  # run_isolated has checked it
            boxes.append(np.asarray(found.boxes_xyxy, np.float64) + np.array([x, y, x, y]))
            scores.append(np.asarray(found.scores, np.float64))
            labels += found.labels
            with_masks &= found.masks is not None or not found.labels
            masks += [_placed(mask, (x, y), image) for mask in found.masks or ()]
        together = Detections(
            boxes_xyxy=np.concatenate(boxes), scores=np.concatenate(scores), labels=tuple(labels),
            masks=tuple(masks) if with_masks and masks else None,
        )  # fmt: skip
        return together if len(parts) == 1 else merge_detections(together, self.merge)

    def health(self) -> str:
        """Say how the inner expert is."""
        return self.inner.health()

    def trim(self) -> bool:
        """Let the inner expert give back memory."""
        return self.inner.trim()

    def close(self) -> None:
        """Close the inner expert."""
        self.inner.close()


def _placed(mask: Mask, origin_xy: tuple[int, int], image: Image) -> Mask:
    """Return a slice's mask as one of the whole picture."""
    width, height = image.size_wh
    if mask.size_hw == (height, width):
        return mask
    x1, y1, _, _ = mask.box_xyxy
    return Mask.from_crop(mask.crop_hw, (origin_xy[0] + x1, origin_xy[1] + y1), (height, width))


def Sliced(  # noqa: N802 - the entry point ``sliced``
    of: str = "embedded",
    size: int = 512,
    overlap: float = 0.2,
    whole: bool = False,
    how: str = "nmm",
    metric: str = "ios",
    threshold: float = 0.5,
) -> list[Expert]:
    """Make the experts of another name, its detector looking at slices: ``sliced:of=embedded,size=512,overlap=0.2``.

    Args:
        of: Whose detector, with its options after a colon and semicolons for their commas, as ``hf:model=NAME;threshold=0.3``.
        size: Side of a slice in pixels.
        overlap: Of neighbouring slices, as a share of the side.
        whole: Whether the whole picture is looked at, too.
        how: ``nmm`` merges finds that overlap, ``nms`` keeps the best of them.
        metric: ``ios`` for the overlap's share of the smaller box, ``iou`` for that of the union.
        threshold: Overlap from which two finds are one object.

    Returns:
        The sliced detector and, as they are, the other experts that the name provides.
    """
    merge = MergeSettings(how=how, metric=metric, threshold=threshold)  # type: ignore[arg-type]
    made: Any = plugins.build("experts", of.replace(";", ","))
    provided: list[Expert] = list(made) if isinstance(made, (list, tuple)) else [made]
    detectors = [e for e in provided if "detect" in e.capabilities]
    if not detectors:
        raise bad_value("of", of, expected="experts that can detect")
    sliced = SlicedDetector(detectors[-1], size_px=size, overlap=overlap, whole=whole, merge=merge)
    return [*(e for e in provided if e is not detectors[-1]), sliced]
