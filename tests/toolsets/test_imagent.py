"""``imagent``: whole images and parts of them come back into view before the answer."""

from __future__ import annotations

import numpy as np
import pytest

from visenv import AnswerKind, EndReason
from visenv.memory import make_policy
from visenv.toolsets import IMAGENT


def review(image):
    return "review", {"image": image}


def confirm(image, x1, y1, x2, y2, claim="it is red"):
    return "confirm", {"image": image, "x1": x1, "y1": y1, "x2": x2, "y2": y2, "claim": claim}


@pytest.fixture
def episode(make_episode):
    return make_episode(toolset=IMAGENT, kind=AnswerKind.CHOICE, choice="B", images=3)


def test_review_puts_a_whole_image_back_in_view(episode, play):
    assert episode.memory.visible == ["img_0", "img_1", "img_2"]
    play(episode, confirm("img_1", 0, 0, 500, 500))
    assert episode.memory.visible == ["part_1"] and len(episode.memory.archived) == 3, "the rest is in the archive"
    play(episode, review("img_2"))
    assert episode.memory.visible == ["img_2"] and episode.memory.images["img_2"].size_wh == (320, 256)
    play(episode, review("part_1"))
    assert episode.memory.visible == ["part_1"], "a part can be looked at again too"
    assert len(episode.memory.images) == 4, "nothing is made twice"
    play(episode, review("img_7"))
    assert episode.turns[-1].error == "unknown_image" and episode.memory.visible == ["part_1"]


def test_review_brings_an_image_back_under_a_window(make_episode, play):
    episode = make_episode(toolset=IMAGENT, images=3, memory=make_policy("window:k=1"))
    play(episode, review("img_0"), review("img_1"))
    assert episode.memory.visible == ["img_1"]


def test_confirm_shows_the_pixels_of_the_region_and_asks(episode, play, picture):
    play(episode, confirm("img_1", 250, 500, 500, 1000, claim="the cup is red"))
    part = episode.memory.images["part_1"]
    assert part.source == "img_1" and part.to_source.tolist() == [[1, 0, 80], [0, 1, 128]]
    assert np.array_equal(part.image.pixels, picture.pixels[128:256, 80:160])
    assert episode.turns[-1].feedback == "part_1 of img_1. Does it confirm: the cup is red?"
    play(episode, confirm("part_1", 500, 500, 1000, 1000))
    inner = episode.memory.images["part_2"]
    assert inner.to_source.tolist() == [[1, 0, 120], [0, 1, 192]] and inner.source == "img_1"
    play(episode, confirm("img_0", 500, 500, 400, 900))
    assert episode.turns[-1].error == "empty_box"


def test_an_option_ends_it(episode, play):
    play(episode, ("submit_choice", {"choice": "B"}))
    assert episode.reason is EndReason.SUBMITTED and episode.answer.choice == "B" and episode.score == 1.0


def test_boxes_are_drawn_where_objects_are_asked_for(make_episode, play):
    episode = make_episode(toolset=IMAGENT)
    play(episode, confirm("img_0", 500, 500, 1000, 1000))
    play(episode, ("draw_box", {"image": "part_1", "x1": 0, "y1": 0, "x2": 500, "y2": 500}), ("submit", {}))
    assert episode.answer.boxes_xyxy == ((160, 128, 240, 192),)
