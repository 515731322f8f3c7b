"""What detectors that find what a phrase names share: one picture's phrases together, and boxes of the documented form."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...images import Image
from ...masks import box_iou_matrix
from .._once import WarnOnce
from .._options import check_count, check_share
from .._protocol import Capability, Detections, DetectRequest, Expert, PointRequest, Points, Request, Result
from .._torch import autocast, hash_model, pick_device, say_passes, try_device
from ..embeddings import EmbeddingCache
from ._settings import settings_of

__all__ = ["HFDetector", "as_scores", "clean_boxes"]

Floats = npt.NDArray[Any]


class HFDetector(Expert):
    """Finds what a noun phrase names, and points at the centres of what it found.

    Subclasses set ``default_threshold`` and write :meth:`find`.
    """

    capabilities: frozenset[Capability] = frozenset({"detect", "point"})
    options: ClassVar[frozenset[str]] = frozenset({"threshold", "overlap", "batch", "embeddings_mb"})
    """Those of :func:`~visenv.experts.hf.HF` that it has, beside those that all have."""
    mixed_sizes = True
    default_threshold: ClassVar[float]
    """Least score of what is returned, unless told otherwise."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        model_type: str,
        device: str = "auto",
        dtype: str = "float32",
        threshold: float | None = None,
        overlap: float = 0.8,
        batch: int = 0,
        embeddings_mb: int = 1024,
    ) -> None:
        """Take over a model and its processor; the options are those of :func:`~visenv.experts.hf.HF`."""
        import transformers

        self.device = pick_device(device)
        self.dtype = dtype
        autocast(self.device, dtype)
        self.threshold = check_share("threshold", self.default_threshold if threshold is None else threshold)
        self.overlap = check_share("overlap", overlap)
        self.batch = check_count("batch", batch, low=0) or (1 if self.device.type == "cpu" else 8)
        self.model = model.to(self.device).eval()
        self.processor = processor
        self.name = f"hf-{model_type}"
        self.version = f"1/{transformers.__version__}{say_passes(self.device, batch=self.batch)}"
        self.weights_hash = hash_model(
            model, config=settings_of(model.config), images=settings_of(processor.image_processor), words=processor.tokenizer.get_vocab(),
            dtype=dtype, threshold=self.threshold, overlap=self.overlap,
        )  # fmt: skip
        self.embeddings: EmbeddingCache[Any] = EmbeddingCache(
            limit_bytes=check_count("embeddings_mb", embeddings_mb, low=0) * 2**20
        )
        self._lock = threading.Lock()
        self._warn = WarnOnce(__name__)

    def tokenize(self, text: str, limit: int, **options: Any) -> Any:
        """Return the tokens of a text as tensors ``(1, N)``, cut off where the model can take no more; the log then says so once.

        Args:
            text: What the model is asked for.
            limit: Most tokens that it takes.
            **options: More for the tokenizer.
        """
        tokenizer = self.processor.tokenizer
        num_tokens = len(tokenizer(text, verbose=False).input_ids)
        if num_tokens > limit:
            self._warn(text, "%s looks at the first %d of %d tokens of %r.", self.identity, limit, num_tokens, text)
        return tokenizer(text, return_tensors="pt", truncation=True, max_length=limit, **options)

    @abstractmethod
    def find(self, asked: Mapping[Image, Sequence[str]]) -> dict[tuple[Image, str], Detections]:
        """Find what phrases name, for each picture its own, all different and none empty."""

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Detect or point, in order."""
        import torch

        asked: dict[Image, dict[str, None]] = {}
        places: list[tuple[Image, str]] = []
        for request in requests:
            assert isinstance(request, DetectRequest | PointRequest)
            places.append((request.image, " ".join(request.phrase.split())))
            if places[-1][1]:
                asked.setdefault(request.image, {})[places[-1][1]] = None
        with self._lock, torch.inference_mode(), autocast(self.device, self.dtype):
            found = self.find({image: list(phrases) for image, phrases in asked.items()}) if asked else {}
        nothing = Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=())
        return [_answer(r, found.get(place, nothing)) for r, place in zip(requests, places, strict=True)]

    def make_detections(self, image: Image, phrase: str, boxes: Floats, scores: Floats) -> Detections:
        """Make the documented form of what a model says: inside the picture, best first, none twice.

        Args:
            image: Where it was found.
            phrase: Becomes the label.
            boxes: ``(N, 4)`` in pixels of ``image``, of any score and size.
            scores: ``(N,)``.
        """
        clean, kept = self.clean(image, boxes, scores)
        return Detections(boxes_xyxy=clean, scores=as_scores(scores, kept), labels=(phrase,) * len(kept))

    def clean(self, image: Image, boxes: Floats, scores: Floats) -> tuple[npt.NDArray[np.float64], list[int]]:
        """Clean boxes of a picture with this expert's threshold and overlap, as :func:`clean_boxes` does."""
        return clean_boxes(boxes, scores, image.size_wh, threshold=self.threshold, overlap=self.overlap)

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


def clean_boxes(
    boxes: Floats, scores: Floats, size_wh: tuple[int, int], *, threshold: float, overlap: float
) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Cut boxes at the picture's edges and keep those that hold something, are sure enough and are not there twice.

    Args:
        boxes: ``(N, 4)``, pixels.
        scores: ``(N,)``.
        size_wh: The picture's.
        threshold: Least score; equal to it is not enough, as in Transformers.
        overlap: Of two boxes with a larger IoU the surer one stays.

    Returns:
        The boxes kept, best first, and their places in ``boxes``.
    """
    clean = np.asarray(boxes, np.float64).reshape(-1, 4).clip(0, [*size_wh, *size_wh])
    values = np.asarray(scores, np.float64)
    fits = (clean[:, 2] > clean[:, 0]) & (clean[:, 3] > clean[:, 1]) & (values > threshold)
    places = np.flatnonzero(fits & np.isfinite(values) & np.isfinite(clean).all(1))
    order = places[np.lexsort((places, -values[places]))]
    iou = (
        box_iou_matrix(clean[order], clean[order]) if overlap < 1 and len(order) else np.zeros((len(order), len(order)))
    )
    kept: list[int] = []
    for k in range(len(order)):
        if not (iou[k, kept] > overlap).any():
            kept.append(k)
    chosen = order[kept]
    return clean[chosen], chosen.tolist()


def as_scores(scores: Floats, kept: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the scores of what is kept, ``float64`` in [0, 1]."""
    return np.asarray(scores, np.float64)[list(kept)].clip(0, 1)


def _answer(request: Request, found: Detections) -> Result:
    if isinstance(request, DetectRequest):
        return found
    boxes = found.boxes_xyxy
    return Points(points_xy=(boxes[:, :2] + boxes[:, 2:]) / 2, scores=found.scores)
