"""Ask sahi for slices and merged finds, and write what it gives to ``sahi.json``.

pip install --no-deps sahi==0.12.8        # with dependencies it brings an OpenCV that overwrites the headless one
python tests/experts/sahi_golden.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("sahi.json")
SIZES = [(512, 512), (1000, 500), (2048, 2048), (100, 700), (33, 4000), (513, 511)]
SLICES = [(512, 0.2), (300, 0.0), (257, 0.33), (64, 0.75)]


def make_finds(seed: int, step: int, count: int = 90) -> list[list[Any]]:
    """Draw crowded finds with ties of score and of place; with a coarse ``step``, in pixels, of overlap at the threshold, too."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 120 // step, (count, 2)) * step
    boxes = np.concatenate([low, low + rng.integers(10 // step, 60 // step, (count, 2)) * step], 1)
    boxes[count // 2 :: 7] = boxes[: len(boxes[count // 2 :: 7])]
    scores = rng.integers(1, 20, count) / 20
    return [
        [*b, s, "ab"[k]] for b, s, k in zip(boxes.tolist(), scores.tolist(), rng.integers(0, 2, count), strict=True)
    ]


def slice_starts(size_wh: tuple[int, int], size_px: int, overlap: float) -> list[list[int]]:
    """Return where columns and rows of slices start; sahi goes through them row by row."""
    from sahi.slicing import get_slice_bboxes

    width, height = size_wh
    boxes = get_slice_bboxes(height, width, size_px, size_px, overlap_height_ratio=overlap, overlap_width_ratio=overlap)
    columns, rows = (sorted({box[k] for box in boxes}) for k in (0, 1))
    ends = min(size_px, width), min(size_px, height)
    assert boxes == [[x, y, x + ends[0], y + ends[1]] for y in rows for x in columns]
    return [columns, rows]


def merge(finds: list[list[Any]], how: str, metric: str, threshold: float) -> list[list[Any]]:
    """Return what is left of finds, sorted by place."""
    from sahi.postprocess.combine import GreedyNMMPostprocess, NMSPostprocess
    from sahi.prediction import ObjectPrediction

    kind = GreedyNMMPostprocess if how == "nmm" else NMSPostprocess
    theirs = [
        ObjectPrediction(bbox=box, category_id="ab".index(name), category_name=name, score=score, full_shape=[300, 300])
        for *box, score, name in finds
    ]
    left = kind(match_threshold=threshold, match_metric=metric.upper(), class_agnostic=False)(theirs)
    return sorted([*map(int, p.bbox.to_xyxy()), round(float(p.score.value), 6), p.category.name] for p in left)


def make_golden() -> dict[str, Any]:
    """Return everything that the tests compare with."""
    slices = [[*size_wh, *cut, *slice_starts(size_wh, *cut)] for size_wh, cut in product(SIZES, SLICES)]
    inputs = {
        "fine": make_finds(0, 1),
        "fine again": make_finds(1, 1),
        "coarse": make_finds(2, 5),
        "coarser": make_finds(3, 10),
    }
    merges = [
        {"finds": name, "how": how, "metric": metric, "threshold": 0.5, "left": merge(finds, how, metric, 0.5)}
        for (name, finds), how, metric in product(inputs.items(), ("nmm", "nms"), ("ios", "iou"))
    ]
    return {"sahi": version("sahi"), "slices": slices, "inputs": inputs, "merges": merges}


if __name__ == "__main__":
    FILE.write_text(json.dumps(make_golden(), separators=(",", ":")) + "\n")
