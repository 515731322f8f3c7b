"""Experts that need no download and no torch: a small learned detector, GrabCut segmentation, Lanczos upscaling."""

from ._analysis import Analyser
from ._batch import BatchExpert
from .detector import EmbeddedDetector
from .segmenter import EmbeddedSegmenter
from .upscaler import LanczosUpscaler

__all__ = ["EmbeddedDetector", "EmbeddedExperts", "EmbeddedSegmenter", "LanczosUpscaler"]


def EmbeddedExperts(threads: int | None = None) -> list[BatchExpert]:  # noqa: N802 - the entry point ``embedded``
    """Make the detector, the segmenter and the upscaler.

    Args:
        threads: Most threads that one batch uses; one per core by default. Results do not depend on it.
    """
    analyser = Analyser()
    return [
        EmbeddedDetector(threads=threads, analyser=analyser),
        EmbeddedSegmenter(threads=threads, analyser=analyser),
        LanczosUpscaler(threads=threads),
    ]
