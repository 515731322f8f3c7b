"""An expert that finds apples by their colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from visenv import Image
from visenv.experts import Detections, DetectRequest, Expert, Result

LEAST_PX = 40


class AppleExpert(Expert):
    """Detects round things that are redder or brighter than a lawn, whatever the phrase."""

    name = "orchard"
    capabilities = frozenset({"detect"})

    def __init__(self, least_px: int = LEAST_PX) -> None:
        """Leave out what is smaller than ``least_px``; on the command line ``orchard:least_px=100``."""
        self.least_px = least_px
        self.version = f"1-least{least_px}"  # results are kept by version: options that change them belong to it

    def run(self, requests: Sequence[DetectRequest]) -> list[Result]:
        """Answer each request by itself."""
        return [self.detect(r.image) for r in requests]

    def detect(self, image: Image) -> Detections:
        """Return a box for each connected region of an apple's colour, the largest first."""
        red, green, _ = np.moveaxis(image.pixels.astype(int), 2, 0)
        regions, _ = ndimage.label((red - green > 60) | (green > 180))
        found = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
            area = int((regions[rows, columns] == number).sum())
            if area >= self.least_px:
                found.append((area, (columns.start, rows.start, columns.stop, rows.stop)))
        found.sort(key=lambda one: (-one[0], one[1]))
        return Detections(
            boxes_xyxy=np.array([box for _, box in found], np.float64).reshape(-1, 4),
            scores=np.full(len(found), 0.9),
            labels=("apple",) * len(found),
        )
