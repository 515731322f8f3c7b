"""The embedded detector, segmenter and upscaler."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from visenv.leaderboard.expert_quality import View, detect_all, judge_finds, measure_segmenter

from visenv.env import make_task
from visenv.errors import BadValueError, ExpertError
from visenv.experts import (
    Detections,
    DetectRequest,
    PointRequest,
    Request,
    SegmentRequest,
    UpscaleRequest,
    make_experts,
)
from visenv.experts.embedded import (
    DetectorNetwork,
    EmbeddedDetector,
    EmbeddedExperts,
    EmbeddedSegmenter,
    LanczosUpscaler,
)
from visenv.experts.embedded import __file__ as package
from visenv.experts.embedded._analysis import CANDIDATES_BYTES, INPUT_PX, Analyser
from visenv.experts.embedded.names import categories
from visenv.experts.embedded.network import Candidates, distinct
from visenv.images import Image
from visenv.masks import Mask, box_iou_matrix

Drawn = dict[int, list[View]]


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser()


@pytest.fixture(scope="module")
def detector(analyser: Analyser) -> EmbeddedDetector:
    return EmbeddedDetector(threads=1, analyser=analyser)


@pytest.fixture(scope="module")
def segmenter(analyser: Analyser) -> EmbeddedSegmenter:
    return EmbeddedSegmenter(threads=1, analyser=analyser)


DETECTOR_FLOORS = {1: (0.97, 0.98), 2: (0.9, 0.86), 3: (0.88, 0.78)}


@pytest.mark.parametrize("level", DETECTOR_FLOORS)
def test_detector_quality(level: int, drawn: Drawn, detector: EmbeddedDetector) -> None:
    names = [c.name for c in categories()]
    found = judge_finds(drawn[level], [detect_all(detector, view.image, names) for view in drawn[level]])
    precision, recall = DETECTOR_FLOORS[level]
    assert found.precision is not None and found.precision >= precision, found
    assert found.recall is not None and found.recall >= recall, found


@pytest.mark.parametrize(("level", "floor"), [(1, 0.92), (2, 0.85), (3, 0.78)])
def test_segmenter_quality(level: int, floor: float, drawn: Drawn, segmenter: EmbeddedSegmenter) -> None:
    ious = measure_segmenter(segmenter, drawn[level][:3]).miou
    assert ious[0] >= floor, ious
    assert ious[3] > ious[0], ious


def test_segmenter_from_points(drawn: Drawn, segmenter: EmbeddedSegmenter) -> None:
    ious = measure_segmenter(segmenter, drawn[2][:3], prompt="click", clicks=1).miou
    assert ious[0] >= 0.7, ious


def test_points_are_the_centres_of_detections(drawn: Drawn, detector: EmbeddedDetector) -> None:
    image = drawn[1][0].image
    (found,) = detector.run([DetectRequest(image=image, phrase="objects")])
    (points,) = detector.run([PointRequest(image=image, phrase="objects")])
    assert isinstance(found, Detections)
    assert len(found.labels) >= 4
    assert np.array_equal(points.points_xy, (found.boxes_xyxy[:, :2] + found.boxes_xyxy[:, 2:]) / 2)  # type: ignore[union-attr]
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.max() <= 1


def test_reasoning_queries_find_nothing(drawn: Drawn, detector: EmbeddedDetector) -> None:
    image = drawn[1][0].image
    for query in ("what keeps a swimmer afloat in rough water", "the only thing that is upside down"):
        (found,) = detector.run([DetectRequest(image=image, phrase=query)])
        assert not len(found.boxes_xyxy)  # type: ignore[union-attr]


ODD = {
    "1x1": np.zeros((1, 1, 3), np.uint8),
    "one row": np.full((1, 300, 3), 90, np.uint8),
    "one column": np.full((300, 1, 3), 90, np.uint8),
    "narrow": np.random.default_rng(0).integers(0, 256, (9, 400, 3), np.uint8),
    "black": np.zeros((64, 64, 3), np.uint8),
    "white": np.full((101, 77, 3), 255, np.uint8),
    "noise": np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_pictures(name: str, detector: EmbeddedDetector, segmenter: EmbeddedSegmenter) -> None:
    image = Image(ODD[name].copy())
    width, height = image.size_wh
    for phrase in ("objects", "apple", "apple " * 4000, ""):
        (found,) = detector.run([DetectRequest(image=image, phrase=phrase)])
        assert isinstance(found, Detections)
        assert len(found.boxes_xyxy) == len(found.scores) == len(found.labels)
    prompts = [
        SegmentRequest(image=image, box_xyxy=(0, 0, width, height)),
        SegmentRequest(image=image, box_xyxy=(0.2, 0.2, 0.4, 0.4)),
        SegmentRequest(image=image, points_xy=((width / 2, height / 2),), points_positive=(True,)),
        SegmentRequest(image=image, points_xy=((width / 2, height / 2),), points_positive=(False,)),
        SegmentRequest(image=image, previous=Mask.empty((height, width)), box_xyxy=(0, 0, width, height)),
        SegmentRequest(image=image),
    ]
    for result in segmenter.run(prompts):
        assert result.mask.size_hw == (height, width)  # type: ignore[union-attr]
        assert 0 <= result.score <= 1  # type: ignore[union-attr]


def test_clicks_are_honoured(drawn: Drawn, segmenter: EmbeddedSegmenter) -> None:
    rng = random.Random(0)
    for scene in (drawn[2][0], drawn[3][0]):
        image = scene.image
        mask = None
        for step in range(12):
            points = tuple((rng.uniform(0, 512), rng.uniform(0, 512)) for _ in range(4))
            signs = tuple(rng.random() < 0.5 for _ in points)
            box = (100.0, 100.0, 300.0, 260.0) if step % 3 else None
            if box is None and not any(signs) and mask is None:
                continue
            request = SegmentRequest(image=image, box_xyxy=box, points_xy=points, points_positive=signs, previous=mask)
            mask = segmenter.run([request])[0].mask  # type: ignore[union-attr]
            dense = mask.to_dense()
            for (x, y), positive in zip(points, signs, strict=True):
                assert dense[int(y), int(x)] == positive


def test_same_results_in_any_batch_order_and_thread_count(drawn: Drawn) -> None:
    images = [drawn[level][k].image for level in (2, 3) for k in (0, 1)]
    grey = Image(np.random.default_rng(3).integers(0, 256, (90, 90, 3), np.uint8))
    detects: list[Request] = [DetectRequest(image=i, phrase=p) for i in images for p in ("objects", "red things")]
    segments: list[Request] = [
        SegmentRequest(image=i, box_xyxy=box) for i in (*images, grey) for box in ((5.0, 5, 80, 80), (20.0, 30, 85, 88))
    ]
    segments += [SegmentRequest(image=i, points_xy=((250.0, 250.0),), points_positive=(True,)) for i in images]
    for kind, requests in ((0, detects), (1, segments)):
        alone = [EmbeddedExperts(threads=1)[kind].run([r])[0] for r in requests]
        order = list(range(len(requests)))
        random.Random(1).shuffle(order)
        together = EmbeddedExperts(threads=4)[kind].run([requests[k] for k in order])
        for k, result in zip(order, together, strict=True):
            if isinstance(result, Detections):
                assert np.array_equal(result.boxes_xyxy, alone[k].boxes_xyxy)  # type: ignore[union-attr]
                assert np.array_equal(result.scores, alone[k].scores)  # type: ignore[union-attr]
                assert result.labels == alone[k].labels  # type: ignore[union-attr]
            else:
                assert result == alone[k]


def test_analysis_is_made_once_per_picture(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = DetectorNetwork.find
    monkeypatch.setattr(DetectorNetwork, "find", lambda *a: made.append(1) or real(*a))
    detector = EmbeddedDetector(threads=1)
    image = drawn[1][1].image
    detector.run([DetectRequest(image=image, phrase=p) for p in ("apple", "cat", "objects")])
    assert len(made) == 1


def test_what_is_kept_of_pictures_is_bounded_by_bytes() -> None:
    analyser, made = Analyser(), []

    def find(pixels: np.ndarray) -> Candidates:
        made.append(1)
        return Candidates(np.zeros((count, 4), np.float32), np.zeros((count, len(categories())), np.float32))

    analyser.network.find = find  # type: ignore[method-assign]
    pictures = [Image(np.full((8, 8, 3), shade, np.uint8)) for shade in range(200)]
    count = 20  # as many as eight pictures of 2048 px have in slices
    for _ in range(3):
        for picture in pictures:
            analyser.candidates(picture)
    assert len(made) == 200, "another phrase costs no other analysis"
    analyser.clear()
    count = 2000  # 1.76 MB a picture
    for picture in pictures:
        analyser.candidates(picture)
    assert 0.9 * CANDIDATES_BYTES < analyser._candidates.num_bytes <= CANDIDATES_BYTES
    analyser.candidates(pictures[-1])
    assert len(made) == 400
    analyser.candidates(pictures[0])
    assert len(made) == 401


def test_upscaler() -> None:
    image = Image(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    (result,) = LanczosUpscaler().run([UpscaleRequest(image=image, scale=3)])
    assert result.image.size_wh == (90, 60)  # type: ignore[union-attr]
    (same,) = LanczosUpscaler().run([UpscaleRequest(image=image, scale=1)])
    assert same.image == image  # type: ignore[union-attr]


def test_experts_say_who_they_are() -> None:
    experts = EmbeddedExperts()
    assert [e.name for e in experts] == ["embedded-detector", "embedded-segmenter", "embedded-upscaler"]
    assert frozenset().union(*(e.capabilities for e in experts)) == {"detect", "point", "segment", "upscale"}
    assert len(experts[0].weights_hash) == 64
    data = Path(package).parent / "data"
    assert (data / "detector.onnx").stat().st_size + (data / "foreground.npz").stat().st_size <= 10_000_000


def test_options_make_another_expert() -> None:
    usual, *others = (
        EmbeddedExperts(**options)[0] for options in ({}, {"threshold": 0.5}, {"input_px": 512}, {"threads": 2})
    )
    assert [other.identity == usual.identity for other in others] == [False, False, True]


@pytest.mark.parametrize(
    "options",
    [
        "threshold=2.0",
        "threshold=high",
        "threads=-3",
        "threads=0",
        "threads=1.5",
        "input_px=63",
        "input_px=big",
        "weights=7",
    ],
)
def test_wrong_options_are_refused(options: str) -> None:
    with pytest.raises(BadValueError, match=options.partition("=")[0]):
        make_experts(f"embedded:{options}")


def test_other_weights(tmp_path: Path, drawn: Drawn) -> None:
    shipped = Path(package).parent / "data" / "detector.onnx"
    (tmp_path / "same.onnx").write_bytes(shipped.read_bytes())
    assert EmbeddedExperts(weights=str(tmp_path / "same.onnx"))[0].identity == EmbeddedExperts()[0].identity
    with pytest.raises(BadValueError, match="train_detector"):
        EmbeddedExperts(weights=str(tmp_path / "none.onnx"))
    (tmp_path / "broken.onnx").write_bytes(shipped.read_bytes()[:5000])
    broken = EmbeddedExperts(weights=str(tmp_path / "broken.onnx"))[0]
    with pytest.raises(ExpertError, match="cannot be loaded"):
        broken.health()
    with pytest.raises(ExpertError, match="cannot be loaded"):
        broken.run([DetectRequest(image=drawn[1][0].image, phrase="apple")])


def test_one_box_for_each_thing() -> None:
    boxes = np.array([[0, 0, 20, 20], [0, 0, 20, 19], [0, 0, 20, 13], [0, 0, 20, 13.9], [40, 40, 60, 60]], np.float32)
    odds = np.zeros((5, 3), np.float32)
    odds[range(5), [0, 1, 0, 1, 0]] = [0.9, 0.8, 0.7, 0.6, 0.95]
    kept = distinct(Candidates(boxes, odds))
    # the second overlaps the best one by more than 0.7, the third by more than 0.5 with the same name, the fourth by less than 0.7
    assert kept.best.tolist() == pytest.approx([0.95, 0.9, 0.6])


@pytest.fixture(scope="module")
def dense() -> tuple[Image, list[tuple[float, float, float, float]]]:
    """A dense scene of 1024 px, more than the detector's input, and its target boxes."""
    sample = make_task("EmojiDense").sample("val", 1, 0)
    return sample.images[0], list(sample.target.boxes_xyxy)


def test_a_small_thing_in_a_large_picture_is_segmented_at_full_size(dense, segmenter: EmbeddedSegmenter) -> None:
    image, boxes = dense
    assert max(image.size_wh) > INPUT_PX
    results = segmenter.run([SegmentRequest(image=image, box_xyxy=b) for b in boxes[:8]])
    ious = [box_iou_matrix([r.mask.box_xyxy], [b])[0, 0] for r, b in zip(results, boxes, strict=False)]
    assert np.mean(ious) > 0.85, ious
    x, y = (boxes[0][0] + boxes[0][2]) / 2, (boxes[0][1] + boxes[0][3]) / 2
    (clicked,) = segmenter.run([SegmentRequest(image=image, points_xy=((x, y),), points_positive=(True,))])
    assert clicked.mask.to_dense()[int(y), int(x)]
    again = SegmentRequest(
        image=image, points_xy=((x, y), (x, y)), points_positive=(True, False), previous=clicked.mask
    )
    assert not segmenter.run([again])[0].mask.to_dense()[int(y), int(x)], "the last click is honoured"


def test_a_click_outside_a_large_picture_does_no_harm(dense, segmenter: EmbeddedSegmenter) -> None:
    image, _ = dense
    (found,) = segmenter.run([SegmentRequest(image=image, points_xy=((5000.0, -20.0),), points_positive=(True,))])
    assert found.mask.size_hw == (image.size_wh[1], image.size_wh[0])


def test_large_pictures_are_shrunk_so_patches_find_more(dense, detector: EmbeddedDetector) -> None:
    sample = make_task("EmojiDense").sample("val", 3, 0)
    image = sample.images[0]
    patches = [
        Image(image.pixels[y : y + 512, x : x + 512].copy()) for y in range(0, 2048, 512) for x in range(0, 2048, 512)
    ]
    phrase = " and ".join(sorted(set(sample.target.labels)))
    (whole,) = detector.run([DetectRequest(image=image, phrase=phrase)])
    parts = detector.run([DetectRequest(image=p, phrase=phrase) for p in patches])
    assert sum(len(p.scores) for p in parts) > 1.2 * len(whole.scores)


def test_one_picture_is_analysed_once_whatever_the_threads(drawn: Drawn) -> None:
    analyser = Analyser()
    made = []
    compute = analyser.network.find
    analyser.network.find = lambda pixels: (made.append(1), compute(pixels))[1]  # type: ignore[method-assign]
    requests = [DetectRequest(image=drawn[1][0].image, phrase=p) for p in ("object", "apple", "car", "dog")]
    EmbeddedDetector(threads=4, analyser=analyser).run(requests)
    assert len(made) == 1
