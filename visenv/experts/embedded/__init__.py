"""Experts that need no download and no torch: a small trained detector, foreground segmentation, Lanczos upscaling."""

from .._options import check_count, check_share
from ._analysis import INPUT_PX, Analyser
from ._batch import BatchExpert
from .detector import THRESHOLD, EmbeddedDetector
from .network import DetectorNetwork
from .segmenter import EmbeddedSegmenter
from .upscaler import LanczosUpscaler

__all__ = ["DetectorNetwork", "EmbeddedDetector", "EmbeddedExperts", "EmbeddedSegmenter", "LanczosUpscaler"]


def EmbeddedExperts(  # noqa: N802 - the entry point ``embedded``
    threads: int | None = None, threshold: float = THRESHOLD, input_px: int = INPUT_PX, weights: str | None = None
) -> list[BatchExpert]:
    """Make the detector, the segmenter and the upscaler.

    Args:
        threads: Most threads that one batch uses; one per core by default. Results do not depend on it.
        threshold: Least probability of what the detector returns.
        input_px: Longest side that the detector looks at; larger pictures are shrunk to it first.
        weights: A file that ``scripts/train_detector.py`` wrote; the shipped one by default.
    """
    check_share("threshold", threshold)
    check_count("input_px", input_px, low=64, high=8192)
    if threads is not None:
        check_count("threads", threads)
    analyser = Analyser(network=DetectorNetwork(weights), input_px=input_px)
    return [
        EmbeddedDetector(threads=threads, threshold=threshold, analyser=analyser),
        EmbeddedSegmenter(threads=threads, analyser=analyser),
        LanczosUpscaler(threads=threads),
    ]
