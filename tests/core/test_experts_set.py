"""Expert sets by name, shared answers, and what is remembered."""

from __future__ import annotations

import pickle
import threading
import time

import numpy as np
import pytest

from visenv import Expert, ExpertSet, Image, Mask, make_experts
from visenv.errors import BadValueError, TemporaryExpertError, UnknownNameError
from visenv.experts import Detections, DetectRequest, Segmentation, SegmentRequest, TextLines, UpscaleRequest
from visenv.experts.cache import ResultCache


def test_one_provider_fills_several_roles_with_options():
    made = make_experts("detector=embedded:threads=1,segmenter=embedded:threads=1,upscaler=embedded")
    assert made.experts["detect"].threads == 1 and made.capabilities == {"detect", "point", "segment", "upscale"}
    assert made.experts["detect"].analyser is made.experts["segment"].analyser


@pytest.mark.parametrize(
    ("spec", "error"),
    [("nothing", UnknownNameError), ("embedded:speed=9", BadValueError), ("painter=embedded", BadValueError),
     ("reader=embedded", BadValueError), ("detector=nothing", UnknownNameError)],
)  # fmt: skip
def test_bad_names_are_refused(spec, error):
    with pytest.raises(error):
        make_experts(spec)


def test_remembered_answers_are_bounded_in_bytes(known, picture, monkeypatch):
    limit_bytes = 3 * 4 * picture.pixels.nbytes
    experts = ExpertSet(dict.fromkeys(sorted(known.capabilities), known))
    monkeypatch.setattr(experts, "_cache", ResultCache(limit_bytes=limit_bytes))
    pictures = [Image(picture.pixels[:, ::-1].copy() // (i + 1)) for i in range(6)]
    for one in pictures * 2:
        experts.execute([UpscaleRequest(image=one, scale=2)])
    assert len(known.batches) == 12, "three at a time fit, so a second round over six finds none"
    assert experts._cache.num_bytes <= limit_bytes
    experts.execute([UpscaleRequest(image=pictures[-1], scale=2)])
    assert len(known.batches) == 12


def test_what_is_remembered_is_counted_whatever_it_is(picture):
    mask = Mask.from_dense(np.indices(picture.size_wh[::-1]).sum(0) % 2 == 0)
    cache = ResultCache()
    cache.put(("e@1", "read", picture.hash), TextLines(lines=("x" * 10_000,) * 2, boxes_xyxy=np.zeros((2, 4))))
    assert cache.num_bytes > 10_000, "equal texts are one object, and may be counted as two"
    before = cache.num_bytes
    cache.put(
        ("e@1", "detect", picture.hash, "y" * 5000),
        Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=()),
    )
    assert cache.num_bytes > before + 5000
    before = cache.num_bytes
    cache.put(("e@1", *SegmentRequest(image=picture, previous=mask).key()), Segmentation(mask=mask, score=1.0))
    assert cache.num_bytes - before > 2 * len(mask.counts) + mask.crop_hw.nbytes
    held = cache.num_bytes
    cache.put(("e@1", *SegmentRequest(image=picture, previous=mask).key()), Segmentation(mask=mask, score=0.5))
    assert cache.num_bytes == held


class Closing(Expert):
    """Says when it is closed, and may fail at that."""

    version = "1"

    def __init__(self, name, *capabilities, fails=False):
        self.name, self.capabilities, self.fails, self.closed = name, frozenset(capabilities), fails, 0

    def run(self, requests):
        return []

    def close(self):
        self.closed += 1
        if self.fails:
            raise RuntimeError("cannot")


def test_experts_whose_roles_others_have_are_closed_at_once(monkeypatch):
    made = {
        "a": [Closing("a1", "detect"), Closing("a2", "segment")], "b": Closing("b", "detect"), "c": Closing("c", "segment"),
        "half": [Closing("h1", "detect", fails=True), Closing("h2", "segment")],
    }  # fmt: skip
    monkeypatch.setattr("visenv.experts._set.plugins.build", lambda group, spec: made[spec])
    closed = lambda: [e.closed for e in (*made["a"], made["b"], made["c"], *made["half"])]  # noqa: E731
    experts = make_experts("a,detector=b,segmenter=c")
    assert closed() == [1, 1, 0, 0, 0, 0]
    experts.close()
    assert closed() == [1, 1, 1, 1, 0, 0]
    with pytest.warns(RuntimeWarning, match="'h1' cannot be closed: RuntimeError: cannot"):
        experts = make_experts("half,detector=b")
    assert closed() == [1, 1, 1, 1, 1, 0] and experts.experts["segment"] is made["half"][1]
    with pytest.raises(KeyError):
        make_experts("c,detector=gone")
    assert closed() == [1, 1, 1, 2, 1, 0], "what was made before the failure is closed"
    with pytest.raises(BadValueError):
        make_experts("c,detector=c")
    assert closed() == [1, 1, 1, 3, 1, 0]
    made["junk"] = 7
    with (
        pytest.warns(RuntimeWarning, match="'int' cannot be closed"),
        pytest.raises(AttributeError, match="capabilities"),
    ):
        make_experts("junk")


def test_one_that_cannot_be_closed_keeps_no_other_open():
    experts = Closing("x", "detect", fails=True), Closing("y", "segment")
    with pytest.warns(RuntimeWarning, match="'x' cannot be closed"):
        ExpertSet({"detect": experts[0], "segment": experts[1]}).close()
    assert experts[1].closed == 1


def test_who_hangs_is_waited_for_as_long_as_said(picture):
    release = threading.Event()

    class Hanging(Expert):
        name, version, capabilities = "hanging", "1", frozenset({"detect"})

        def run(self, requests):
            assert requests[0].phrase != "hang" or release.wait(20)
            return [Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=()) for _ in requests]

    experts = pickle.loads(pickle.dumps(ExpertSet({}, wait_s=0.2)))
    experts.experts["detect"] = Hanging()
    ask = lambda phrase: experts.execute([DetectRequest(image=picture, phrase=phrase)])[0]  # noqa: E731
    threads = lambda: sum(t.name == "batcher-hanging" for t in threading.enumerate())  # noqa: E731
    assert ask("a").labels == () and threads() == 1
    hung = ask("hang"), ask("b")
    assert all(isinstance(a, TemporaryExpertError) and "no answer within 0.2 s" in str(a) for a in hung)
    release.set()
    assert ask("c").labels == ()
    experts.close()
    assert threads() == 0
    assert make_experts("embedded:threads=1,wait_s=7").wait_s == 7


def test_what_nobody_waits_for_any_more_is_kept_for_who_asks_again(picture):
    asked: list[str] = []

    class Slow(Expert):
        name, version, capabilities = "slow", "1", frozenset({"detect"})

        def run(self, requests):
            time.sleep(0.3)
            asked.extend(r.phrase for r in requests)
            return [Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=()) for _ in requests]

    experts = ExpertSet({"detect": Slow()}, wait_s=0.1)
    request = DetectRequest(image=picture, phrase="a")
    assert isinstance(experts.execute([request])[0], TemporaryExpertError)
    time.sleep(0.6)
    assert experts.execute([request])[0].labels == () and asked == ["a"]
    experts.close()


def test_lists_in_place_of_arrays_fail_alone(picture):
    class Lists(Expert):
        name, version, capabilities = "lists", "1", frozenset({"detect"})

        def run(self, requests):
            boxes, scores = [[0.0, 0.0, 1.0, 1.0]], [0.5]
            return [
                Detections(boxes_xyxy=boxes if r.phrase == "b" else np.array(boxes), scores=np.array(scores), labels=("x",))
                for r in requests
            ]  # fmt: skip

    requests = [DetectRequest(image=picture, phrase=phrase) for phrase in "ab"]
    good, bad = ExpertSet({"detect": Lists()}).execute(requests)
    assert len(good.labels) == 1 and "boxes as list where a float64 array was expected" in str(bad)


def test_a_capability_nobody_has_is_an_error_of_that_request_alone(known, picture):
    experts = ExpertSet({"detect": known})
    good, bad = experts.execute([DetectRequest(image=picture, phrase="a"), UpscaleRequest(image=picture, scale=2)])
    assert len(good.labels) == 2 and "upscale" in str(bad)
