"""What the profiles say at the edges: nothing submitted, empty answers, declared "no target"."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from visenv.tasks.emojiworld import EmojiDense
from visenv.tasks.profiles import PROFILES

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
CHOSEN = Target(kind=AnswerKind.CHOICE, choice="B", options=("a bus", "two dogs"), labels=("Jigsaw",), **SIZE)
FIVE = Target(kind=AnswerKind.CHOICE, choice="B", options=("a", "b", "c", "d", "e"), **SIZE)
FIFTH = Target(kind=AnswerKind.CHOICE, choice="E", **SIZE)
EMPTY = Mask.empty((80, 90))
LEFT, RIGHT = Mask.from_box((10, 10, 30, 60), (80, 90)), Mask.from_box((30, 10, 50, 60), (80, 90))
PARTLY = Target(kind=AnswerKind.MASK, masks=(LEFT,), ignore=RIGHT, **SIZE)
IGNORED = Target(kind=AnswerKind.MASK, ignore=MASK, **SIZE)
PARTS = Target(kind=AnswerKind.MASK, masks=(MASK,), overlap=LEFT, **SIZE)
NOTHING = Target(kind=AnswerKind.BOXES, **SIZE)
FAR = (60.0, 10.0, 80.0, 20.0)
CROWDED = Target(kind=AnswerKind.BOXES, boxes_xyxy=(BOX, FAR), labels=("apple",) * 2, crowd=(False, True), **SIZE)
POINTED = Target(kind=AnswerKind.COUNT, points_xy=((30.0, 35.0), (70.0, 15.0)), **SIZE)

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
    ("dense200/rexomni", BOXED, Answer(boxes_xyxy=(BOX,)), 0.0),
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
    ("multiqa/accuracy", CHOSEN, Answer(choice="A"), 0.0),
    ("multiqa/accuracy", CHOSEN, Answer(choice="B is right"), 0.0),
    ("multiqa/accuracy", CHOSEN, Answer(), 0.0),
    ("multiqa/accuracy", CHOSEN, None, 0.0),
    ("reasonseg/lisa", PARTLY, Answer(masks=(MASK,)), 1.0),
    ("reasonseg/lisa", PARTLY, Answer(masks=(LEFT,)), 1.0),
    ("reasonseg/lisa", IGNORED, Answer(masks=(MASK,)), 1.0),
    ("reasonseg/lisa", IGNORED, Answer(masks=(Mask.from_box((0, 0, 60, 60), (80, 90)),)), 0.0),
    ("reasonseg/segzero", PARTLY, Answer(masks=(MASK,)), 1.0),
    ("reasonseg/segzero", PARTLY, Answer(masks=(LEFT,)), 0.5),
    ("reasonseg/segzero", ABSENT, Answer(), 1.0),
    ("reasonseg/segzero", ABSENT, None, 0.0),
    ("reasonseg/segzero-multi", MASKED, Answer(no_target=True, masks=(MASK,)), 0.0),
    ("reasonseg/visionreasoner", ABSENT, Answer(), 0.0),
    ("gres/rela", MASKED, Answer(masks=(MASK,)), 1.0),
    ("gres/rela", ABSENT, Answer(no_target=True), 1.0),
    ("gres/rela", ABSENT, Answer(), 0.0),
    ("gres/rela", ABSENT, Answer(masks=(MASK, Mask.from_box((0, 0, 3, 3), (9, 9)))), 0.0),
    ("gres/gsva", MASKED, Answer(masks=(MASK,), no_target=True), 1.0),
    ("gres/gsva", ABSENT, Answer(no_target=True), 1.0),
    ("gres/gsva", ABSENT, Answer(masks=(EMPTY,)), 0.0),
    ("gres/gsva", ABSENT, None, 0.0),
    ("refcoco/native", PARTS, Answer(masks=(MASK,)), 1.0),
    ("refcoco/lavt480", MASKED, Answer(masks=(MASK,)), 1.0),
    ("refcoco/lavt480", PARTS, Answer(masks=(MASK,)), 0.5),
    ("refcoco/native", MASKED, Answer(no_target=True, masks=(MASK,)), 0.0),
    ("refcoco/native", MASKED, None, 0.0),
    ("refcoco/box", MASKED, Answer(boxes_xyxy=(BOX,)), 1.0),
    ("refcoco/box", MASKED, Answer(masks=(MASK,)), 1.0),
    ("refcoco/box", MASKED, Answer(masks=(LEFT, RIGHT), boxes_xyxy=(BOX, BOX)), 1.0),
    ("refcoco/box", MASKED, Answer(boxes_xyxy=(BOX, BOX)), 0.0),
    ("refcoco/box", MASKED, Answer(boxes_xyxy=((10.0, 10.0, 30.0, 60.0),)), 1.0),
    ("refcoco/box", MASKED, Answer(boxes_xyxy=((10.0, 10.0, 29.0, 60.0),)), 0.0),
    ("refcoco/box", MASKED, None, 0.0),
    ("grec/mdetr", BOXED, Answer(boxes_xyxy=(BOX,)), 1.0),
    ("grec/mdetr", BOXED, Answer(boxes_xyxy=(BOX,), scores=(0.69,)), 0.0),
    ("grec/mdetr", BOXED, Answer(boxes_xyxy=(BOX, BOX), scores=(0.7, 0.2)), 1.0),
    ("grec/mdetr", NOTHING, Answer(no_target=True, boxes_xyxy=(BOX,)), 1.0),
    ("grec/mdetr", NOTHING, Answer(boxes_xyxy=(BOX,)), 0.0),
    ("grec/mdetr", NOTHING, None, 0.0),
    ("grec/mdetr", BOXED, Answer(boxes_xyxy=((9.0, 9.0, 1.0, 1.0), (5.0, 5.0, 5.0, 5.0))), 0.0),
    ("grec/mdetr", BOXED, Answer(boxes_xyxy=(BOX[2:] + BOX[:2],)), 0.0),
    (
        "grec/mdetr",
        Target(kind=AnswerKind.BOXES, boxes_xyxy=(BOX[2:] + BOX[:2],), **SIZE),
        Answer(boxes_xyxy=(BOX,)),
        0.0,
    ),
    ("grec/mdetr", BOXED, Answer(boxes_xyxy=((-1e308, -1e308, 1e308, 1e308), BOX)), 2 / 3),
    ("grec/iou", BOXED, Answer(boxes_xyxy=(BOX,)), 1.0),
    ("grec/iou", BOXED, Answer(boxes_xyxy=(BOX[2:] + BOX[:2],)), 0.0),
    ("dense200/visharness", BOXED, Answer(boxes_xyxy=(BOX,)), 0.0),
    ("dense200/visharness", BOXED, Answer(boxes_xyxy=(BOX, BOX), labels=("apple", "car")), 2 / 3),
    ("dense200/visharness", BOXED, None, 0.0),
    ("visdrone/rexf1", CROWDED, Answer(boxes_xyxy=(BOX,), labels=("apple",)), 1.0),
    ("visdrone/rexf1", CROWDED, Answer(boxes_xyxy=(BOX,)), 0.0),
    ("visdrone/coco", BOXED, Answer(boxes_xyxy=(BOX,)), 0.0),
    ("visdrone/coco", CROWDED, Answer(boxes_xyxy=(BOX, FAR, FAR), labels=("apple",) * 3), 1.0),
    ("visdrone/coco", CROWDED, None, 0.0),
    ("coco/ap", MASKED, Answer(masks=(MASK,)), 1.0),
    ("coco/ap", MASKED, Answer(masks=(MASK, MASK)), 2 / 3),
    ("coco/ap", ABSENT, Answer(no_target=True), 1.0),
    ("rec8k/official", POINTED, Answer(boxes_xyxy=(BOX, FAR)), 1.0),
    ("rec8k/official", POINTED, Answer(count=1), 0.5),
    ("rec8k/official", POINTED, Answer(points_xy=((1.0, 1.0), (2.0, 2.0))), 1.0),
    ("blink/official", CHOSEN, Answer(choice="B"), 1.0),
    ("blink/official", CHOSEN, Answer(choice="I say (B) now"), 1.0),
    ("blink/official", CHOSEN, Answer(choice="(B)."), 0.0),
    ("blink/official", CHOSEN, Answer(choice="I say (B), not (C) but (B) again"), 1.0),
    ("blink/official", FIVE, Answer(choice="I say (B) , not (C) now"), 0.0),
    ("blink/micro", CHOSEN, None, 0.0),
    ("muirbench/official", CHOSEN, Answer(choice="It is (A), no, (B)."), 1.0),
    ("muirbench/official", CHOSEN, Answer(choice="I see two dogs playing in the grass"), 1.0),
    ("muirbench/official", CHOSEN, Answer(choice="no idea"), 0.0),
    ("muirbench/official", FIFTH, Answer(choice="It is (E)"), 1.0),
    ("vstar/letter", CHOSEN, Answer(choice="b."), 1.0),
    ("vstar/letter", CHOSEN, Answer(choice="b, surely"), 0.0),
    ("hrbench/letter", CHOSEN, Answer(choice="B"), 1.0),
    ("hrbench/letter", CHOSEN, None, 0.0),
]


def plain(value: Any) -> bool:
    return isinstance(value, int | None) or (isinstance(value, list) and all(map(plain, value)))


@pytest.mark.parametrize(("name", "target", "answer", "primary"), CASES)
def test_primary(name: str, target: Target, answer: Answer | None, primary: float) -> None:
    profile = PROFILES[name]
    row = profile.row(target, answer)
    assert all(plain(v) for v in row.values())
    assert profile.primary(json.loads(json.dumps(row))) == pytest.approx(primary, abs=1e-12)
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
    ("answers", "mae", "f1"),
    [
        ([None, None], 1.0, None),  # nothing submitted errs by all there is, and by one where there is nothing
        ([Answer(count=1), Answer(count=0)], 0.0, None),
        ([Answer(points_xy=((1.0, 1.0),)), None], 0.5, None),
        ([Answer(no_target=True), Answer(no_target=True)], 0.5, 0.0),
        ([Answer(), Answer()], 0.5, 0.0),
        ([Answer(boxes_xyxy=(BOX,)), Answer(no_target=True)], 0.0, 2 / 3),  # and the point at the corner is missed
        ([Answer(boxes_xyxy=(BOX,)), Answer(count=0)], 0.0, 2 / 3),
        ([Answer(count=3), Answer(no_target=True)], 1.0, 0.0),
    ],
)  # fmt: skip
def test_nothing_submitted_none_found_and_a_number_alone_are_three_things(answers, mae, f1):
    profile = PROFILES["rec8k/official"]
    metrics = profile.aggregate([profile.row(t, a) for t, a in zip((COUNTED, ZERO), answers, strict=True)])
    assert metrics["MAE_true"] == mae and metrics["F1"] == (None if f1 is None else pytest.approx(f1))


def test_the_count_is_the_number_of_boxes_where_there_are_boxes():
    profile = PROFILES["rec8k/official"]
    assert profile.row(COUNTED, Answer(boxes_xyxy=(BOX,), count=2))["pred"] == 1


@pytest.mark.parametrize("label", ["apple", "Apples", "pomes", "target"])
def test_a_dense_answer_does_not_depend_on_what_its_boxes_are_called(label: str) -> None:
    profile = EmojiDense.profile
    assert profile.primary(profile.row(BOXED, Answer(boxes_xyxy=(BOX,), labels=(label,)))) == 1.0


ANSWERS = {
    "nothing submitted": None,
    "declared absent": Answer(no_target=True),
    "empty mask": Answer(masks=(EMPTY,)),
    "masks": Answer(masks=(MASK,)),
    "boxes": Answer(boxes_xyxy=(BOX, FAR), labels=("apple", "car"), scores=(0.9, 0.8)),
    "count": Answer(count=2),
    "choice": Answer(choice="B"),
}
MASKS, BOXES = [MASKED, ABSENT, PARTLY, PARTS], [BOXED, CROWDED, NOTHING]
FAMILIES = {
    "reasonseg": MASKS, "gres": MASKS, "refcoco": MASKS, "coco": MASKS + BOXES, "grec": BOXES, "dense200": BOXES,
    "visdrone": BOXES, "rec8k": [COUNTED, ZERO, POINTED],
}  # fmt: skip


def targets(name: str) -> list[Target]:
    return FAMILIES.get(name.split("/")[0], [CHOSEN])


@pytest.mark.parametrize("name", PROFILES)
def test_aggregates_do_not_depend_on_the_order(name: str) -> None:
    profile = PROFILES[name]
    rows = [profile.row(t, a) for t in targets(name) for a in ANSWERS.values()]
    before, first = json.dumps(rows), profile.aggregate(rows)
    for seed in range(4):
        order = random.Random(seed).sample(rows, len(rows))
        assert profile.aggregate(order) == {k: pytest.approx(v, abs=1e-9) for k, v in first.items()}
    assert json.dumps(rows) == before
    assert all(0 <= profile.primary(r) <= 1 for r in rows)
    assert {v for v in first.values() if v is not None and not math.isfinite(v)} == set()


@pytest.mark.parametrize("name", PROFILES)
def test_nothing_submitted_has_a_row_of_its_own(name: str) -> None:
    profile = PROFILES[name]
    for target in targets(name):
        rows = {key: json.dumps(profile.row(target, answer)) for key, answer in ANSWERS.items()}
        assert [key for key, row in rows.items() if row == rows["nothing submitted"]] == ["nothing submitted"]
        assert profile.primary(profile.row(target, None)) == 0


def test_three_kinds_of_nothing_on_a_sample_without_targets() -> None:
    """Declared, empty and failed are different things: this table says what each profile makes of them."""
    told = {
        name: tuple(PROFILES[name].primary(PROFILES[name].row(target, ANSWERS[key])) for key in list(ANSWERS)[:3])
        for name, target in [(n, ABSENT) for n in PROFILES if n.split("/")[0] in ("reasonseg", "gres")] + [("grec/mdetr", NOTHING)]
    }  # fmt: skip
    assert told == {
        "gres/gsva": (0, 1, 0),
        "gres/native": (0, 1, 0),
        "gres/rela": (0, 1, 0),
        "reasonseg/lisa": (0, 1, 1),
        "reasonseg/segzero": (0, 1, 1),
        "reasonseg/segzero-multi": (0, 1, 1),
        "reasonseg/visionreasoner": (0, 0, 0),
        "grec/mdetr": (0, 1, 1),
    }


def test_points_alone_have_no_f1() -> None:
    profile = PROFILES["rec8k/official"]
    assert profile.aggregate([profile.row(POINTED, Answer(points_xy=POINTED.points_xy))])["F1"] is None
    assert profile.aggregate([profile.row(POINTED, Answer(boxes_xyxy=(BOX, FAR)))])["F1"] == 1


def test_groups_of_choices() -> None:
    blink, hr = PROFILES["blink/official"], PROFILES["hrbench/letter"]

    def asked(group: str, right: str) -> Target:
        return Target(kind=AnswerKind.CHOICE, choice=right, labels=(group,), **SIZE)

    said = Answer(choice="B")
    rows = [
        blink.row(asked(g, r), said) for g, r in [("Jigsaw", "B"), ("Jigsaw", "B"), ("IQ_Test", "A"), ("Counting", "B")]
    ]
    assert blink.aggregate(rows)["Total"] == pytest.approx(2 / 3), "each task weighs the same"
    assert PROFILES["blink/micro"].aggregate(rows)["accuracy"] == 3 / 4
    assert blink.aggregate(rows)["Jigsaw"] == 1 and blink.aggregate(rows)["Art_Style"] is None
    cycles = [("single/0", "B"), ("single/0", "B"), ("cross/0", "A"), ("cross/1", "B")]
    rows = [hr.row(asked(g, r), said) for g, r in cycles]
    assert hr.aggregate(rows) == {"accuracy": pytest.approx((2 / 3 + 1) / 2), "FSP": 0.5, "FCP": 0.5, "parsed": 1}
    assert hr.aggregate(rows[:2])["FCP"] is None and hr.aggregate(rows[:2])["FSP"] == 1
