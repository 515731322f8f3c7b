"""What segmenters of SAM's kind share: prompts of one form decoded together, embeddings kept, one mask chosen of several."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ExpertError
from ..images import Image
from ..masks import Mask
from ._options import check_count
from ._protocol import Capability, Expert, Request, Result, Segmentation, SegmentRequest
from ._torch import autocast, pick_device, say_passes, try_device
from .embeddings import EmbeddingCache

if TYPE_CHECKING:
    import torch

__all__ = ["PromptableSegmenter", "Prompts"]

MASK_SCALE, MASK_BIAS = 20.0, -10.0
"""From a mask's share of a cell, 0 to 1, to a logit. Source: ``_use_mask_as_output`` in ``sam2/modeling/sam2_base.py``, 1.1.0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """Prompts of one form, ``B`` of them, as tensors on the model's device; coordinates in pixels of each one's picture."""

    sizes_wh: torch.Tensor
    """``float32 (B, 2)``, of each prompt's picture."""
    boxes_xyxy: torch.Tensor | None
    """``float32 (B, 4)``."""
    points_xy: torch.Tensor | None
    """``float32 (B, N, 2)``, the same ``N`` for all: padding would change the results."""
    labels: torch.Tensor | None
    """``int32 (B, N)``, 1 on the object and 0 off it."""
    masks: torch.Tensor | None
    """``float32 (B, 1, h, w)``, logits of the masks to refine, of the size that the model takes."""
    multimask: bool
    """Whether to return the model's several candidates."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What must be equal for prompts to be decoded together."""

    picture: str
    num_points: int
    has_box: bool
    has_mask: bool
    multimask: bool


class PromptableSegmenter(Expert):
    """A segmenter that embeds a picture once and decodes any number of prompts over it.

    Prompts of one form (as many points, a box or none, a mask or none) share passes of the decoder. A single click asks for
    the model's several candidates, for it is ambiguous, and so does ``prefer="area"``; the candidate returned is the surest or
    the largest. Boxes, several clicks and refinements ask for its one mask.

    Subclasses set ``mask_hw`` and a version that ends in ``passes``, and write :meth:`embed` and :meth:`decode`.
    """

    capabilities: frozenset[Capability] = frozenset({"segment"})
    batch_pixels = 2**62  # what costs memory is cut into passes here, and pictures are embedded at one size
    mixed_sizes = True
    mask_hw: tuple[int, int]
    """Size of the masks that the model takes as prompts."""

    def __init__(self, *, device: str, dtype: str, prompts: int, pictures: int, embeddings_mb: int) -> None:
        """Prepare what does not depend on the model.

        Args:
            device: As :func:`~visenv.experts._torch.pick_device` takes it.
            dtype: One of :data:`~visenv.experts._torch.DTYPES`.
            prompts: Most prompts of one pass of the decoder; 0 for one on a CPU, where more gain little and round otherwise, else 32.
            pictures: Most pictures of one pass of the encoder; 0 for one on a CPU, else eight.
            embeddings_mb: Most memory that kept embeddings hold, in MiB.
        """
        self.device = pick_device(device)
        self.dtype = dtype
        autocast(self.device, dtype)
        on_cpu = self.device.type == "cpu"
        self.prompts = check_count("prompts", prompts, low=0) or (1 if on_cpu else 32)
        self.pictures = check_count("pictures", pictures, low=0) or (1 if on_cpu else 8)
        self.passes = say_passes(self.device, prompts=self.prompts, pictures=self.pictures)
        """End of the version."""
        self.across = not on_cpu
        """Whether prompts over several pictures share a pass: it fills a GPU, and only copies embeddings about on a CPU."""
        self.embeddings: EmbeddingCache[Any] = EmbeddingCache(
            limit_bytes=check_count("embeddings_mb", embeddings_mb, low=0) * 2**20
        )
        self._lock = threading.Lock()

    @abstractmethod
    def embed(self, images: Sequence[Image]) -> list[Any]:
        """Embed pictures in one pass; the embeddings hold no memory in common."""

    @abstractmethod
    def decode(self, embeddings: Sequence[Any], prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode prompts in one pass.

        Args:
            embeddings: One per prompt; the very same object for prompts over one picture.
            prompts: Of one form.

        Returns:
            Mask logits ``(B, C, h, w)`` over the whole of each picture, and the scores of the ``C`` candidates, ``(B, C)``.
        """

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Segment a batch, in order."""
        import torch

        answers: list[Result | None] = [None] * len(requests)
        asked: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            assert isinstance(request, SegmentRequest)
            width, height = request.image.size_wh
            if request.previous is not None and request.previous.size_hw != (height, width):
                raise ExpertError(f"A mask of {request.previous.size_hw} to refine, for an image of {(height, width)}.")
            if request.box_xyxy is None and not request.points_xy and not _refines(request):
                answers[place] = Segmentation(mask=Mask.empty((height, width)), score=0.0)
            else:
                asked.setdefault(request.image.hash, []).append(place)
        with self._lock, torch.inference_mode(), autocast(self.device, self.dtype):
            for places in _parts(list(asked.values()), self.pictures):
                flat = [place for part in places for place in part]
                found = self._run_over([_segment(requests[place]) for place in flat])
                for place, segmentation in zip(flat, found, strict=True):
                    answers[place] = segmentation
        return [answer for answer in answers if answer is not None]

    def _run_over(self, requests: list[SegmentRequest]) -> list[Segmentation]:
        """Answer requests over a few pictures."""
        embeddings = self.embeddings.get([r.image for r in requests], self.embed)
        forms: dict[_Form, list[int]] = {}
        for place, request in enumerate(requests):
            forms.setdefault(self._form(request), []).append(place)
        found: dict[int, Segmentation] = {}
        for form, members in forms.items():
            for places in _parts(members, self.prompts):
                part = [requests[place] for place in places]
                logits, scores = self.decode([embeddings[place] for place in places], self._prompts(part, form))
                found |= zip(places, _choose(part, logits.float(), scores.float()), strict=True)
        return [found[place] for place in range(len(requests))]

    def _form(self, request: SegmentRequest) -> _Form:
        num_points, has_box, has_mask = len(request.points_xy), request.box_xyxy is not None, _refines(request)
        is_ambiguous = num_points == 1 and not has_box and not has_mask
        picture = "" if self.across else request.image.hash
        return _Form(picture, num_points, has_box, has_mask, is_ambiguous or request.prefer == "area")

    def _prompts(self, requests: Sequence[SegmentRequest], form: _Form) -> Prompts:
        import torch

        def numbers(values: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.tensor(values, dtype=dtype, device=self.device)

        return Prompts(
            sizes_wh=numbers([r.image.size_wh for r in requests]),
            boxes_xyxy=numbers([r.box_xyxy for r in requests]) if form.has_box else None,
            points_xy=numbers([_inside(r) for r in requests]) if form.num_points else None,
            labels=numbers([r.points_positive for r in requests], torch.int32) if form.num_points else None,
            masks=torch.cat([self.mask_to_logits(r.previous) for r in requests if r.previous])
            if form.has_mask
            else None,
            multimask=form.multimask,
        )

    def mask_to_logits(self, mask: Mask) -> torch.Tensor:
        """Return the logits, ``float32 (1, 1, h, w)``, that stand for a mask to refine.

        What a model gave before is known as a binary mask only: an expert keeps nothing from one request to the next. So each
        cell's logit is ``20 p - 10`` with ``p`` the mask's share of the cell, as SAM 2 does with masks that a person gives it.
        """
        import torch
        from torch.nn import functional

        dense = torch.from_numpy(mask.to_dense()).to(self.device, torch.float32)[None, None]
        scaled = dense * MASK_SCALE + MASK_BIAS
        return functional.interpolate(scaled, self.mask_hw, mode="bilinear", align_corners=False, antialias=True)

    def health(self) -> str:
        """Say where the model is loaded, after computing something there."""
        try_device(self.device)
        return f"loaded on {self.device}"

    def trim(self) -> bool:
        """Forget the embeddings."""
        return self.embeddings.clear()

    def close(self) -> None:
        """Forget the embeddings."""
        self.embeddings.clear()


def _segment(request: Request) -> SegmentRequest:
    assert isinstance(request, SegmentRequest)
    return request


def _refines(request: SegmentRequest) -> bool:
    return request.previous is not None and request.previous.area_px > 0


def _inside(request: SegmentRequest) -> list[tuple[float, float]]:
    """Return the clicks, those outside the picture moved to its edge."""
    width, height = request.image.size_wh
    return [(min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))) for x, y in request.points_xy]


def _parts(values: list[Any], size: int) -> Iterator[list[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _choose(requests: Sequence[SegmentRequest], logits: torch.Tensor, scores: torch.Tensor) -> list[Segmentation]:
    """Choose a candidate for each request and enlarge it to its picture's size."""
    from torch.nn import functional

    rows = scores.tolist()
    chosen = []
    for request, candidates, row in zip(requests, logits, rows, strict=True):
        width, height = request.image.size_wh
        best = max(range(len(row)), key=row.__getitem__)
        if request.prefer == "score":
            candidates, row, best = candidates[best : best + 1], row[best : best + 1], 0
        full = functional.interpolate(candidates[None], (height, width), mode="bilinear", align_corners=False)[0] > 0
        if request.prefer == "area":
            areas = full.sum((1, 2)).tolist()
            best = max(range(len(areas)), key=areas.__getitem__)
        mask = Mask.from_dense(full[best].cpu().numpy())
        chosen.append(Segmentation(mask=mask, score=min(1.0, max(0.0, row[best]))))
    return chosen
