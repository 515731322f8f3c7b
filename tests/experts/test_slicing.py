"""Slices of large pictures: where they are, what becomes of the finds, and the expert that uses them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visenv.env import make_task
from visenv.errors import BadValueError, ExpertError
from visenv.experts import (
    Detections,
    DetectRequest,
    Expert,
    ExpertSet,
    PointRequest,
    Request,
    Result,
    make_experts,
)
from visenv.experts.slicing import MergeSettings, Sliced, SlicedDetector, merge_detections, slice_boxes
from visenv.images import Image
from visenv.masks import Mask, box_iou_matrix

sys.path.insert(0, str(Path(__file__).parent))
import sahi_golden

GOLDEN = json.loads(sahi_golden.FILE.read_text())
"""What the package gives; its scores and places tie, and overlaps lie on the threshold."""


@pytest.mark.parametrize("size_wh", sahi_golden.SIZES)
@pytest.mark.parametrize(("size_px", "overlap"), sahi_golden.SLICES)
def test_slices_cover_the_picture(size_wh: tuple[int, int], size_px: int, overlap: float) -> None:
    boxes = slice_boxes(size_wh, size_px=size_px, overlap=overlap)
    covered = np.zeros(size_wh[::-1], bool)
    for x1, y1, x2, y2 in boxes:
        assert x2 - x1 == min(size_px, size_wh[0]) and y2 - y1 == min(size_px, size_wh[1])
        covered[y1:y2, x1:x2] = True
    assert covered.all() and len(set(boxes)) == len(boxes)
    steps = [b[0] - a[0] for a, b in pairwise(boxes) if a[1] == b[1]]
    assert all(step <= size_px - int(overlap * size_px) for step in steps)


@pytest.mark.parametrize("case", GOLDEN["slices"], ids=lambda case: "{}x{} {} {}".format(*case))
def test_slices_are_those_of_sahi(case: list[Any]) -> None:
    width, height, size_px, overlap, columns, rows = case
    wanted = [(x, y, x + min(size_px, width), y + min(size_px, height)) for y in rows for x in columns]
    assert slice_boxes((width, height), size_px=size_px, overlap=overlap) == wanted


@pytest.mark.parametrize("case", GOLDEN["merges"], ids=lambda case: "{finds} {how} {metric}".format(**case))
def test_merging_is_sahis(case: dict[str, Any]) -> None:
    rows = GOLDEN["inputs"][case["finds"]]
    found = Detections(
        boxes_xyxy=np.array([row[:4] for row in rows], float), scores=np.array([row[4] for row in rows]),
        labels=tuple(row[5] for row in rows),
    )  # fmt: skip
    ours = merge_detections(found, MergeSettings(**{name: case[name] for name in ("how", "metric", "threshold")}))
    got = zip(ours.boxes_xyxy.tolist(), ours.scores.tolist(), ours.labels, strict=True)
    assert sorted([*box, round(score, 6), label] for box, score, label in got) == case["left"]


def test_the_golden_values_are_what_sahi_gives() -> None:
    pytest.importorskip("sahi", reason=f"compares with sahi: pip install --no-deps sahi=={GOLDEN['sahi']}")
    assert {**sahi_golden.make_golden(), "sahi": GOLDEN["sahi"]} == GOLDEN


def random_finds(seed: int, count: int) -> Detections:
    """Crowded boxes of whole pixels, with ties of score and of place."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 150, (count, 2))
    boxes = np.concatenate([low, low + rng.integers(10, 60, (count, 2))], 1).astype(float)
    boxes[count // 2 :: 7] = boxes[: len(boxes[count // 2 :: 7])]
    scores = rng.integers(1, 20, count) / 20
    return Detections(boxes_xyxy=boxes, scores=scores, labels=tuple("ab"[k] for k in rng.integers(0, 2, count)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 40))
def test_what_is_merged_is_distinct_and_sorted(seed: int, count: int) -> None:
    found = random_finds(seed, count)
    merged = merge_detections(found, MergeSettings(how="nms"))
    assert (np.diff(merged.scores) <= 0).all() and set(merged.labels) == set(found.labels)
    for label in set(merged.labels):
        boxes = merged.boxes_xyxy[[k for k, n in enumerate(merged.labels) if n == label]]
        assert (np.triu(box_iou_matrix(boxes, boxes), 1) < 0.5).all()
    grown = merge_detections(found)
    assert np.array_equal(grown.scores, merged.scores) and grown.labels == merged.labels
    assert (grown.boxes_xyxy[:, :2] <= merged.boxes_xyxy[:, :2]).all()


def test_masks_are_joined() -> None:
    size = (40, 60)
    boxes = [(0, 0, 20, 20), (8, 0, 30, 20), (40, 20, 50, 30)]
    found = Detections(
        boxes_xyxy=np.array(boxes, float), scores=np.array([0.9, 0.8, 0.7]), labels=("a", "a", "a"),
        masks=tuple(Mask.from_box(b, size) for b in boxes),
    )  # fmt: skip
    merged = merge_detections(found)
    assert merged.masks is not None
    assert [m.box_xyxy for m in merged.masks] == [(0, 0, 30, 20), (40, 20, 50, 30)]
    assert merged.boxes_xyxy.tolist() == [[0, 0, 30, 20], [40, 20, 50, 30]]


class Page(Expert):
    """Finds known boxes, as far as they lie in what it is shown; pixels say where that is."""

    name = "page"
    version = "1"
    capabilities = frozenset({"detect"})
    mixed_sizes = True

    def __init__(self, real: np.ndarray, *, with_masks: bool = False) -> None:
        self.real, self.with_masks = real, with_masks
        self.shown: list[tuple[int, int]] = []

    def run(self, requests: Sequence[Request]) -> list[Result | ExpertError]:
        return [ExpertError("out of order") if r.phrase == "fault" else self.answer(r) for r in requests]

    def answer(self, request: Request) -> Detections:
        pixels, (width, height) = request.image.pixels, request.image.size_wh
        self.shown.append((width, height))
        top, left = int(pixels[0, 0, 0]) + 256 * int(pixels[0, 0, 1]), int(pixels[0, 0, 2]) * 8
        boxes = (self.real - np.array([left, top] * 2)).clip(0, (width, height, width, height))
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(1) > 8]
        scores = (boxes[:, 2:] - boxes[:, :2]).prod(1) / 2000  # a part of a thing is less sure than the whole
        order = np.argsort(-scores, kind="stable")
        boxes, scores = boxes[order], scores[order]
        masks = tuple(Mask.from_box(b, (height, width)) for b in boxes) if self.with_masks else None
        return Detections(boxes_xyxy=boxes, scores=scores, labels=("x",) * len(boxes), masks=masks)


@pytest.fixture(scope="module")
def page() -> SimpleNamespace:
    rng = np.random.default_rng(0)
    corners = rng.permutation(np.array([(x, y) for x in range(4, 1100, 70) for y in range(4, 800, 70)]))[:120]
    pixels = np.zeros((900, 1200, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(900)[:, None] % 256, np.arange(900)[:, None] // 256
    pixels[..., 2] = np.arange(1200)[None] // 8
    return SimpleNamespace(real=np.concatenate([corners, corners + 40], 1).astype(float), image=Image(pixels))


# slices begin at multiples of 8 px, which is as well as this expert can tell where it is
@pytest.mark.parametrize(
    "options", [{}, {"whole": True}, {"merge": MergeSettings(how="nms", metric="ios")}, {"overlap": 0.25}]
)
def test_slicing_misses_and_doubles_nothing(page: SimpleNamespace, options: dict[str, object]) -> None:
    inner = Page(page.real, with_masks=True)
    sliced = SlicedDetector(inner, **{"size_px": 256, "overlap": 0.5, **options})  # type: ignore[arg-type]
    (found,) = sliced.run([DetectRequest(image=page.image, phrase="x")])
    assert isinstance(found, Detections)
    assert max(inner.shown) <= (256, 256) if not options.get("whole") else (1200, 900) in inner.shown
    iou = box_iou_matrix(page.real, found.boxes_xyxy)
    assert len(found.labels) == len(page.real) and iou.max(1).min() > (0.999 if "merge" not in options else 0.9)
    assert found.masks is not None
    assert [m.box_xyxy for m in found.masks] == [tuple(b) for b in found.boxes_xyxy.astype(int).tolist()]


def test_points_are_centres_and_small_pictures_pass(page: SimpleNamespace) -> None:
    inner = Page(page.real)
    sliced = SlicedDetector(inner, size_px=256, overlap=0.5)
    small = Image(np.zeros((200, 256, 3), np.uint8))
    found, points, passed = sliced.run([
        DetectRequest(image=page.image, phrase="x"), PointRequest(image=page.image, phrase="x"),
        DetectRequest(image=small, phrase="x"),
    ])  # fmt: skip
    boxes = found.boxes_xyxy  # type: ignore[union-attr]
    assert np.array_equal(points.points_xy, (boxes[:, :2] + boxes[:, 2:]) / 2)  # type: ignore[union-attr]
    alone = inner.answer(DetectRequest(image=small, phrase="x"))
    assert np.array_equal(passed.boxes_xyxy, alone.boxes_xyxy) and len(alone.labels)  # type: ignore[union-attr]
    assert inner.shown.count(small.size_wh) == 2


def test_a_failing_slice_fails_its_request_alone(page: SimpleNamespace) -> None:
    inner = Page(page.real)
    sliced = SlicedDetector(inner, size_px=256)
    good, bad = ExpertSet({"detect": sliced}).execute([
        DetectRequest(image=page.image, phrase="x"), DetectRequest(image=page.image, phrase="fault")
    ])  # fmt: skip
    assert isinstance(good, Detections) and isinstance(bad, ExpertError) and "out of order" in str(bad)
    assert len(inner.shown) == len(slice_boxes(page.image.size_wh, size_px=256, overlap=0.2)), "nothing is asked twice"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("sliced:overlap=1.0", "overlap"),
        ("sliced:size=8", "size"),
        ("sliced:how=best", "nmm or nms"),
        ("sliced:metric=dice", "ios or iou"),
        ("sliced:threshold=0", "threshold"),
        ("sliced:of=embedded:threshold=7", "threshold"),
        ("sliced:threshold=much", "threshold"),
        ("sliced:size=512.7", "size"),
        ("sliced:size=big", "size"),
        ("sliced:overlap=some", "overlap"),
        ("sliced:whole=no", "whole.*true or false"),
    ],
)
def test_wrong_options_are_refused(spec: str, said: str) -> None:
    with pytest.raises(BadValueError, match=said):
        make_experts(spec)


def test_spec_and_identity() -> None:
    usual = make_experts("sliced:of=embedded:threshold=0.4;input_px=512,size=300,overlap=0.3")
    assert usual.capabilities == make_experts("embedded").capabilities
    sliced = usual.experts["detect"]
    assert isinstance(sliced, SlicedDetector) and usual.experts["point"] is sliced
    assert (sliced.size_px, sliced.overlap, sliced.inner.threshold) == (300, 0.3, 0.4)  # type: ignore[attr-defined]
    assert (
        len(
            {
                Sliced(size=size, of=of)[-1].identity
                for size in (300, 512)
                for of in ("embedded", "embedded:threshold=0.4")
            }
        )
        == 4
    )
    assert Sliced()[-1].identity == Sliced()[-1].identity


def test_slices_find_what_a_shrunk_picture_hides() -> None:
    sample = make_task("EmojiDense").sample("val", 3, 0)
    phrase = " and ".join(sorted(set(sample.target.labels)))
    request = DetectRequest(image=sample.images[0], phrase=phrase)
    (whole,), (sliced,) = (make_experts(spec).execute([request]) for spec in ("embedded", "sliced:of=embedded"))
    hits = [
        (box_iou_matrix(sample.target.boxes_xyxy, found.boxes_xyxy).max(1, initial=0) > 0.5).sum()  # type: ignore[union-attr]
        for found in (whole, sliced)
    ]
    assert hits[1] > 2 * hits[0] and hits[1] > 0.5 * len(sample.target.boxes_xyxy)
