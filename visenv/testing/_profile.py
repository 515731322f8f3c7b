"""Checking a metric profile on real targets: rows that JSON keeps, a primary score in [0, 1], aggregates that do not depend on order."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..answers import Answer, AnswerKind, Box, Target
from ..errors import short
from ..masks import Mask
from ..task import Profile, Row, Sample
from ._subject import Subject

__all__ = ["check_profile", "perfect_answer"]

NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*/[a-z0-9][a-z0-9_.+-]*")
REMEDY = "A profile is pure and total: it must score whatever an agent may submit."
MAX_REASON = 40
ROWS = "Count in integers and flags, and divide only in `primary` and `aggregate`."


def check_profile(subject: Subject, profile: Profile, samples: Sequence[Sample], *, ranks: bool = True) -> None:
    """Check a profile on the targets of some samples.

    Args:
        subject: Whose it is.
        profile: To check.
        samples: Their targets are scored.
        ranks: It makes the task's scores, so that no answer may be better than the truth. A further profile need not keep
            to that: what it agrees with may give nothing for a target without pixels.

    Raises:
        ConformanceError: A promise is broken.
    """
    _check_form(subject, profile)
    rows: list[Row] = []
    for sample in samples:
        rows += _check_scores(subject.at(f"sample {sample.id!r}"), profile, sample.target, ranks=ranks)
    _check_aggregate(subject, profile, rows)


def perfect_answer(target: Target) -> Answer:
    """Return the target as an agent would submit it."""
    if target.kind is AnswerKind.CHOICE:
        return Answer(choice=target.choice)
    boxes: tuple[Box, ...] = target.boxes_xyxy
    if not boxes:
        boxes = tuple(
            (float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in (m.box_xyxy for m in target.masks)
        )
    if not boxes:
        # a task whose truth is points has no boxes to submit
        return Answer(count=target.num_objects) if target.kind is AnswerKind.COUNT else Answer(no_target=True)
    masks: tuple[Mask, ...] = ()
    if target.kind is AnswerKind.MASK:
        masks = target.masks or tuple(Mask.from_box(b, target.size_hw) for b in boxes)
    return Answer(masks=masks, boxes_xyxy=boxes, labels=target.labels or ("target",) * len(boxes))


def _others(target: Target) -> dict[str, Answer | None]:
    """Answers of every temper, none of them better than the truth."""
    height, width = target.size_hw
    whole = (0.0, 0.0, float(width), float(height))
    foreign = Mask.from_box((0, 0, 3, 3), (height + 7, width + 3))
    perfect = perfect_answer(target)
    twice = Answer(masks=perfect.masks * 2, boxes_xyxy=perfect.boxes_xyxy * 2, labels=perfect.labels * 2)
    return {
        "nothing submitted": None,
        "an empty answer": Answer(),
        "a declared 'no target'": Answer(no_target=True),
        "a mask without pixels": Answer(masks=(Mask.empty(target.size_hw),)),
        "the whole picture": Answer(
            masks=(Mask.from_box(whole, target.size_hw),), boxes_xyxy=(whole,), labels=("target",)
        ),
        "a mask of another size": Answer(masks=(foreign,)),
        "masks of two sizes": Answer(masks=(foreign, Mask.from_box(whole, target.size_hw))),
        "boxes without labels": Answer(boxes_xyxy=(whole, (1.0, 1.0, 2.0, 2.0))),
        "a box without area": Answer(boxes_xyxy=((5.0, 5.0, 5.0, 5.0),), labels=("target",)),
        "a box turned round": Answer(boxes_xyxy=((9.0, 9.0, 1.0, 1.0),), labels=("target",)),
        "a box far outside": Answer(boxes_xyxy=((-1e9, -1e9, 1e9, 1e9),), labels=("",)),
        "every object twice": twice,
        "a count of 0": Answer(count=0),
        "a count of 10**15": Answer(count=10**15),
        "a count of -3": Answer(count=-3),
        "a free text": Answer(choice="I cannot say, perhaps the second one?\n" * 20),
        "an empty text": Answer(choice=""),
    }


def _check_form(subject: Subject, profile: object) -> None:
    subject.need(
        isinstance(profile, Profile), f"`profile` is {short(profile)}", expected="a visenv.Profile", remedy="Make one.",
    )  # fmt: skip
    assert isinstance(profile, Profile)
    subject.need(
        isinstance(profile.name, str) and NAME.fullmatch(profile.name), f"the profile's name is {short(profile.name)}",
        expected="`family/variant` in small letters, such as `gres/native`", remedy="It is printed beside every number: rename it.",
    )  # fmt: skip
    subject.need(
        isinstance(profile.source, str) and profile.source.strip(), f"the profile's source is {short(profile.source)}",
        expected="the code whose numbers it gives", remedy='Say which, or "none: from the description, not compared with running code".',
    )  # fmt: skip
    reasons = profile.undefined
    subject.need(
        isinstance(reasons, Mapping) and all(isinstance(v, str) and 0 < len(v) <= MAX_REASON for v in reasons.values()),
        f"`profile.undefined` is {short(reasons)}", expected=f"reasons of 1 to {MAX_REASON} characters by metric",
        remedy="One stands in a table in place of a number: write `needs boxes`.",
    )  # fmt: skip


def _check_scores(subject: Subject, profile: Profile, target: Target, *, ranks: bool) -> list[Row]:
    best, rows = _score(subject, profile, target, perfect_answer(target), "the perfect answer")
    subject.need(
        best > 0 or not ranks, f"the primary score of the perfect answer is {best}", expected="more than 0",
        remedy="Submit the target itself and follow it through `row` and `primary`.",
    )  # fmt: skip
    found = [rows]
    for name, answer in _others(target).items():
        score, row = _score(subject, profile, target, answer, name)
        found.append(row)
        subject.need(
            score <= best + 1e-9 or not ranks, f"the primary score of {name} is {score}, that of the perfect answer {best}",
            expected="no answer to be better than the truth", remedy="Check what `row` counts for it.",
        )  # fmt: skip
    return found


def _score(subject: Subject, profile: Profile, target: Target, answer: Answer | None, name: str) -> tuple[float, Row]:
    """Return the primary score and the row of one answer, both checked."""
    with subject.running(f"`profile.row` with {name}", remedy=REMEDY):
        row, again = profile.row(target, answer), profile.row(target, answer)
    _check_row(subject, row, name)
    subject.need(row == again, f"two rows of {name} differ: {short(row)}, {short(again)}", expected="equal rows", remedy=REMEDY)  # fmt: skip
    if answer is not None:
        restored = Answer.from_json(json.loads(json.dumps(answer.to_json())))
        with subject.running(f"`profile.row` with {name}, written and read again", remedy=REMEDY):
            again = profile.row(target, restored)
        subject.need(
            row == again, f"the row of {name} is {short(row)}, and {short(again)} once written and read again",
            expected="the same row", remedy="Use only what `Answer.to_json` keeps: runs are scored again from their records.",
        )  # fmt: skip
    with subject.running(f"`profile.primary` of the row of {name}", remedy=REMEDY):
        score = profile.primary(json.loads(json.dumps(row)))
    is_number = isinstance(score, (int, float)) and not isinstance(score, bool)
    subject.need(
        is_number and math.isfinite(score) and 0.0 <= score <= 1.0, f"the primary score of {name} is {short(score)}",
        expected="a number in [0, 1]", remedy="Divide by what it is out of; means over tasks and rewards need that scale.",
    )  # fmt: skip
    return float(score), row


def _check_row(subject: Subject, row: object, name: str) -> None:
    subject.need(
        isinstance(row, dict) and row and all(isinstance(k, str) for k in row), f"the row of {name} is {short(row)}",
        expected="a dict with text keys", remedy=ROWS,
    )  # fmt: skip
    assert isinstance(row, dict)
    for key, value in row.items():
        subject.need(
            _is_plain(value), f"the row of {name} has {key!r}: {short(value)}, a {type(value).__name__}",
            expected="an integer, a flag, None, or a list of these", remedy=f"{ROWS} NumPy's integers become `int(…)`.",
        )  # fmt: skip


def _is_plain(value: Any) -> bool:
    return type(value) in (int, bool, type(None)) or (type(value) is list and all(map(_is_plain, value)))


def _check_aggregate(subject: Subject, profile: Profile, rows: Sequence[Row]) -> None:
    remedy = "Return None for a metric that the rows given do not define."
    names: set[str] | None = None
    before = json.dumps(rows)
    for what, given in (
        ("many rows", rows), ("one row", rows[:1]), ("no rows", []), ("rows of nothing submitted", rows[1:2]),
    ):  # fmt: skip
        with subject.running(f"`profile.aggregate` of {what}", remedy=remedy):
            metrics = profile.aggregate(given)
        subject.need(
            isinstance(metrics, dict) and metrics and all(isinstance(k, str) for k in metrics),
            f"`profile.aggregate` of {what} is {short(metrics)}", expected="a dict with text keys", remedy=remedy,
        )  # fmt: skip
        for key, value in metrics.items():
            fine = value is None or (
                isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            )
            subject.need(
                fine, f"`profile.aggregate` of {what} has {key!r}: {short(value)}", expected="a finite number or None", remedy=remedy,
            )  # fmt: skip
        names = set(metrics) if names is None else names
        subject.need(
            set(metrics) == names, f"`profile.aggregate` of {what} has {sorted(metrics)}, of many rows {sorted(names)}",
            expected="the same metrics whatever the rows", remedy=remedy,
        )  # fmt: skip
    unknown = sorted(profile.undefined.keys() - (names or set()))
    subject.need(
        not unknown, f"`profile.undefined` has {short(unknown)}", expected=f"names of metrics, of {sorted(names or ())}",
        remedy="Say only of a metric why it may be None.",
    )  # fmt: skip
    first = profile.aggregate(rows)
    for other_order in (rows[::-1], [*rows[1::2], *rows[::2]]):
        with subject.running("`profile.aggregate` of rows in another order", remedy=remedy):
            turned = profile.aggregate(other_order)
        different = [key for key, value in first.items() if not _is_close(value, turned[key])]
        subject.need(
            not different, f"`profile.aggregate` gives other values of {different} for the same rows in another order",
            expected="no dependence on the order", remedy="Episodes end in any order: keep nothing from row to row.",
        )  # fmt: skip
    subject.need(
        json.dumps(rows) == before, "`profile.aggregate` changed the rows it was given", expected="it to leave them alone",
        remedy="Copy what it changes.",
    )  # fmt: skip


def _is_close(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-9)
