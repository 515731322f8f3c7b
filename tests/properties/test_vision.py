"""The size in which a model sees a picture, and what it then costs."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visenv.coordinates import make_coordinates
from visenv.errors import BadValueError, UnknownNameError
from visenv.vision import FAMILIES, make_vision, smart_resize

LIMITS = {"qwen2-vl": (28, 56 * 56), "qwen2.5-vl": (28, 56 * 56), "qwen3-vl": (32, 256 * 256)}


@pytest.mark.parametrize(
    ("size_wh", "expected"),
    [
        ((640, 480), (644, 476)),
        ((1, 1), (56, 56)),
        ((28, 28), (56, 56)),
        ((8192, 4096), (5068, 2520)),
        ((100, 30), (112, 28)),
    ],
)
def test_size_that_a_model_sees(size_wh: tuple[int, int], expected: tuple[int, int]) -> None:
    assert make_vision("qwen2.5-vl").resized_wh(size_wh) == expected


@given(
    width=st.integers(1, 5000), height=st.integers(1, 5000), max_pixels=st.integers(256 * 256, 2_000_000),
    family=st.sampled_from(sorted(LIMITS)),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_size_and_tokens_are_those_of_the_processor(width: int, height: int, max_pixels: int, family: str) -> None:
    theirs = pytest.importorskip("transformers.models.qwen2_vl.image_processing_qwen2_vl", reason="needs transformers")
    factor, fewest = LIMITS[family]
    if max(width, height) > 200 * min(width, height):
        return
    size_hw = theirs.smart_resize(height, width, factor=factor, min_pixels=fewest, max_pixels=max_pixels)
    vision = make_vision(f"{family}:max_pixels={max_pixels}")
    assert vision.resized_wh((width, height)) == size_hw[::-1]
    assert vision.tokens((width, height)) == size_hw[0] * size_hw[1] // factor**2


@given(width=st.integers(1, 9000), height=st.integers(1, 9000), family=st.sampled_from(sorted(FAMILIES)))
def test_a_picture_in_the_size_that_is_seen_stays_so(width: int, height: int, family: str) -> None:
    vision = make_vision(family)
    seen = vision.resized_wh((width, height))
    if max(seen) <= 200 * min(seen):
        assert vision.resized_wh(seen) == seen, "what we send resized, the server must leave as it is"
        assert vision.tokens(seen) == vision.tokens((width, height))


@given(
    side=st.tuples(st.integers(64, 3000), st.integers(64, 3000)), place=st.integers(0, 1000),
    family=st.sampled_from(sorted(FAMILIES)),
)  # fmt: skip
def test_pixels_are_of_the_picture_that_is_seen(side: tuple[int, int], place: int, family: str) -> None:
    vision = make_vision(family)
    pixels = make_coordinates("pixels").seen_by(vision)
    (width, _) = pixels.seen_wh(side)
    assert width == vision.resized_wh(side)[0]
    written = pixels.from_share(place / 1000, width)
    assert abs(pixels.to_1000(written, width) - place) <= 500 / width + 0.5
    assert pixels.write((side[0], side[1]), side) == str(vision.resized_wh(side)), "the far corner is the size"


def test_estimate_leaves_pictures_as_they_are() -> None:
    vision = make_vision("estimate:token_side_px=28")
    assert (vision.resized_wh((513, 77)), vision.tokens((56, 280)), vision.tokens((1, 1))) == ((513, 77), 20, 4)


@pytest.mark.parametrize("spec", ["estimate", "qwen3-vl:max_pixels=1048576"])
def test_a_family_is_pickled_by_its_name(spec: str) -> None:
    again = pickle.loads(pickle.dumps(make_vision(spec)))
    assert (again.spec, again.tokens((777, 555))) == (spec, make_vision(spec).tokens((777, 555)))


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("qwen4-vl", UnknownNameError),
        ("qwen3-vl:side=3", BadValueError),
        ("qwen3-vl:max_pixels=2", BadValueError),
        ("qwen3-vl:min_pixels=0", BadValueError),
        ("estimate:token_side_px=true", BadValueError),
    ],
)
def test_what_is_no_family_is_refused(spec: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        make_vision(spec)


def test_resize_keeps_the_form() -> None:
    assert smart_resize((4000, 3000), factor_px=28, min_pixels=3136, max_pixels=1_003_520) == (1148, 840)
