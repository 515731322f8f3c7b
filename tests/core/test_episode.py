"""One attempt at a sample: what every kind of turn does, and how episodes end."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from visenv import AnswerKind, EndReason, ExpertSet, Mask, VisenvError
from visenv.chat import render_messages
from visenv.drivers import drive, drive_all
from visenv.errors import BadValueError
from visenv.experts import Detections, Expert, Segmentation
from visenv.grammars import make_grammar
from visenv.memory import make_policy
from visenv.rewards import make_reward
from visenv.toolsets import FULL, NONE, VISHARNESS

DETECT = ("detect", {"images": ["img_0"], "phrase": "a"})


def test_finds_become_objects_with_ids_and_are_submitted(make_episode, play):
    episode = make_episode()
    seen = play(episode, DETECT).observation
    assert [o["id"] for o in seen["objects"]] == [0, 1]
    assert seen["image_names"] == ("view_1",) and [i["name"] for i in seen["archive"]] == ["img_0"]
    outcome = play(episode, ("keep", {"objects": [0]}), ("segment", {"objects": [0]}), ("submit",))
    assert outcome.terminated and not outcome.truncated
    assert (episode.reason, episode.score, outcome.reward) == (EndReason.SUBMITTED, 1.0, 1.0)
    assert outcome.info["terms"] == {"final": 1.0} and outcome.info["score"] == 1.0


def test_the_same_find_keeps_its_id(make_episode, play):
    episode = make_episode()
    play(episode, DETECT, ("detect", {"images": ["img_0"], "phrase": "again"}))
    assert [o.id for o in episode.objects] == [0, 1]
    assert "2 of them known before" in episode.turns[-1].feedback


def test_dropped_ids_are_never_used_again_and_undo_restores(make_episode, play):
    episode = make_episode()
    play(
        episode,
        DETECT,
        ("drop", {"objects": [1]}),
        ("segment_box", dict(image="img_0", x1=700, y1=700, x2=900, y2=900)),
    )
    assert [o.id for o in episode.objects] == [0, 2]
    play(episode, ("undo",))
    assert [o.id for o in episode.objects] == [0]
    play(episode, ("undo",))
    assert [o.id for o in episode.objects] == [0, 1]
    play(episode, ("undo",))
    assert episode.objects == ()
    assert play(episode, ("undo",)).info["error"] == "nothing_to_undo"
    play(episode, DETECT)
    assert [o.id for o in episode.objects] == [3, 4]


def test_finds_in_crops_and_enlargements_land_in_the_source(make_episode, play):
    episode = make_episode()
    play(
        episode, ("crop", dict(image="img_0", x1=250, y1=250, x2=1000, y2=1000)),
        ("upscale", {"image": "crop_1", "factor": 2}), ("detect", {"images": ["crop_1_x2"], "phrase": "a"}),
    )  # fmt: skip
    np.testing.assert_allclose(episode.objects[0].box_xyxy, (80 + 5, 64 + 5, 80 + 25, 64 + 30))
    play(episode, ("segment_point", dict(image="crop_1_x2", x=500, y=500)))
    x1, _, x2, _ = episode.objects[-1].box_xyxy
    assert (x1 + x2) / 2 == pytest.approx(80 + 120, abs=1) and x2 - x1 == pytest.approx(10, abs=1)


def test_patches_are_named_by_row_and_column_and_map_back(make_episode, play):
    episode = make_episode()
    play(episode, ("split", {"images": ["img_0"], "patch_size": 128}))
    names = [n for n in episode.memory.images if "_r" in n]
    assert names == [f"img_0_r{r}_c{c}" for r in (1, 2) for c in (1, 2, 3)]
    patch = episode.memory.images["img_0_r2_c3"]
    left, top = patch.to_source[:, 2]
    np.testing.assert_array_equal(
        patch.image.pixels, episode.sample.images[0].pixels[int(top) :, int(left) : int(left) + patch.size_wh[0]]
    )


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("no call at all", "no_call"),
        (("detekt", {}), "unknown_tool"),
        (("detect", {"images": ["img_0"]}), "missing_argument"),
        (("detect", {"images": ["img_0"], "phrase": "a", "bogus": 1}), "unknown_argument"),
        (("detect", {"images": "img_0", "phrase": "a"}), "wrong_type"),
        (("detect", {"images": ["img_9"], "phrase": "a"}), "unknown_image"),
        (("detect", {"images": [], "phrase": "a"}), "out_of_range"),
        (("segment_point", {"image": "img_0", "x": float("nan"), "y": 1}), "wrong_type"),
        (("segment_point", {"image": "img_0", "x": 1001, "y": 1}), "out_of_range"),
        (("segment_point", {"image": "img_0", "x": True, "y": 1}), "wrong_type"),
        (("segment_box", dict(image="img_0", x1=5, y1=5, x2=5, y2=9)), "empty_box"),
        (("detect", {"images": ["img_0"], "phrase": "x" * 10**6}), "out_of_range"),
        (("split", {"images": ["img_0"], "patch_size": 32}), "too_many_patches"),
        (("keep", {"objects": [7]}), "unknown_object"),
        (("submit", {}), "nothing_to_submit"),
        (("undo", {}), "nothing_to_undo"),
        (("refine", dict(object=3, image="img_0", x=1, y=1, sign="maybe")), "out_of_range"),
        (("submit_count", {"count": 3}), "unknown_tool"),
    ],
)
def test_mistakes_are_observations_that_cost_a_turn(make_episode, play, action, code):
    episode = make_episode()
    outcome = play(episode, action)
    assert outcome.info["error"] == code and not outcome.terminated
    assert outcome.observation["turn"] == 1 and outcome.observation["image_names"] == ("img_0",)
    assert (
        outcome.observation["feedback"].startswith(f"Error ({code}): ") and len(outcome.observation["feedback"]) < 700
    )


def test_an_overlay_is_not_an_input(make_episode, play):
    outcome = play(make_episode(), DETECT, ("detect", {"images": ["view_1"], "phrase": "a"}))
    assert outcome.info["error"] == "not_an_input" and "'img_0'" in outcome.observation["feedback"]


def test_too_many_mistakes_end_as_agent_error(make_episode, play):
    episode = make_episode(max_invalid_calls=3)
    outcome = play(episode, "x", "y", "z")
    assert outcome.terminated and episode.reason is EndReason.AGENT_ERROR and episode.score == 0.0
    with pytest.raises(VisenvError, match="over"):
        play(episode, "w")


def test_the_turn_limit_truncates_without_an_answer(make_episode, play):
    episode = make_episode(max_turns=2)
    play(episode, DETECT)
    assert "1 turn left" in episode.turns[0].feedback
    outcome = play(episode, DETECT)
    assert outcome.truncated and episode.answer is None and episode.score == 0.0


def test_visharness_counts_its_merge_at_the_turn_limit(make_episode, play):
    episode = make_episode(toolset=VISHARNESS, max_turns=2)
    play(episode, ("PhraseToBoxMask", {"images": ["img_0"], "phrase": "a"}), ("MergeBoxMask", {"images": ["img_0"]}))
    assert episode.reason is EndReason.TURN_LIMIT and episode.score == pytest.approx(2000 / 10000)


def test_a_failing_expert_fails_only_its_own_episode(make_episode, known, experts):
    class Broken(type(known)):
        def run(self, requests):
            if any(r.capability == "detect" and r.phrase == "bad" for r in requests):
                raise RuntimeError("out of memory")
            return super().run(requests)

    shared = ExpertSet(dict.fromkeys(sorted(known.capabilities), Broken()))
    good, bad = make_episode(), make_episode()
    outcomes = drive_all(
        [
            good.play({"name": "detect", "arguments": {"images": ["img_0"], "phrase": "a"}}),
            bad.play({"name": "detect", "arguments": {"images": ["img_0"], "phrase": "bad"}}),
        ],
        shared,
    )
    assert not outcomes[0].failed and len(good.objects) == 2
    assert outcomes[1].failed and outcomes[1].truncated and outcomes[1].reward == 0.0
    assert bad.reason is EndReason.INFRASTRUCTURE_ERROR and bad.score is None and "out of memory" in bad.failure
    assert "score" not in outcomes[1].info


def test_equal_requests_are_asked_once(make_episode, known, experts):
    episodes = [make_episode() for _ in range(4)]
    call = {"name": "detect", "arguments": {"images": ["img_0"], "phrase": "a"}}
    drive_all([e.play(call) for e in episodes], experts)
    assert [len(b) for b in known.batches] == [1]
    drive(make_episode().play(call), experts)
    assert len(known.batches) == 1


def test_an_expert_that_answers_too_little_is_an_error(make_episode):
    class Short(Expert):
        name, version, capabilities = "short", "1", frozenset({"detect"})

        def run(self, requests):
            return []

    result = ExpertSet({"detect": Short()})
    outcome = drive(make_episode().play({"name": "detect", "arguments": {"images": ["img_0"], "phrase": "a"}}), result)
    assert outcome.failed


def test_stopping_from_outside(make_episode):
    episode = make_episode()
    episode.stop(EndReason.TOKEN_LIMIT)
    assert episode.reason is EndReason.TOKEN_LIMIT and episode.score == 0.0 and not episode.reason.terminates
    with pytest.raises(BadValueError):
        make_episode().stop(EndReason.SUBMITTED)


def test_no_tools_means_boxes_of_ones_own(make_episode, play):
    episode = make_episode(toolset=NONE)
    play(episode, ("draw_box", dict(image="img_0", x1=31, y1=39, x2=156, y2=234)), ("submit",))
    assert episode.score == pytest.approx(1.0, abs=0.05)


def test_rewards_report_their_terms(make_episode, play):
    episode = make_episode(reward=make_reward("rsagent:turn_cost=0.5"))
    first = play(episode, DETECT)
    assert first.info["terms"]["turns"] == -0.5 and first.info["terms"]["gain"] > 0
    last = play(episode, ("keep", {"objects": [1]}), ("submit",))
    assert last.info["terms"]["overshoot"] < 0 and last.reward == pytest.approx(sum(last.info["terms"].values()))
    visharness = make_episode(reward=make_reward("visharness"))
    assert play(visharness, ("submit_none",)).reward == -3.0


def test_blind_archive_leaves_no_image_after_text_only_tools(make_episode, play):
    for memory, visible in (("archive", ("img_0",)), ("archive:blind", ())):
        episode = make_episode(memory=make_policy(memory))
        outcome = play(episode, ("detect", {"images": ["img_0"], "phrase": "nothing"}))
        assert outcome.observation["image_names"] == visible


def test_the_same_place_under_another_name_is_another_object(make_episode, play):
    episode = make_episode()
    box = dict(image="img_0", x1=31, y1=39, x2=156, y2=234)
    play(episode, ("draw_box", {**box, "label": "coat"}), DETECT)
    assert [o.label for o in episode.objects] == ["coat", "a", "b"]
    play(episode, ("segment_box", {**box, "label": "a"}))
    assert [o.label for o in episode.objects] == ["coat", "a", "b", "a"], "what the agent places itself is new"


def test_a_choice_is_answered_in_words_also_after_a_merge(make_episode, play):
    episode = make_episode(toolset=VISHARNESS, kind=AnswerKind.CHOICE, choice="B")
    play(episode, ("PhraseToBoxMask", {"images": ["img_0"], "phrase": "a"}), ("MergeBoxMask", {"images": ["img_0"]}))
    play(episode, ("Answer", {"final_answer": "B"}))
    assert episode.score == 1.0


def test_finds_of_different_pictures_are_never_merged(make_episode, play):
    episode = make_episode(toolset=VISHARNESS, images=2, kind=AnswerKind.COUNT)
    both = {"images": ["img_0", "img_1"]}
    play(episode, ("PhraseToBoxMask", {**both, "phrase": "a"}), ("MergeBoxMask", both))
    assert len(episode.objects) == 4


@pytest.mark.parametrize(
    "again", [("split", {"images": ["img_0"], "patch_size": 200}), ("upscale", {"image": "img_0"})]
)
def test_feedback_names_the_images_that_were_made(make_episode, play, again):
    episode = make_episode()
    play(episode, ("split", {"images": ["img_0"], "patch_size": 128}), ("upscale", {"image": "img_0"}))
    before = set(episode.memory.images)
    said = play(episode, again).observation["feedback"]
    made = {n for n, i in episode.memory.images.items() if n not in before and not i.is_overlay}
    assert (
        made
        and all(name in said for name in made)
        and not any(f"{n}," in said or f"{n}:" in said for n in before - {"img_0"})
    )


def test_one_call_makes_at_most_64_patches_in_all(make_episode, play):
    episode = make_episode(images=8)
    names = [f"img_{i}" for i in range(8)]
    assert play(episode, ("split", {"images": names, "patch_size": 80})).info["error"] == "too_many_patches"
    assert len(episode.memory.images) == 8


def test_nothing_is_segmented_where_the_expert_finds_nothing(make_episode, known):
    class Empty(type(known)):
        def _one(self, r):
            found = super()._one(r)
            return Segmentation(mask=Mask.empty(found.mask.size_hw), score=0.0) if r.capability == "segment" else found

    experts = ExpertSet(dict.fromkeys(sorted(known.capabilities), Empty()))
    episode = make_episode()
    for name, arguments in (("segment_box", dict(x1=1, y1=1, x2=500, y2=500)), ("segment_point", dict(x=5, y=5))):
        drive(episode.play({"name": name, "arguments": {"image": "img_0", **arguments}}), experts)
        assert episode.objects == () and "othing could be segmented" in episode.turns[-1].feedback


BAD_RESULTS = {
    "nothing": lambda r: None,
    "not finite": lambda r: Detections(boxes_xyxy=np.array([[0, 0, np.nan, 1]]), scores=np.ones(1), labels=("a",)),
    "other lengths": lambda r: Detections(boxes_xyxy=np.zeros((2, 4)), scores=np.ones(1), labels=("a",)),
    "another size": lambda r: Segmentation(mask=Mask.empty((3, 3)), score=1.0),
}


@pytest.mark.parametrize("name", BAD_RESULTS)
@pytest.mark.parametrize("toolset", [FULL, VISHARNESS], ids=lambda t: t.name)
def test_a_result_that_does_not_fit_is_our_failure(make_episode, known, name, toolset):
    class Bad(type(known)):
        def _one(self, r):
            wanted = "segment" if name == "another size" else "detect"
            return BAD_RESULTS[name](r) if r.capability == wanted else super()._one(r)

    experts = ExpertSet(dict.fromkeys(sorted(known.capabilities), Bad()))
    episode = make_episode(toolset=toolset)
    calls = [("detect", {"images": ["img_0"], "phrase": "a"}), ("segment", {"objects": [0]})]
    if toolset is VISHARNESS:
        calls = [("PhraseToBoxMask", {"images": ["img_0"], "phrase": "a"})]
    for call, arguments in calls:
        if not episode.ended:
            drive(episode.play({"name": call, "arguments": arguments}), experts)
    assert episode.reason is EndReason.INFRASTRUCTURE_ERROR and episode.score is None


def test_native_messages_keep_the_models_text(make_episode, play):
    episode = make_episode(grammar=make_grammar("openai"))
    function = {"name": "detect", "arguments": '{"images": ["img_0"], "phrase": "a"}'}
    play(episode, {"content": "I look.", "tool_calls": [{"type": "function", "function": function}]})
    assert "I look." in episode.turns[0].reply
    assert render_messages(episode)[2]["content"] == "I look."


def test_an_episodes_rules_can_be_sent_to_another_process(make_episode):
    episode = make_episode(memory=make_policy("prune:k=2"), reward=make_reward("rsagent:turn_cost=0.5"))
    rules = pickle.loads(pickle.dumps(episode.rules))
    assert rules.memory.spec == "prune:k=2" and rules.reward.spec == "rsagent:turn_cost=0.5"
