"""Models of the ``ultralytics`` package (AGPL-3.0): YOLO, YOLO-World and YOLOE as detectors, FastSAM and SAM as segmenters."""

from ._loading import Ultralytics

__all__ = ["Ultralytics"]
