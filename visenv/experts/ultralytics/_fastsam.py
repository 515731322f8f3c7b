"""FastSAM as a segmenter: it masks everything in a picture once, and each prompt chooses among the masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...images import Image
from ...masks import Mask, mask_iou_matrix
from .._protocol import Capability, Expert, Request, Result, Segmentation, SegmentRequest
from .._torch import try_device
from ..embeddings import EmbeddingCache
from ._network import Found, Network

__all__ = ["FastSamSegmenter"]

KEPT_BYTES = 2**28


class FastSamSegmenter(Expert):
    """Chooses the mask that a prompt means.

    The mask that keeps most clicks (positive ones inside, negative ones outside), of these the one most like the box or the mask to
    refine, of these the surest or with ``prefer="area"`` the largest. With positive clicks it covers one of them, without it touches
    the box or the mask; where there is no such mask the answer is empty. It refines by choosing another mask: it cannot draw one.
    """

    name = "ultralytics-fastsam"
    capabilities: frozenset[Capability] = frozenset({"segment"})

    def __init__(self, network: Network) -> None:
        """Take over a network that makes masks."""
        self.network = network
        self.version = network.version
        self.weights_hash = network.hash
        self._found: EmbeddingCache[Found] = EmbeddingCache(limit_bytes=KEPT_BYTES)

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Segment, in order."""
        found = self._found.get([request.image for request in requests], self._find_all)
        return [_choose(request, one) for request, one in zip(requests, found, strict=True)]

    def health(self) -> str:
        """Say where the model is loaded, after computing something there."""
        try_device(self.network.device)
        return f"loaded on {self.network.device}"

    def trim(self) -> bool:
        """Forget what was masked."""
        return self._found.clear()

    def close(self) -> None:
        """Forget what was masked."""
        self._found.clear()

    def _find_all(self, images: list[Image]) -> list[Found]:
        with self.network.lock:
            return self.network.find(images)


def _choose(request: Request, found: Found) -> Segmentation:
    assert isinstance(request, SegmentRequest)
    width, height = request.image.size_wh
    masks = found.masks or ()
    like = request.previous
    if request.box_xyxy is not None:
        like = Mask.from_box(request.box_xyxy, (height, width))
    likeness = mask_iou_matrix(masks, [like])[:, 0] if like is not None and masks else np.zeros(len(masks))
    ranks: list[tuple[int, float, float, int]] = []
    for k, mask in enumerate(masks):
        inside = [_covers(mask, xy) for xy in request.points_xy]
        kept = sum(a == b for a, b in zip(inside, request.points_positive, strict=True))
        on_it = any(a and b for a, b in zip(inside, request.points_positive, strict=True))
        if mask.area_px and (on_it if any(request.points_positive) else likeness[k] > 0):
            sure = float(mask.area_px) if request.prefer == "area" else float(found.scores[k])
            ranks.append((kept, float(likeness[k]), sure, -k))
    if not ranks:
        return Segmentation(mask=Mask.empty((height, width)), score=0.0)
    best = -max(ranks)[-1]
    return Segmentation(mask=masks[best], score=float(found.scores[best]))


def _covers(mask: Mask, xy: tuple[float, float]) -> bool:
    """Whether the pixel under a click is in a mask; clicks on the far edges count to the last pixel."""
    height, width = mask.size_hw
    x1, y1, x2, y2 = mask.box_xyxy
    x, y = min(int(xy[0]), width - 1), min(int(xy[1]), height - 1)
    return x1 <= x < x2 and y1 <= y < y2 and bool(mask.crop_hw[y - y1, x - x1])
