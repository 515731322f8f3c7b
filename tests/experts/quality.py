"""Measure the embedded experts on drawn scenes.

python tests/experts/quality.py --scenes 20            # 512-px scenes and Dense scenes, every level
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from visenv.tasks.emojiworld.rng import Rng
from visenv.tasks.emojiworld.scene import Scene

from visenv.experts import SegmentRequest
from visenv.experts.embedded import EmbeddedDetector, EmbeddedSegmenter
from visenv.experts.embedded.names import categories
from visenv.images import Image
from visenv.masks import Mask, box_iou_matrix, mask_iou_matrix

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from make_descriptors import make_scene


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorQuality:
    """Figures over a list of scenes, all at IoU 0.5."""

    precision: float
    recall: float
    """Of boxes above the detector's threshold, with the right category."""
    f1: float
    map50: float
    """Mean over categories of average precision (all-point), categories that occur."""
    agnostic_recall: float
    """Objects with some candidate box, whatever its name."""
    seconds: float
    """Per scene."""


def scenes(level: int, count: int, *, dense: bool = False, odd: float = 0.05) -> list[Scene]:
    """Draw scenes of the split ``val``: no novel category; Dense ones are large and crowded, without EmojiDense's heaps."""
    known = [c.name for c in categories() if not c.novel]
    out = []
    for index in range(count):
        rng = Rng.of("emojiworld-v0", "val", "quality", dense, level, index)
        if dense:
            names = rng.sample(known, rng.integer(8, 14))
            low, high = ((100, 150), (150, 250), (250, 400))[level - 1]
            out.append(make_scene(rng, level, side_px=(1024, 1536, 2048)[level - 1], count=rng.integer(low, high),
                                  sizes_px=(20, 56), names=names, odd=0))  # fmt: skip
        else:
            low, high = ((5, 7), (8, 12), (12, 18))[level - 1]
            sizes = ((56, 120), (44, 110), (36, 100))[level - 1]
            out.append(make_scene(rng, level, count=rng.integer(low, high), sizes_px=sizes, names=known, odd=odd))
    return out


def measure_detector(detector: EmbeddedDetector, drawn: Sequence[Scene]) -> DetectorQuality:
    """Detect each category of the table in each scene."""
    names = [c.name for c in categories()]
    hits: list[tuple[str, float, bool]] = []
    totals: dict[str, int] = {}
    covered = right = shown = 0
    seconds = 0.0
    for scene in drawn:
        image = Image(np.array(scene.pixels))
        started = time.perf_counter()
        found = detector.analyser.candidates(image)
        seconds += time.perf_counter() - started
        truth = [o for o in scene.objects if o.category != "sign"]
        boxes = np.array([o.box_xyxy for o in truth], np.float64).reshape(-1, 4)
        iou = box_iou_matrix(found.boxes, boxes)
        covered += int((iou.max(0, initial=0) >= 0.5).sum())
        for thing in truth:
            totals[thing.category] = totals.get(thing.category, 0) + 1
        for number, name in enumerate(names):
            own = [k for k, o in enumerate(truth) if o.category == name]
            scores = found.probabilities[:, number]
            free = set(own)
            for k in np.argsort(-scores, kind="stable"):
                if scores[k] < 0.02:
                    break
                best = max(free, key=lambda j: iou[k, j], default=None)
                hit = best is not None and iou[k, best] >= 0.5
                if hit:
                    free.discard(best)  # type: ignore[arg-type]
                hits.append((name, float(scores[k]), hit))
                if scores[k] >= detector.threshold:
                    shown += 1
                    right += hit
    precision, recall = right / max(1, shown), right / max(1, sum(totals.values()))
    return DetectorQuality(
        precision=precision, recall=recall, f1=2 * precision * recall / max(1e-9, precision + recall),
        map50=float(np.mean([_average_precision(n, hits, totals[n]) for n in totals])),
        agnostic_recall=covered / max(1, sum(totals.values())), seconds=seconds / len(drawn),
    )  # fmt: skip


def _average_precision(name: str, hits: Sequence[tuple[str, float, bool]], total: int) -> float:
    own = np.array([h for n, s, h in sorted((h for h in hits if h[0] == name), key=lambda h: -h[1])], float)
    if not len(own):
        return 0.0
    precision = own.cumsum() / np.arange(1, len(own) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((precision * own).sum() / total)


def error_click(mask: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> tuple[float, float, bool]:
    """Return the middle of the largest wrong region and whether it belongs to the object."""
    import cv2

    wrong = np.pad((mask != truth).astype(np.uint8), 1)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(wrong, connectivity=4)
    if len(stats) == 1:
        ys, xs = np.nonzero(truth)
        return float(xs[0]) + 0.5, float(ys[0]) + 0.5, True
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    depth = cv2.distanceTransform((labels == largest).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(x) + 0.5, float(y) + 0.5, bool(truth[y, x])


def measure_segmenter(
    segmenter: EmbeddedSegmenter, drawn: Sequence[Scene], *, clicks: int = 3, per_scene: int = 6, prompt: str = "box"
) -> tuple[list[float], float]:
    """Return mean IoU after the first prompt and after each correcting click, and seconds per prompt."""
    sums: list[list[float]] = [[] for _ in range(clicks + 1)]
    seconds, prompts = 0.0, 0
    for scene in drawn:
        image = Image(np.array(scene.pixels))
        segmenter.analyser.foreground(image)
        for thing in [o for o in scene.objects if o.category != "sign"][:per_scene]:
            size_hw = scene.pixels.shape[:2]
            target = thing.mask((size_hw[0], size_hw[1]))
            truth = target.to_dense()
            points: list[tuple[float, float, bool]] = []
            if prompt == "point":
                points.append(error_click(np.zeros_like(truth), truth))
            mask: Mask | None = None
            for step in range(clicks + 1):
                started = time.perf_counter()
                result = segmenter.run([SegmentRequest(
                    image=image, box_xyxy=tuple(map(float, thing.box_xyxy)) if prompt == "box" else None,
                    points_xy=tuple((x, y) for x, y, _ in points), points_positive=tuple(p for *_, p in points),
                    previous=mask,
                )])[0]  # fmt: skip
                seconds += time.perf_counter() - started
                prompts += 1
                mask = result.mask  # type: ignore[union-attr]
                sums[step].append(float(mask_iou_matrix([mask], [target])[0, 0]))
                points.append(error_click(mask.to_dense(), truth))
    return [float(np.mean(s)) for s in sums], seconds / max(1, prompts)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--dense", type=int, default=2)
    parser.add_argument("--what", nargs="+", default=["detect", "segment", "point"])
    arguments = parser.parse_args()
    for dense in (False, True):
        for level in (1, 2, 3):
            count = arguments.dense if dense else arguments.scenes
            if not count:
                continue
            drawn = scenes(level, count, dense=dense)
            title = f"{'Dense' if dense else '512px'} level {level}"
            if "detect" in arguments.what:
                q = measure_detector(EmbeddedDetector(), drawn)
                print(f"{title}: P {q.precision:.3f} R {q.recall:.3f} F1 {q.f1:.3f} mAP50 {q.map50:.3f} "
                      f"agnostic {q.agnostic_recall:.3f}, {1000 * q.seconds:.0f} ms", flush=True)  # fmt: skip
            for prompt in ("box", "point"):
                if not dense and ("segment" if prompt == "box" else "point") in arguments.what:
                    ious, seconds = measure_segmenter(EmbeddedSegmenter(), drawn, prompt=prompt)
                    print(f"{title}: {prompt}, then clicks: mIoU {' '.join(f'{v:.3f}' for v in ious)}, "
                          f"{1000 * seconds:.1f} ms", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
