"""``sam3agent``: phrases to masks, a look at each, a choice among them, or the word that there is none."""

from __future__ import annotations

import numpy as np
import pytest

from visenv import EndReason, Expert, ExpertSet, Mask
from visenv.drivers import drive
from visenv.experts import Detections, Segmentation
from visenv.toolsets import SAM3AGENT
from visenv.toolsets.sam3agent import EXAMINED, MOST_MASKS


def phrase(words, **more):
    return "segment_phrase", {"phrase": words, **more}


@pytest.fixture
def episode(make_episode):
    return make_episode(toolset=SAM3AGENT)


class Many(Expert):
    """Finds as many boxes as the phrase says."""

    name, version, capabilities = "many", "1", frozenset({"detect", "segment"})

    def run(self, requests):
        return [self._one(r) for r in requests]

    def _one(self, r):
        width, height = r.image.size_wh
        if r.capability == "segment":
            return Segmentation(mask=Mask.from_box(r.box_xyxy, (height, width)), score=0.5)
        number = int(r.phrase)
        boxes = np.array(
            [(10 * (i % 20), 10 * (i // 20), 10 * (i % 20) + 8, 10 * (i // 20) + 8) for i in range(number)]
        )
        return Detections(
            boxes_xyxy=boxes.astype(np.float64).reshape(-1, 4), scores=np.full(number, 0.5), labels=("x",) * number
        )


def test_a_phrase_gives_masks_and_discards_those_before(episode, play):
    play(episode, phrase("cat"))
    first = episode.objects
    assert [(o.id, o.label, o.mask is not None) for o in first] == [(0, "cat", True), (1, "cat", True)]
    assert episode.turns[-1].feedback == "2 masks for 'cat': #0, #1."
    play(episode, phrase("dog"))
    assert [(o.id, o.label) for o in episode.objects] == [(2, "dog"), (3, "dog")]
    play(episode, phrase("nothing"))
    assert episode.objects == () and episode.turns[-1].error is None, "that there is none is an observation"


def test_a_phrase_can_be_used_once_on_an_image(make_episode, play):
    episode = make_episode(toolset=SAM3AGENT, images=2)
    play(episode, phrase("cat"), phrase(" CAT "))
    assert episode.turns[-1].error == "phrase_used" and len(episode.objects) == 2, "a mistake changes nothing"
    play(episode, phrase("cat", image="img_1"), phrase("cat"))
    assert [t.error for t in episode.turns] == [None, "phrase_used", None, "phrase_used"]
    assert {o.image for o in episode.objects} == {"img_1"}


def test_each_mask_is_shown_in_a_close_up(episode, play):
    play(episode, ("examine_each_mask", {}))
    assert episode.turns[-1].error == "no_masks"
    play(episode, phrase("cat"), ("examine_each_mask", {}))
    assert episode.turns[-1].visible == ("mask_0_3", "mask_1_3")
    shown = episode.memory.images["mask_1_3"]
    assert shown.is_overlay and shown.objects == (episode.objects[1],)
    x1, y1, x2, y2 = episode.objects[1].box_xyxy
    width, height = shown.size_wh
    assert x2 - x1 < width < 2.5 * (x2 - x1) and y2 - y1 < height < 2.5 * (y2 - y1), "it, and a little around it"
    assert episode.objects == episode.turns[1].objects, "looking changes nothing"


def test_more_masks_than_can_be_chosen_from(make_episode):
    episode = make_episode(toolset=SAM3AGENT)
    many = ExpertSet(dict.fromkeys(("detect", "segment"), Many()))

    def call(name, **arguments):
        return drive(episode.play({"name": name, "arguments": arguments}), many)

    call("segment_phrase", phrase=str(MOST_MASKS + 1))
    assert len(episode.objects) == MOST_MASKS + 1 and "too many to choose from" in episode.turns[-1].feedback
    call("examine_each_mask")
    assert (
        len(episode.turns[-1].visible) == EXAMINED
        and f"The other {MOST_MASKS + 1 - EXAMINED}" in episode.turns[-1].feedback
    )
    call("select_masks_and_return", masks=[0])
    assert episode.turns[-1].error == "too_many_masks" and not episode.ended
    call("segment_phrase", phrase=str(MOST_MASKS))
    call("select_masks_and_return", masks=[MOST_MASKS + 1, 2 * MOST_MASKS])
    assert episode.reason is EndReason.SUBMITTED and len(episode.answer.masks) == 2


class Whole(Expert):
    """Finds a box with its mask, which is half of it, and another without a pixel in its mask. Is no segmenter for anyone."""

    name, version, capabilities = "whole", "1", frozenset({"detect", "segment"})

    def run(self, requests):
        assert {r.capability for r in requests} == {"detect"}, "the detector's masks are the masks"
        return [self._found(*r.image.size_wh) for r in requests]

    def _found(self, width, height):
        boxes = np.array([[10.0, 10, 50, 60], [100, 100, 120, 120]])
        masks = Mask.from_box((10, 10, 30, 60), (height, width)), Mask.from_box((0, 0, 0, 0), (height, width))
        return Detections(boxes_xyxy=boxes, scores=np.array([0.9, 0.8]), labels=("x", "x"), masks=masks)


def test_masks_of_the_detectors_own_are_taken_and_no_segmenter_is_asked(make_episode):
    episode = make_episode(toolset=SAM3AGENT)
    experts = ExpertSet(dict.fromkeys(("detect", "segment"), Whole()))
    drive(episode.play({"name": "segment_phrase", "arguments": {"phrase": "cup"}}), experts)
    (found,) = episode.objects
    assert found.mask == Mask.from_box((10, 10, 30, 60), (256, 320)) and found.score == 0.9
    drive(episode.play({"name": "select_masks_and_return", "arguments": {"masks": [0]}}), experts)
    assert episode.answer.masks == (found.mask,)


def test_chosen_masks_are_the_answer_and_only_the_latest_can_be_chosen(episode, play):
    play(episode, phrase("cat"), phrase("dog"), ("select_masks_and_return", {"masks": [0]}))
    assert episode.turns[-1].error == "unknown_object"
    play(episode, ("select_masks_and_return", {"masks": [3]}))
    assert episode.reason is EndReason.SUBMITTED and episode.turns[-1].feedback == "Submitted 1 mask."
    assert episode.answer.masks == (episode.objects[1].mask,) and episode.answer.labels == ("dog",)


def test_that_there_is_no_mask_is_an_answer_of_its_own(episode, play):
    play(episode, phrase("cat"), ("report_no_mask", {}))
    assert episode.reason is EndReason.SUBMITTED
    assert episode.answer.no_target and episode.answer.masks == (), "whatever was found"


def test_there_is_no_other_way_to_submit_masks():
    assert {t.name for t in SAM3AGENT.tools if t.answers} == {
        "select_masks_and_return", "report_no_mask", "submit_count", "submit_choice",
    }  # fmt: skip
