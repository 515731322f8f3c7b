"""``rsagent``: one working mask, which a box starts anew and signed points correct, in at most eight turns."""

from __future__ import annotations

import pytest

from visenv import EndReason, VisenvEnv
from visenv.answers import AnswerKind
from visenv.context import map_points
from visenv.toolsets import RSAGENT

BOX = ("prompt_box", {"image": "img_0", "x1": 100, "y1": 100, "x2": 500, "y2": 500})


def point(x, y, sign, image="img_0"):
    return "prompt_point", {"image": image, "x": x, "y": y, "sign": sign}


@pytest.fixture
def episode(make_episode):
    return make_episode(toolset=RSAGENT)


def test_a_box_makes_the_working_mask_and_another_box_replaces_it(episode, play):
    play(episode, BOX)
    (first,) = episode.objects
    assert first.mask is not None and first.label == "target" and first.prompt_box_xyxy == (32, 25.6, 160, 128)
    assert f"Working mask after a box: {first.area_px} px" in episode.turns[-1].feedback
    assert f"{100 * first.area_px / (320 * 256):.1f} % of img_0" in episode.turns[-1].feedback
    assert episode.turns[-1].visible == ("view_1",), "the mask is drawn in"
    play(episode, ("prompt_box", BOX[1] | {"x1": 600, "x2": 900}))
    (second,) = episode.objects
    assert second.id == 1 and second.mask != first.mask, "there is one, and its number is new"


def test_points_correct_the_mask_and_its_replacement_keeps_what_was_asked(episode, play, known):
    play(episode, BOX, point(300, 300, "positive"), point(450, 450, "negative"))
    (mask,) = episode.objects
    clicks = ((96, 76.8), (144, 115.2))
    assert mask.id == 2 and mask.points_xy == clicks and mask.points_positive == (True, False)
    (request,) = known.batches[-1]
    assert request.points_xy == clicks and request.points_positive == (True, False)
    assert request.box_xyxy == (32, 25.6, 160, 128), "the box it began with is asked with again"
    (before,) = episode.turns[1].objects
    assert request.previous == before.mask, "the expert starts from the working mask"
    play(episode, BOX)
    assert episode.objects[0].points_xy == (), "a new box forgets the points"


def test_a_positive_point_starts_a_mask_and_a_negative_one_cannot(episode, play):
    play(episode, point(300, 300, "negative"))
    assert episode.turns[-1].error == "no_mask" and not episode.objects
    play(episode, point(300, 300, "positive"))
    (mask,) = episode.objects
    assert mask.points_xy == ((96, 76.8),) and mask.prompt_box_xyxy is None


def test_a_point_on_a_crop_is_the_same_place_of_the_source(episode, play):
    crop = ("crop", {"image": "img_0", "x1": 250, "y1": 250, "x2": 750, "y2": 750})
    play(episode, BOX, crop, point(500, 500, "positive", image="crop_2"))
    ((x, y),) = episode.objects[0].points_xy
    assert (x, y) == (160, 128), "the middle of the middle"
    place = episode.memory.images["crop_2"]
    assert map_points([(80, 64)], place.to_source).tolist() == [[160, 128]]
    assert episode.memory.images["view_3"].parent == "crop_2", "what is shown is where the agent looked"


def test_what_leaves_nothing_changes_nothing(episode, play, known, monkeypatch):
    play(episode, BOX)
    before = episode.objects
    one = known._one

    def empty(request):
        result = one(request)
        return result if request.capability != "segment" else type(result)(mask=result.mask.from_box((0, 0, 0, 0), result.mask.size_hw), score=0.0)  # fmt: skip

    monkeypatch.setattr(known, "_one", empty)
    play(episode, ("prompt_box", BOX[1] | {"x1": 600, "x2": 900}), point(10, 10, "negative"))
    assert episode.objects == before and [t.error for t in episode.turns] == [None] * 3
    assert "as before" in episode.turns[1].feedback and "as before" in episode.turns[2].feedback


def test_several_images_have_a_working_mask_each(make_episode, play):
    episode = make_episode(toolset=RSAGENT, images=2)
    play(episode, BOX, ("prompt_box", BOX[1] | {"image": "img_1"}), BOX)
    assert [(o.id, o.image) for o in episode.objects] == [(1, "img_1"), (2, "img_0")]


def test_eight_turns_are_all_there_are(experts):
    env = VisenvEnv("EmojiRef", toolset="rsagent", experts=experts)
    assert env.task.max_turns > 8 and env.rules.max_turns == RSAGENT.max_turns == 8
    env.reset(seed=0)
    look = {"name": "view", "arguments": {"images": ["img_0"]}}
    ends = [env.step(look)[2:4] for _ in range(8)]
    assert ends[:-1] == [(False, False)] * 7 and ends[-1] == (False, True)
    assert env.episode.reason is EndReason.TURN_LIMIT and env.episode.answer is None, (
        "a mask must be submitted to count"
    )
    assert VisenvEnv("EmojiRef", toolset="rsagent", experts=experts, max_turns=3).rules.max_turns == 3


def test_the_working_mask_is_what_is_submitted(episode, play):
    play(episode, BOX, point(300, 300, "positive"), ("submit", {}))
    assert episode.reason is EndReason.SUBMITTED
    assert episode.answer.masks == (episode.objects[0].mask,) and episode.sample.target.kind is AnswerKind.MASK
