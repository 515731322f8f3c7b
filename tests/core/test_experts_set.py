"""Expert sets by name, shared answers, and what is remembered."""

from __future__ import annotations

import numpy as np
import pytest

from visenv import Expert, ExpertSet, Image, make_experts
from visenv.errors import BadValueError, UnknownNameError
from visenv.experts import Detections, DetectRequest, UpscaleRequest
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


def test_lists_in_place_of_arrays_fail_alone(picture):
    class Lists(Expert):
        name, version, capabilities = "lists", "1", frozenset({"detect"})

        def run(self, requests):
            boxes, scores = [[0, 0, 1, 1]], [0.5]
            return [
                Detections(boxes_xyxy=boxes if r.phrase == "b" else np.array(boxes), scores=np.array(scores), labels=("x",))
                for r in requests
            ]  # fmt: skip

    requests = [DetectRequest(image=picture, phrase=phrase) for phrase in "ab"]
    good, bad = ExpertSet({"detect": Lists()}).execute(requests)
    assert len(good.labels) == 1 and "boxes_xyxy that are no array" in str(bad)


def test_a_capability_nobody_has_is_an_error_of_that_request_alone(known, picture):
    experts = ExpertSet({"detect": known})
    good, bad = experts.execute([DetectRequest(image=picture, phrase="a"), UpscaleRequest(image=picture, scale=2)])
    assert len(good.labels) == 2 and "upscale" in str(bad)
