"""Running an expert on any mixture of requests: batches that fit, and every failure where it belongs."""

from __future__ import annotations

import itertools
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visenv import Expert, Image, Mask
from visenv.errors import ExpertError, TemporaryExpertError
from visenv.experts import (
    DescribeRequest,
    Description,
    Detections,
    DetectRequest,
    PointRequest,
    Points,
    ReadRequest,
    Segmentation,
    SegmentRequest,
    TextLines,
    Upscaled,
    UpscaleRequest,
    running,
)
from visenv.experts.running import num_pixels, ran_out_of_memory, run_isolated

SIZES_WH = ((4, 4), (8, 4), (16, 16))
PICTURES = [Image(np.full((h, w, 3), shade, np.uint8)) for w, h in SIZES_WH for shade in (0, 9)]


class TorchError(RuntimeError):
    """Looks like ``torch.OutOfMemoryError``."""


TorchError.__module__, TorchError.__qualname__ = "torch", "OutOfMemoryError"


class Model(Expert):
    """Answers with a box that names its request; fails for phrases that say how, and above a number of pixels."""

    name, version, capabilities = "model", "1", frozenset({"detect", "point"})

    def __init__(self, room: int = 2**40, *, error: type[BaseException] = MemoryError, mixed: bool = False) -> None:
        self.room, self.error, self.mixed_sizes = room, error, mixed
        self.batches: list[list[DetectRequest]] = []
        self.trims = 0

    def run(self, requests):
        self.batches.append(list(requests))
        assert len({r.capability for r in requests}) == 1
        assert self.mixed_sizes or len({r.image.size_wh for r in requests}) == 1
        if sum(map(num_pixels, requests)) > self.room:
            raise self.error("no room")
        for request in requests:
            if request.phrase == "raise":
                raise ValueError("cannot be read")
            if request.phrase == "exit":
                raise SystemExit(3)
        results = [self.one(r) for r in requests]
        return results[:-1] if any(r.phrase == "lose" for r in requests) else results

    def one(self, request):
        width, height = request.image.size_wh
        scores = np.array([len(request.phrase) / 20 + request.image.pixels[0, 0, 0] / 100])
        if request.capability == "point":
            return Points(points_xy=np.array([[1.0, 2.0]]), scores=scores)
        box = np.array([[0.0, 0, width, height if request.phrase != "nan" else np.nan]])
        return Detections(boxes_xyxy=box, scores=scores, labels=(request.phrase,))

    def trim(self):
        self.trims += 1
        return False


def asked(phrases, pictures=PICTURES, kind=DetectRequest):
    return [kind(image=i, phrase=p) for i, p in zip(itertools.cycle(pictures), phrases, strict=False)]


def same(first, second):
    return type(first) is type(second) and (
        str(first) == str(second)
        if isinstance(first, ExpertError)
        else all(np.array_equal(getattr(first, f), getattr(second, f)) for f in first.__dataclass_fields__)
    )


REQUESTS = st.lists(
    st.builds(
        lambda kind, image, phrase: kind(image=image, phrase=phrase), st.sampled_from([DetectRequest, PointRequest]),
        st.sampled_from(PICTURES), st.sampled_from(["a", "bb", "ccc", "dddd", "raise", "lose", "exit", "nan"]),
    ),
    max_size=24,
)  # fmt: skip


@settings(deadline=None)
@given(
    REQUESTS, st.integers(100, 2000), st.integers(1, 2000), st.sampled_from([MemoryError, TorchError, OSError]),
    st.booleans(),
)  # fmt: skip
def test_any_mixture_gives_what_each_request_gives_alone(requests, room, batch_pixels, error, mixed):
    model = Model(room, error=error, mixed=mixed)
    model.batch_pixels = batch_pixels
    together = run_isolated(model, requests)
    first = len(model.batches)
    alone = [run_isolated(Model(room, error=error), [r])[0] for r in requests]
    assert len(together) == len(requests) and all(map(same, together, alone))
    bad = [isinstance(a, ExpertError) for a in together]
    assert bad == [num_pixels(r) > room or r.phrase in ("raise", "exit", "lose") or (r.phrase == "nan" and r.capability == "detect") for r in requests]  # fmt: skip
    assert first <= 2 * len(requests), "at most 2 n - 1 calls a batch"
    for batch in model.batches:
        assert sum(map(num_pixels, batch)) <= batch_pixels or len(batch) == 1


def test_one_batch_of_a_size_and_pictures_stand_together():
    model = Model()
    run_isolated(
        model, asked("abcdefghijkl")
    )  # a and g are about the first picture, b and h about the second of its size, …
    assert ["".join(r.phrase for r in batch) for batch in model.batches] == ["agbh", "cidj", "ekfl"]
    model = Model(mixed=True)
    run_isolated(model, asked("abcdef"))
    assert len(model.batches) == 1


def test_a_failing_request_costs_few_calls():
    model = Model()
    answers = run_isolated(model, asked(["a"] * 63 + ["raise"], PICTURES[:1]))
    assert [isinstance(a, ExpertError) for a in answers] == [False] * 63 + [True]
    assert len(model.batches) == 13 and "model@1 failed: ValueError: cannot be read" in str(answers[-1])


def calls(model, requests):
    """How often the model is called for requests that it answers."""
    before = len(model.batches)
    assert not any(isinstance(a, ExpertError) for a in run_isolated(model, requests))
    return len(model.batches) - before


def test_an_error_in_place_is_of_its_request_and_asked_once():
    class Knowing(Model):
        def run(self, requests):
            self.batches.append(list(requests))
            return [ExpertError("too dark") if r.phrase == "dark" else self.one(r) for r in requests]

    model = Knowing()
    answers = run_isolated(model, asked(["a", "dark"] * 16, PICTURES[:1]))
    assert [isinstance(a, ExpertError) for a in answers] == [False, True] * 16
    assert len(model.batches) == 1 and str(answers[1]) == "too dark"


def test_batches_are_smaller_for_a_while_once_memory_ran_out(monkeypatch):
    model = Model(room=1024, error=TorchError)
    requests = asked(["a"] * 16, PICTURES[-1:])  # 256 px each
    assert not any(isinstance(a, ExpertError) for a in run_isolated(model, requests))
    assert len(model.batches) == 7
    assert calls(model, requests) == 4
    assert calls(model, asked(["a"] * 16, PICTURES[-1:], PointRequest)) == 7, "another capability is another matter"
    monkeypatch.setattr(running, "LOWERED_S", 0.0)
    assert calls(model, requests) == 7 and model.batch_pixels == 2**25, "what filled the memory may be gone"


def test_one_request_that_never_fits_leaves_the_batches_of_others_as_they_are():
    class Choosy(Model):
        def one(self, request):
            if request.phrase == "raise":
                raise TorchError("no room")
            return super().one(request)

        def run(self, requests):
            self.batches.append(list(requests))
            return [self.one(r) for r in requests]

    model = Choosy()
    answers = run_isolated(model, asked(["a"] * 30 + ["raise"] + ["a"] * 33, PICTURES[:1]))
    assert [isinstance(a, ExpertError) for a in answers] == [False] * 30 + [True] + [False] * 33
    assert calls(model, asked(["a"] * 64, PICTURES[:1])) == 1


def test_memory_that_can_be_given_back_is_before_anything_is_halved():
    class Hoarding(Model):
        def trim(self):
            self.trims += 1
            self.room, before = 2**20, self.room
            return self.room != before

    model = Hoarding(room=1000)
    assert not any(isinstance(a, ExpertError) for a in run_isolated(model, asked(["a"] * 16, PICTURES[-1:])))
    assert len(model.batches) == 2 and model.trims == 1

    class Vain(Model):
        def trim(self):
            self.trims += 1
            return True

    model = Vain(room=0)
    answers = run_isolated(model, asked(["a"] * 8, PICTURES[:1]))
    assert all("MemoryError: no room" in str(a) for a in answers)
    assert len(model.batches) == 2 * 8 - 1 + 9


def test_what_filled_the_memory_is_let_go_with_its_failure():
    held = []

    class Holding(Model):
        def run(self, requests):
            activations = type("Tensor", (), {})()
            held.append(weakref.ref(activations))
            raise TorchError("full")

    answers = run_isolated(Holding(), asked(["a"] * 4, PICTURES[:1]))
    assert len(answers) == 4 and len(held) == 7 and not any(ref() for ref in held)


def test_what_is_temporary_is_of_all_and_asked_once():
    class Away(Model):
        def run(self, requests):
            self.batches.append(list(requests))
            raise TemporaryExpertError("restarting")

    model = Away()
    answers = run_isolated(model, asked(["a"] * 8, PICTURES[:1]))
    assert len(model.batches) == 1 and all(isinstance(a, TemporaryExpertError) for a in answers)


def test_ctrl_c_goes_through():
    class Interrupted(Model):
        def run(self, requests):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_isolated(Interrupted(), asked("a"))


def wrapped(error):
    try:
        try:
            raise error
        except BaseException as inner:
            raise ExpertError("the model failed") from inner
    except ExpertError as outer:
        return outer


class OrtError(RuntimeError):
    """Looks like an exception of onnxruntime."""


OrtError.__module__ = "onnxruntime.capi.onnxruntime_pybind11_state"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError(), True), (TorchError("x"), True), (type("Own", (TorchError,), {})("x"), True), (wrapped(TorchError("x")), True),
        (OrtError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 9"), True),
        (OrtError("[ONNXRuntimeError] : 1 : FAIL : invalid shape"), False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"), True),
        (RuntimeError("the picture shows an elephant out of memory"), False), (ValueError("MemoryError"), False),
        (wrapped(ValueError("x")), False), (ExpertError("out of memory"), False),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_known_by_class(error, full):
    assert ran_out_of_memory(error) is full


def test_opencv_says_so_by_number():
    with pytest.raises(cv2.error) as caught:
        cv2.resize(np.zeros((2, 2, 3), np.uint8), (0, 0))
    assert not ran_out_of_memory(caught.value)
    caught.value.code = cv2.Error.StsNoMem
    assert ran_out_of_memory(caught.value)


MASK = Mask.from_box((1, 1, 3, 3), (4, 4))
DETECTIONS = Detections(boxes_xyxy=np.zeros((1, 4)), scores=np.zeros(1), labels=("a",), masks=(MASK,))


def boxes(*boxes_xyxy):
    n = len(boxes_xyxy)
    return Detections(boxes_xyxy=np.array(boxes_xyxy, float), scores=np.zeros(n), labels=("a",) * n)


@pytest.mark.parametrize(
    ("request_", "result", "problem"),
    [
        ("segment", Segmentation(mask=MASK, score=1.0), None),
        ("segment", Segmentation(mask=MASK, score=np.inf), "a score of inf"),
        ("segment", Segmentation(mask=MASK, score=1.01), "a score of 1.01 where"),
        ("segment", Segmentation(mask=None, score=1.0), "where 1 masks were expected"),
        ("segment", Segmentation(mask=Mask.from_box((0, 0, 1, 1), (4, 5)), score=1.0), "a mask of (4, 5)"),
        ("segment", Segmentation(mask=Mask((4, 4), b"52"), score=1.0), "runs do not fill"),
        ("segment", Segmentation(mask=Mask((4, 4), b"\xff"), score=1.0), "runs do not fill"),
        ("segment", Segmentation(mask=Mask((4, 4), b"203;"), score=1.0), "not coded"),
        ("segment", Mask.empty((4, 4)), "a Mask where Segmentation"),
        ("detect", DETECTIONS, None),
        ("detect", replace(DETECTIONS, masks=(MASK, MASK)), "where 1 masks were expected"),
        ("detect", replace(DETECTIONS, masks=(Mask.empty((9, 9)),)), "a mask of (9, 9)"),
        ("detect", replace(DETECTIONS, labels=(7,)), "labels (7,) where a tuple of non-empty texts"),
        ("detect", replace(DETECTIONS, labels=("",)), "labels ('',) where"),
        ("detect", replace(DETECTIONS, labels=["a"]), "labels ['a'] where"),
        ("detect", replace(DETECTIONS, scores=np.array([np.nan])), "scores outside [0, 1]"),
        ("detect", replace(DETECTIONS, scores=np.array([-0.1])), "scores outside [0, 1]"),
        ("detect", replace(DETECTIONS, scores=[0.5]), "scores as list"),
        ("detect", replace(DETECTIONS, scores=np.zeros(1, np.float32)), "scores as float32"),
        ("detect", boxes([0, 0, 4, 4], [1, 1, 1, 2]), None),
        ("detect", boxes([0, 0, 1, 1], [-0.5, -0.5, 4.5, 4.5]), None),
        ("detect", boxes([0, 0, 1, 1], [-0.6, 0, 1, 1]), "boxes outside the 4 x 4 px"),
        ("detect", boxes([0, 0, 1, 4.6]), "such as [0.0, 0.0, 1.0, 4.6]"),
        ("detect", boxes([np.nan, 0, 1, 1]), "boxes outside"),
        ("detect", boxes([0, 0, 1, 1], [2, 0, 1, 1]), "end before they begin, such as [2.0, 0.0, 1.0, 1.0]"),
        ("detect", replace(boxes([0, 0, 1, 1], [0, 0, 1, 1]), scores=np.array([0.1, 0.2])), "do not descend"),
        ("point", Points(points_xy=np.zeros((1, 2)), scores=np.array([np.nan])), "scores outside"),
        ("point", Points(points_xy=np.zeros((1, 3)), scores=np.zeros(1)), "points of shape (1, 3)"),
        ("point", Points(points_xy=np.zeros((1, 2)), scores=np.zeros(2)), "scores of shape (2,)"),
        ("point", Points(points_xy=None, scores=np.zeros(2)), "points as NoneType"),
        ("point", Points(points_xy=np.array([[2.0, 9.0]]), scores=np.zeros(1)), "points outside the 4 x 4 px"),
        ("read", TextLines(lines=("a",), boxes_xyxy=np.zeros((2, 4))), "boxes of shape (2, 4) where (1, 4)"),
        ("read", TextLines(lines=(b"a",), boxes_xyxy=np.zeros((1, 4))), "where a tuple of texts was expected"),
        ("read", TextLines(lines=("",), boxes_xyxy=np.zeros((1, 4))), None),
        ("read", TextLines(lines=(), boxes_xyxy=np.zeros((0, 4))), None),
        ("upscale", Upscaled(image=Image(np.zeros((8, 8, 3), np.uint8))), None),
        ("describe", Description(text="A cat."), None),
        ("describe", Description(text=" "), "where 1 to 4000 characters"),
        ("describe", Description(text="x" * 4001), "where 1 to 4000 characters"),
        ("describe", Description(text=b"x"), "where 1 to 4000 characters"),
        ("upscale", Upscaled(image=PICTURES[0]), "where an image of 8 x 8 px"),
        ("upscale", Upscaled(image=np.zeros((8, 8, 3), np.uint8)), "where an image of 8 x 8 px"),
    ],
)  # fmt: skip
def test_results_that_do_not_fit_are_errors(request_, result, problem):
    asked = {
        "segment": SegmentRequest(image=PICTURES[0], box_xyxy=(0, 0, 2, 2)), "read": ReadRequest(image=PICTURES[0]),
        "detect": DetectRequest(image=PICTURES[0], phrase="a"), "point": PointRequest(image=PICTURES[0], phrase="a"),
        "upscale": UpscaleRequest(image=PICTURES[0], scale=2), "describe": DescribeRequest(image=PICTURES[0], question="a"),
    }  # fmt: skip

    class Giving(Model):
        def run(self, requests):
            return [result] * len(requests)

    (answer,) = run_isolated(Giving(), [asked[request_]])
    assert answer is result if problem is None else problem in str(answer)


def test_an_enlargement_costs_its_own_pixels():
    assert num_pixels(UpscaleRequest(image=PICTURES[0], scale=4)) == 256
