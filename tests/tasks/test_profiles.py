"""What the profiles say at the edges: nothing submitted, empty answers, declared "no target"."""

from __future__ import annotations

import json
from typing import Any

import pytest
from visenv.tasks.emojiworld import EmojiDense
from visenv.tasks.profiles import PROFILES
from visenv.tasks.profiles.multiqa_accuracy import letter

from visenv.answers import Answer, AnswerKind, Target
from visenv.masks import Mask

BOX = (10.0, 10.0, 50.0, 60.0)
MASK = Mask.from_box(BOX, (80, 90))
SIZE = {"size_hw": (80, 90)}
MASKED = Target(kind=AnswerKind.MASK, masks=(MASK,), **SIZE)
ABSENT = Target(kind=AnswerKind.MASK, **SIZE)
BOXED = Target(kind=AnswerKind.BOXES, boxes_xyxy=(BOX,), labels=("apple",), **SIZE)
COUNTED = Target(kind=AnswerKind.COUNT, boxes_xyxy=(BOX,), labels=("apple",), **SIZE)
ZERO = Target(kind=AnswerKind.COUNT, **SIZE)
CHOSEN = Target(kind=AnswerKind.CHOICE, choice="B", **SIZE)
EMPTY = Mask.empty((80, 90))

CASES = [
    ("reasonseg/lisa", MASKED, Answer(masks=(MASK,)), 1.0),
    ("reasonseg/lisa", MASKED, Answer(), 0.0),
    ("reasonseg/lisa", MASKED, None, 0.0),
    ("reasonseg/lisa", MASKED, Answer(no_target=True, masks=(MASK,)), 0.0),
    ("gres/native", MASKED, Answer(masks=(MASK,)), 1.0),
    ("gres/native", MASKED, Answer(no_target=True, masks=(MASK,)), 0.0),
    ("gres/native", ABSENT, Answer(no_target=True), 1.0),
    ("gres/native", ABSENT, Answer(masks=(EMPTY,)), 0.0),
    ("gres/native", ABSENT, Answer(), 0.0),
    ("gres/native", ABSENT, None, 0.0),
    ("dense200/rexomni", BOXED, Answer(boxes_xyxy=(BOX,), labels=("Apple",)), 1.0),
    ("dense200/rexomni", BOXED, Answer(boxes_xyxy=(BOX,)), 1.0),
    ("dense200/rexomni", BOXED, Answer(boxes_xyxy=(BOX,), labels=("car",)), 0.0),
    ("dense200/rexomni", BOXED, Answer(boxes_xyxy=(BOX, BOX, BOX), labels=("apple",) * 3), 0.5),
    ("dense200/rexomni", BOXED, Answer(no_target=True), 0.0),
    ("dense200/rexomni", BOXED, None, 0.0),
    ("rec8k/official", COUNTED, Answer(count=1), 1.0),
    ("rec8k/official", COUNTED, Answer(boxes_xyxy=(BOX,)), 1.0),
    ("rec8k/official", COUNTED, Answer(count=3), 0.0),
    ("rec8k/official", COUNTED, None, 0.0),
    ("rec8k/official", ZERO, Answer(count=0), 1.0),
    ("rec8k/official", ZERO, Answer(no_target=True), 1.0),
    ("rec8k/official", ZERO, Answer(count=1), 0.0),
    ("rec8k/official", ZERO, None, 0.0),
    ("multiqa/accuracy", CHOSEN, Answer(choice="(b)."), 1.0),
    ("multiqa/accuracy", CHOSEN, Answer(choice="B is right"), 0.0),
    ("multiqa/accuracy", CHOSEN, Answer(), 0.0),
    ("multiqa/accuracy", CHOSEN, None, 0.0),
]


def plain(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, list) and all(isinstance(v, int) for v in value))


@pytest.mark.parametrize(("name", "target", "answer", "primary"), CASES)
def test_primary(name: str, target: Target, answer: Answer | None, primary: float) -> None:
    profile = PROFILES[name]
    row = profile.row(target, answer)
    assert all(plain(v) for v in row.values())
    assert profile.primary(json.loads(json.dumps(row))) == primary
    profile.aggregate([row])


@pytest.mark.parametrize("name", PROFILES)
def test_aggregate_of_nothing(name: str) -> None:
    assert set(PROFILES[name].aggregate([]).values()) == {None}


def test_nothing_submitted_is_worse_than_an_empty_mask() -> None:
    profile = PROFILES["reasonseg/lisa"]
    assert profile.aggregate([profile.row(ABSENT, Answer())])["gIoU"] == pytest.approx(1, abs=1e-4)
    assert profile.aggregate([profile.row(ABSENT, None)])["gIoU"] == 0


def test_nothing_submitted_is_not_a_kept_target() -> None:
    profile = PROFILES["gres/native"]
    metrics = profile.aggregate([profile.row(MASKED, None), profile.row(ABSENT, None)])
    assert (metrics["T_acc"], metrics["N_acc"]) == (0, 0)


def test_counts_without_boxes_have_no_f1() -> None:
    profile = PROFILES["rec8k/official"]
    metrics = profile.aggregate([profile.row(COUNTED, Answer(count=1)), profile.row(ZERO, Answer(count=0))])
    assert metrics["F1"] is None
    assert metrics["MAE"] == 0.5  # the official code takes an image without objects for one with a single object
    assert metrics["MAE_true"] == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("B", "B"), (" b ", "B"), ("(C)", "C"), ("D.", "D"), ("E)", "E"), ("A or B", None), ("", None), (None, None)],
)
def test_letter(text: str | None, expected: str | None) -> None:
    assert letter(text) == expected


@pytest.mark.parametrize("label", ["apple", "Apples", "pomes", "target"])
def test_a_dense_answer_does_not_depend_on_what_its_boxes_are_called(label: str) -> None:
    profile = EmojiDense.profile
    assert profile.primary(profile.row(BOXED, Answer(boxes_xyxy=(BOX,), labels=(label,)))) == 1.0
