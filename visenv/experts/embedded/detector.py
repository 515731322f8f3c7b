"""The trained detector as an expert: what the network finds, asked for by phrase."""

from __future__ import annotations

import numpy as np

from ...images import Image
from .._protocol import Capability, Detections, DetectRequest, PointRequest, Points, Request, Result
from ._analysis import INPUT_PX, Analyser
from ._batch import BatchExpert
from .matcher import match_phrase
from .names import categories

__all__ = ["THRESHOLD", "EmbeddedDetector"]

THRESHOLD = 0.3
"""Least probability of what is returned."""


class EmbeddedDetector(BatchExpert):
    """Finds the objects of EmojiWorld by name and points at their centres; an honest small network, not a lookup.

    It sees pixels, a phrase and ``data/detector.onnx``; phrases are matched through the name table. Pictures larger than
    the analyser's input are shrunk first. The latest pictures stay analysed, so several phrases on one picture cost one analysis.
    """

    name = "embedded-detector"
    version = "2"
    capabilities: frozenset[Capability] = frozenset({"detect", "point"})

    def __init__(
        self, *, threads: int | None = None, threshold: float = THRESHOLD, analyser: Analyser | None = None
    ) -> None:
        """Return what is at least ``threshold`` probable; an analyser may be shared with a segmenter."""
        super().__init__(threads=threads)
        self.threshold = threshold
        self.analyser = analyser or Analyser()
        self.weights_hash = self.analyser.network.sha256
        if (threshold, self.analyser.input_px) != (THRESHOLD, INPUT_PX):  # other options, other results
            self.version += f"-threshold{threshold:g}-input{self.analyser.input_px}"

    def changed(self, *, threshold: float, input_px: int) -> EmbeddedDetector:
        """Return a detector with the same network, on one thread, that keeps or sees more."""
        analyser = Analyser(network=self.analyser.network, input_px=input_px)
        return EmbeddedDetector(threads=1, threshold=threshold, analyser=analyser)

    def detect(self, image: Image, phrase: str) -> Detections:
        """Find what a phrase names."""
        wanted = match_phrase(phrase)
        if not wanted:
            return Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=())
        found = self.analyser.candidates(image)
        part = found.probabilities[:, list(wanted)]
        scores = np.round(part.sum(1).astype(np.float64).clip(0, 1), 4)
        keep = np.flatnonzero(scores >= self.threshold)
        boxes = np.asarray(found.boxes, np.float64).round(1)
        keep = keep[np.lexsort((boxes[keep, 0], boxes[keep, 1], -scores[keep]))]
        labels = tuple(categories()[wanted[k]].name for k in part[keep].argmax(1)) if len(keep) else ()
        return Detections(boxes_xyxy=boxes[keep], scores=scores[keep], labels=labels)

    def answer(self, request: Request) -> Result:
        """Detect or point."""
        assert isinstance(request, DetectRequest | PointRequest)
        found = self.detect(request.image, request.phrase)
        if isinstance(request, DetectRequest):
            return found
        boxes = found.boxes_xyxy
        return Points(points_xy=(boxes[:, :2] + boxes[:, 2:]) / 2, scores=found.scores)

    def health(self) -> str:
        """Load the network, unless it is loaded."""
        self.analyser.network.session()
        return "loaded"

    def close(self) -> None:
        """Forget the analysed pictures."""
        self.analyser.clear()
