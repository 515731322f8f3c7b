"""Asking about one's own pictures: every form of answer, no truth anywhere, and whatever goes wrong said in words."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

from visenv import Answer, AnswerKind, Episode, Expert, ExpertSet, Image, Mask, Rules, Target, ask, make_agent
from visenv.agent import Manner
from visenv.context import ToolContext
from visenv.errors import BadValueError, InfrastructureError, TokenLimitError, UnknownNameError, UnsuitedError
from visenv.tools import ToolResult, Toolset, tool
from visenv.toolsets import FULL

BLANK = np.full((80, 120, 3), 200, np.uint8)


def call(name, **arguments):
    return {"name": name, "arguments": arguments}


def box(x1, y1, x2, y2, image="img_0", label="cup"):
    return call("draw_box", image=image, x1=x1, y1=y1, x2=x2, y2=y2, label=label)


def plays(*calls):
    """An agent, as a function, that makes these calls one after the other."""
    return lambda observation: calls[observation["turn"]]


# What is answered


def test_masks_are_of_the_first_picture(experts):
    found = ask(BLANK, "the cups", agent=plays(box(0, 0, 500, 500), box(500, 500, 1000, 1000, label="spoon"), call("submit")), experts=experts)  # fmt: skip
    assert [(o.id, o.label) for o in found.objects] == [(1, "cup"), (2, "spoon")]
    assert found.objects[0].box_xyxy == (0, 0, 60, 40)
    assert found.mask.area_px == 2 * 60 * 40 and found.mask.to_dense()[:40, :60].all()
    lines = str(found).splitlines()
    assert lines[0] == "2 objects" and lines[1] == "  1  cup  box 0, 0, 60, 40, mask of 2,400 px"
    assert (found.overlay().pixels != BLANK).any() and found.overlay().size_wh == (120, 80)


@pytest.mark.parametrize(
    ("form", "calls", "said"),
    [
        ("boxes", [box(0, 0, 500, 500), call("submit")], "1 object\n  1  cup  box 0, 0, 60, 40"),
        ("count", [call("submit_count", count=24)], "Count: 24"),
        ("count", [box(0, 0, 500, 500), call("submit")], "Count: 1\n  1  cup  box 0, 0, 60, 40"),
        ("count", [call("submit_none")], "Count: 0 (no such object)"),
        (AnswerKind.MASK, [call("submit_none")], "No such object."),
    ],
)
def test_the_answer_in_words(experts, form, calls, said):
    found = ask(BLANK, "the cup", answer=form, agent=plays(*calls), experts=experts)
    assert str(found) == said and found.why_not is None


@pytest.mark.parametrize(
    ("letter", "said"),
    [
        ("B", "B: two"),
        (" (b).", " (b).: two"),
        ("Z", "Z\nThis is none of the options."),
        ("both", "both\nThis is none of the options."),
    ],
)
def test_a_choice_is_said_with_its_text(experts, letter, said):
    agent = plays(call("submit_choice", choice=letter))
    found = ask(
        [BLANK, BLANK // 2], "How many?", answer="choice", options=["one ", "two"], agent=agent, experts=experts
    )
    assert found.episode.sample.instruction == "How many?\nA. one\nB. two"
    assert str(found) == said and found.mask is None and found.to_coco()["answer"]["choice"] == letter


def test_nothing_there_no_pixels_and_no_answer_are_three_things(experts):
    none = ask(BLANK, "the cup", agent=plays(call("submit_none")), experts=experts)
    away = ask([BLANK, BLANK // 2], "the cup", agent=plays(box(0, 0, 500, 500, image="img_1"), call("submit")), experts=experts)  # fmt: skip
    lost = ask(BLANK, "the cup", agent=plays(box(0, 0, 500, 500)), experts=experts, max_turns=1)
    assert [f.num_elsewhere for f in (none, away, lost)] == [0, 1, 0]
    assert [f.answer is None for f in (none, away, lost)] == [False, False, True]
    assert [f.to_coco()["answer"] and f.to_coco()["answer"]["no_target"] for f in (none, away, lost)] == [
        True,
        False,
        None,
    ]
    assert (none.mask.area_px, away.mask.area_px, lost.mask) == (0, 0, None)
    assert str(away) == "0 objects\nFound on other pictures than the first: 1. The answer holds none of these."
    assert str(lost) == "No answer: it did not submit within its 1 turn."


def test_a_count_of_what_lies_elsewhere_says_so(experts):
    calls = [box(0, 0, 500, 500, image="img_1"), call("submit")]
    found = ask([BLANK, BLANK // 2], "cups", answer="count", agent=plays(*calls), experts=experts)
    assert str(found).startswith("Count: 0\nFound on other pictures than the first: 1.")
    said = ask([BLANK, BLANK // 2], "cups", answer="count", agent=plays(calls[0], call("submit_count", count=0)), experts=experts)  # fmt: skip
    assert str(said) == "Count: 0"


ESCAPES = "\x1b]0;owned\x07\n\u202e"


@pytest.mark.parametrize(
    ("form", "options", "answer"),
    [
        ("mask", [], Answer(masks=(Mask.from_box((10, 20, 30, 40), (80, 120)),), labels=(f"cup{ESCAPES}",))),
        ("choice", ["one", f"two{ESCAPES}"], Answer(choice="B")),
        ("choice", ["one", "two"], Answer(choice=f"C{ESCAPES}" + "x" * 5000)),
        ("mask", [], None),
    ],
    ids=["label", "option", "choice", "why not"],
)
def test_what_is_printed_hurts_no_terminal_and_tells_no_secret(form, options, answer):
    agent = raises(OSError(f"key sk-option-5678 {ESCAPES}"))
    found = ask(BLANK, "the cup", answer=form, options=options, agent=agent)
    found = replace(found, secrets=("sk-option-5678", "owned"))
    found.episode.answer = answer
    lines = str(found).splitlines()
    assert lines and all(line.isprintable() and len(line) < 1100 for line in lines)
    assert "***" in lines[0 if answer is None or form == "choice" else 1] and "owned" not in str(found)


def test_nobody_knows_the_truth_and_nothing_is_scored(experts):
    found = ask(BLANK, "the cup", agent=plays(box(0, 0, 500, 500), call("submit")), experts=experts)
    episode = found.episode
    assert episode.profile is None and episode.score is None and episode.row is None
    assert all(turn.reward == 0 and not turn.terms for turn in episode.turns)
    target = episode.sample.target
    assert not target.known and not target.no_target, "an absent truth is not an empty one"
    assert target.fingerprint != Target(kind=target.kind, size_hw=target.size_hw).fingerprint


def test_a_profile_needs_a_truth(make_episode):
    own = ask(BLANK, "the cup", agent=plays(call("submit_none"))).episode.sample
    scored = make_episode()
    for asked, by in ((own, scored.profile), (scored.sample, None)):
        with pytest.raises(BadValueError, match="profile"):
            Episode(asked, profile=by, rules=Rules(toolset=FULL))


def test_masks_that_are_not_parallel_to_boxes_have_their_own():
    found = ask(BLANK, "the cup", agent=plays(call("submit_none")))
    mask = Mask.from_box((10, 20, 30, 40), (80, 120))
    found.episode.answer = Answer(masks=(mask, mask), boxes_xyxy=((0.0, 0.0, 1.0, 1.0),), labels=("a",))
    assert [o.box_xyxy for o in found.objects] == [(10, 20, 30, 40)] * 2


# Whom is asked


@pytest.mark.parametrize("agent", ["random", "one-shot", "scripted"])
@pytest.mark.parametrize("form", list(AnswerKind))
def test_shipped_agents_answer_or_say_why_not(agent, form):
    options = ["one", "two"] if form is AnswerKind.CHOICE else []
    found = ask([BLANK, BLANK // 2], "the red car", answer=form, options=options, agent=agent, seed=3)
    assert (found.answer is None) == (found.why_not is not None)
    assert found.agent == agent and found.settings["tools"] == "full" and found.seconds > 0


@pytest.mark.parametrize("agent", ["oracle", "Demonstrator", "prior"])
def test_who_needs_the_truth_is_refused(agent):
    with pytest.raises(UnsuitedError, match=r"truth|no task"):
        ask(BLANK, "the cup", agent=agent)


def test_an_agent_that_is_handed_over_gets_no_truth():
    with pytest.raises(UnsuitedError):
        ask(BLANK, "the cup", agent=make_agent("oracle"))


def test_the_agent_is_spoken_to_in_its_manner(experts):
    told = []

    class Model:
        name = "model"
        manner = Manner(grammar="json:coordinates=pixels")

        def start(self, spec):
            self.conversation = spec.conversation
            return self

        def act(self, observation):
            told.append(self.conversation.messages()[-1]["content"])
            if observation["turn"]:
                return '{"name": "submit", "arguments": {}}'
            return '{"name": "draw_box", "arguments": {"image": "img_0", "x1": 30, "y1": 20, "x2": 90, "y2": 60}}'

    found = ask(BLANK, "the cup", answer="boxes", agent=Model(), experts=experts)
    assert found.objects[0].box_xyxy == (30, 20, 90, 60) and found.settings["grammar"] == "json"
    assert "the cup" in str(told[0])


def test_a_player_may_wait(experts):
    async def aact(observation):
        return call("submit_count", count=2)

    agent = SimpleNamespace(
        name="waits", start=lambda spec: SimpleNamespace(aact=aact, costs={"prompt_tokens": 7, "odd": "x"})
    )
    found = ask(BLANK, "cups", answer="count", agent=agent, experts=experts)
    assert found.answer.count == 2 and found.costs == {"prompt_tokens": 7.0}


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(2)], ids=repr)
def test_costs_that_raise_cost_nobody_the_answer(experts, error):
    class Player:
        def act(self, observation):
            return call("submit_count", count=2)

        @property
        def costs(self):
            raise error

    found = ask(
        BLANK, "cups", answer="count", agent=SimpleNamespace(name="odd", start=lambda spec: Player()), experts=experts
    )
    assert found.answer.count == 2 and found.costs == {}


def raises(error):
    def act(observation):
        raise error

    return act


@pytest.mark.parametrize(
    ("agent", "reason", "said"),
    [
        (raises(KeyError("lost")), "agent_error", "KeyError: 'lost'"),
        (raises(SystemExit("gone")), "agent_error", "SystemExit: gone"),
        (raises(TokenLimitError("full")), "token_limit", "its context was full after 0 turns"),
        (raises(InfrastructureError("busy")), "infrastructure_error", "not the agent's: InfrastructureError: busy"),
        (lambda observation: object(), "agent_error", "too many invalid calls, the last one told: Error (no_call)"),
        (lambda observation: call("detect", images=["img_0"], phrase="a"), "turn_limit", "within its 12 turns"),
    ],
)  # fmt: skip
def test_an_agent_that_fails_is_an_answer_of_its_own(experts, agent, reason, said):
    found = ask(BLANK, "the cup", agent=agent, experts=experts)
    assert found.answer is None and found.episode.reason == reason and said in str(found)
    assert not found.objects and found.to_coco()["answer"] is None


def test_an_expert_that_fails_is_no_exception():
    class Down(Expert):
        name, version, capabilities = "down", "1", frozenset({"detect"})

        def run(self, requests):
            raise RuntimeError("the detector is down")

    agent = plays(call("detect", images=["img_0"], phrase="cup"))
    found = ask(BLANK, "the cup", agent=agent, experts=ExpertSet({"detect": Down()}))
    assert found.episode.reason == "infrastructure_error" and "the detector is down" in str(found)


def test_no_address_in_memory_is_told(experts):
    told = []
    for _ in range(2):
        found = ask(BLANK, "the cup", agent=lambda observation: object(), experts=experts)
        told.append([(turn.reply, turn.feedback) for turn in found.episode.turns])
    assert told[0] == told[1] and told[0][0][0] == "an object of type object" and " at 0x" not in str(told)


def test_an_action_that_cannot_be_read_is_the_agent_s_error(experts):
    class Unreadable(Mapping):
        def __getitem__(self, key):
            raise RuntimeError("no such thing")

        def __iter__(self):
            return iter(["name"])

        def __len__(self):
            return 1

    calls = [box(0, 0, 500, 500), Unreadable()]
    found = ask(BLANK, "the cup", agent=plays(*calls), experts=experts)
    assert found.episode.reason == "agent_error" and "no such thing" in str(found) and len(found.episode.turns) == 1


def test_a_tool_that_raises_is_our_failure_and_loses_nothing(experts):
    @tool()
    def broken(context: ToolContext) -> ToolResult:
        """Break."""
        raise ValueError("a bug")

    told = []
    tools = Toolset(name="own", tools=(FULL["draw_box"], broken))
    agent = plays(box(0, 0, 500, 500), call("broken"))
    found = ask(BLANK, "the cup", agent=agent, toolset=tools, experts=experts, on_turn=told.append)
    assert found.episode.reason == "infrastructure_error" and "ValueError: a bug" in str(found)
    assert len(found.episode.turns) == len(told) == 1


def test_every_turn_is_told(experts):
    told = []
    ask(BLANK, "cup", agent=plays(box(0, 0, 9, 9), call("submit")), experts=experts, on_turn=told.append)
    assert [turn.call["name"] for turn in told] == ["draw_box", "submit"]


# Pictures


def test_pictures_of_every_form_are_taken(tmp_path):
    grey = np.arange(80 * 120, dtype=np.uint8).reshape(80, 120)
    PilImage.fromarray(grey).save(tmp_path / "grey.png")
    given = [tmp_path / "grey.png", str(tmp_path / "grey.png"), grey, Image(np.stack([grey] * 3, axis=2))]
    found = ask(given, "the cup", agent=plays(call("submit_none")))
    assert len({image.hash for image in found.episode.sample.images}) == 1
    assert found.names == ("grey.png", "grey.png", "img_2", "img_3")


def test_a_photo_is_turned_upright(tmp_path):
    picture = PilImage.fromarray(BLANK)
    exif = PilImage.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "p.jpg", exif=exif)
    found = ask(tmp_path / "p.jpg", "the cup", agent=plays(call("submit_none")))
    assert found.overlay().size_wh == (80, 120)
    assert [(i["width"], i["height"]) for i in found.to_coco()["images"]] == [(80, 120)]


def png_of(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("what", ["folder", "pipe", "vast", "postscript", "cut", "missing", "zero byte"])
def test_what_is_no_picture_is_refused(tmp_path, what):
    path = tmp_path / "p.jpg"
    match what:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "vast":
            path.write_bytes(png_of(2**15, 2**15))
        case "postscript":
            path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        case "cut":
            PilImage.fromarray(BLANK).save(path)
            path.write_bytes(path.read_bytes()[:200])
        case "zero byte":
            path = Path("a\0b")
    with warnings.catch_warnings(), pytest.raises(BadValueError, match=r"picture|zero|pixels"):
        ask(path, "the cup", agent=plays(call("submit_none")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pictures": []}, "1 to 32"), ({"pictures": [BLANK] * 33}, "1 to 32"), ({"pictures": BLANK[..., :2]}, "uint8"),
        ({"pictures": BLANK.astype(float)}, "uint8"), ({"pictures": 5}, "`pictures`"), ({"pictures": None}, "`pictures`"),
        ({"pictures": [[1, 2]]}, "`pictures`"), ({"pictures": b"photo.png"}, "`pictures`"), ({"instruction": "  "}, "in words"), ({"instruction": "\udc80"}, "UTF-8"),
        ({"instruction": "a" * 30_000}, "20000 characters"), ({"answer": "choice"}, "2 to 26"),
        ({"answer": "choice", "options": ["a"] * 27}, "2 to 26"), ({"options": ["a", "b"]}, "none for"),
        ({"answer": "choice", "options": ["a", " "]}, "texts"), ({"answer": "choice", "options": "ab"}, "texts"),
        ({"agent": 7}, "a function"), ({"max_turns": 0}, "at least 1"), ({"memory": "window:j=2"}, "options"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_said(changes, said):
    given = {"pictures": BLANK, "instruction": "the cup", "agent": plays(call("submit_none"))} | changes
    with pytest.raises(BadValueError, match=said):
        ask(given.pop("pictures"), given.pop("instruction"), **given)


@pytest.mark.parametrize(
    "changes", [{"answer": "masks"}, {"agent": "nobody"}, {"toolset": "ful"}, {"experts": "nobody"}]
)
def test_unknown_names_are_said(changes):
    with pytest.raises(UnknownNameError):
        ask(BLANK, "the cup", **{"agent": plays(call("submit_none")), **changes})


# Real photos


def photo(name):
    data = pytest.importorskip("skimage.data", reason='scikit-image is not installed: pip install "visenv[dev]"')
    return getattr(data, name)()


def test_the_coins_are_counted():
    def count(observation):
        """Whatever is brighter than what surrounds it."""
        grey = cv2.medianBlur(observation["images"][0][..., 0], 7)
        bright = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 101, -15)
        bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
        areas = cv2.connectedComponentsWithStats(bright)[2][1:, cv2.CC_STAT_AREA]
        return call("submit_count", count=int((areas > 300).sum()))

    assert str(ask(photo("coins"), "How many coins are there?", answer="count", agent=count)) == "Count: 24"


def test_the_cup_is_segmented():
    around = call("segment_box", image="img_0", x1=285, y1=40, x2=700, y2=640, label="cup")
    clicks = [
        call("refine", object=0, image="img_0", x=x, y=y, sign="positive")
        for x, y in [(433, 172), (483, 370), (478, 550)]
    ]
    found = ask(photo("coffee"), "the cup", agent=plays(around, *clicks, call("submit")))
    rim = np.zeros((400, 600), np.uint8)
    cv2.ellipse(rim, (291, 117), (110, 90), 0, 0, 360, 1, cv2.FILLED)  # its opening, by hand
    inside = found.mask.to_dense() & rim.astype(bool)
    assert inside.sum() > 0.6 * rim.sum() and found.mask.area_px < 2 * rim.sum()


def test_the_embedded_experts_find_nothing_in_a_photo_and_say_so():
    assert str(ask(photo("coffee"), "the cup")) == "No such object."
