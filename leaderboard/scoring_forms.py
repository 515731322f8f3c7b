"""What each profile reads of a line of a scoring file, and the checks that a line has it.

A key that is left out is not an empty one: without the boxes that a profile counts, every sample would be one without objects.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from visenv.tasks.profiles import blink, hrbench_letter, muirbench_official, visdrone_toolkit, vstar
from visenv.tasks.profiles._choices import place_of

from visenv.answers import Answer, AnswerKind, Box, Target
from visenv.errors import bad_value

__all__ = ["MASKS", "Form", "check_answer", "check_target", "form_of"]

MAX_COUNT = 100_000
"""Largest number that is taken for a count, as in ``submit_count``."""
MAX_COORDINATE = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What a profile reads."""

    kinds: tuple[AnswerKind, ...]
    """What a target may be; the first unless it says so."""
    target: tuple[str, ...]
    """Keys of a target, one of which has to be there, be it empty."""
    answer: tuple[str, ...]
    """Keys of a prediction, one of which has something in it unless nothing at all has."""
    sized: bool = False
    """Whether the number depends on ``size_hw``."""
    labelled: bool = False
    """Whether every object needs a label, in the target and in the prediction."""
    names: tuple[str, ...] = ()
    """All labels that a target's objects may have; empty for any."""
    groups: tuple[str, ...] = ()
    """All groups of a choice; empty for any."""
    grouped: bool = False
    """Whether the headline number goes by group, so that there has to be one."""


MASKS = Form(kinds=(AnswerKind.MASK,), target=("masks", "no_target"), answer=("masks",))
BOXES = Form(kinds=(AnswerKind.BOXES,), target=("boxes_xyxy", "no_target"), answer=("boxes_xyxy",))
NAMED = replace(BOXES, labelled=True)
DRONE = replace(NAMED, names=visdrone_toolkit.CLASSES)
CHOICE = Form(kinds=(AnswerKind.CHOICE,), target=("choice",), answer=("choice",))
FORMS: Mapping[str, Form] = {
    "blink/micro": replace(CHOICE, groups=blink.TASKS),
    "blink/official": replace(CHOICE, groups=blink.TASKS, grouped=True),
    "coco": Form(
        kinds=(AnswerKind.MASK, AnswerKind.BOXES), target=("masks", "boxes_xyxy"), answer=("masks", "boxes_xyxy"), labelled=True
    ),
    "dense200": NAMED,
    "grec": BOXES,
    "gres": MASKS,
    "hrbench": replace(CHOICE, groups=hrbench_letter.GROUPS, grouped=True),
    "muirbench": replace(CHOICE, groups=muirbench_official.TASKS),
    "multiqa": CHOICE,
    "reasonseg": MASKS,
    "rec8k": Form(
        kinds=(AnswerKind.COUNT,), target=("points_xy", "boxes_xyxy", "no_target"), answer=("boxes_xyxy", "points_xy", "count"),
        sized=True,
    ),
    "refcoco": MASKS,
    "refcoco/box": Form(
        kinds=(AnswerKind.MASK, AnswerKind.BOXES), target=("boxes_xyxy", "masks"), answer=("boxes_xyxy", "masks")
    ),
    "visdrone": DRONE,
    "visdrone/toolkit": replace(DRONE, sized=True, names=(*visdrone_toolkit.CLASSES, "others")),
    "vstar": replace(CHOICE, groups=vstar.TYPES),
    "vstar/likelihood": replace(CHOICE, groups=vstar.TYPES, answer=("losses",)),
}  # fmt: skip
"""By profile, or by family of profiles."""


def form_of(profile: str) -> Form:
    """Return what a profile reads."""
    return FORMS.get(profile) or FORMS[profile.split("/", 1)[0]]


def check_target(given: Mapping[str, Any], target: Target, form: Form) -> None:
    """Check a target against what the profile reads.

    Args:
        given: Its keys as written, shorthands written out.
        target: What was read.
        form: What the profile reads.

    Raises:
        BadValueError: Something that decides the number is missing, or contradicts something else.
    """
    absent = given.get("no_target", False)
    if absent is not False and (absent is not True or target.masks or target.boxes_xyxy or target.points_xy):
        raise bad_value("no_target", absent, expected="true only where there are no masks, boxes and points")
    if target.kind not in form.kinds:
        raise bad_value("kind", str(target.kind), expected=_listed(form.kinds))
    if not any(given.get(key) not in (None, False) for key in form.target):
        raise bad_value("target", dict(given), expected=f"{_listed(form.target)}, which this profile reads")
    if form is MASKS and not (target.masks or absent):
        raise bad_value("target", dict(given), expected='"masks", or "no_target": true with "size_hw"')
    by_mask = form is MASKS or (target.kind is AnswerKind.MASK and "boxes_xyxy" not in given)
    if not any(target.size_hw) and (form.sized or by_mask):
        raise bad_value("target", dict(given), expected="`size_hw` too, [height, width], which the number depends on")
    _check_boxes((*target.boxes_xyxy, *target.ignore_boxes_xyxy), "target")
    for x1, y1, x2, y2 in target.boxes_xyxy:
        if x2 < x1 or y2 < y1:
            raise bad_value("box of target", [x1, y1, x2, y2], expected="x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
    if form.kinds[0] is AnswerKind.CHOICE:
        _check_choice(target, form)
    else:
        _check_objects(target, form)


def check_answer(given: Mapping[str, Any], answer: Answer, target: Target, form: Form) -> None:
    """Check a prediction against what the profile reads.

    Args:
        given: Its keys as written, shorthands written out.
        answer: What was read.
        target: The truth of the same line.
        form: What the profile reads.

    Raises:
        BadValueError: It has only what the profile does not read, lacks labels, is of another size, or contradicts itself.
    """
    reads = form.answer
    if form.labelled and len(form.kinds) > 1:
        reads = ("masks",) if target.kind is AnswerKind.MASK else ("boxes_xyxy",)
    known = reads if form.kinds[0] is AnswerKind.CHOICE else (*reads, "no_target")
    if not any(map(given.get, known)):
        said = [key for key, value in given.items() if not (value is None or value is False or value == [])]
        if said and not any(key in known for key in said):
            expected = f"{_listed(known)}, which this profile reads, or {{}} for an empty answer"
            raise bad_value("prediction", dict(given), expected=expected)
    count = len(answer.masks if reads == ("masks",) else answer.boxes_xyxy)
    if form.labelled and len(answer.labels) != count:
        raise bad_value("labels", answer.labels, expected=f"one for each of {count} objects: they decide the number")
    if answer.count is not None and not 0 <= answer.count <= MAX_COUNT:
        raise bad_value("count", answer.count, expected=f"0 to {MAX_COUNT}")
    if answer.count is not None and answer.boxes_xyxy and answer.count != len(answer.boxes_xyxy):
        raise bad_value("count", answer.count, expected=f"{len(answer.boxes_xyxy)}, one for each box, or no count")
    _check_boxes(answer.boxes_xyxy, "prediction")
    for mask in answer.masks:
        if mask.size_hw != target.size_hw and any(target.size_hw):
            raise bad_value("mask", mask.size_hw, expected=f"the size of the target, {list(target.size_hw)}")


def _check_objects(target: Target, form: Form) -> None:
    """Check that what belongs to each object is there for each."""
    if not (target.labels or target.crowd or form.labelled):
        return
    sizes = {len(target.masks), len(target.boxes_xyxy), len(target.points_xy)}
    if form.labelled:
        sizes = {len(target.masks) if target.kind is AnswerKind.MASK else len(target.boxes_xyxy)}
        if target.boxes_xyxy and len(target.boxes_xyxy) not in sizes:
            raise bad_value(
                "boxes_xyxy", target.boxes_xyxy, expected=f"one for each of {len(target.masks)} masks, or none"
            )
    for name in ("labels", "crowd"):
        values = getattr(target, name)
        if (values or (form.labelled and name == "labels")) and len(values) not in sizes:
            raise bad_value(name, values, expected=f"one for each of {max(sizes)} objects")
    for label in target.labels if form.names else ():
        if label not in form.names:
            raise bad_value("label", label, expected=_listed(form.names))


def _check_choice(target: Target, form: Form) -> None:
    letter = target.choice
    if not isinstance(letter, str) or len(letter) != 1 or not "A" <= letter <= "Z":
        raise bad_value("choice", letter, expected='the right option as one capital letter, such as "B"')
    if target.options and ord(letter) - ord("A") >= len(target.options):
        raise bad_value("choice", letter, expected=f"the letter of one of {len(target.options)} options")
    if len(target.labels) > 1 or (form.grouped and not target.labels):
        raise bad_value("group", target.labels, expected=f"one group, which the number goes by: {_listed(form.groups)}")
    if form.groups and any(place_of(label, form.groups) < 0 for label in target.labels):
        raise bad_value("group", target.labels[0], expected=_listed(form.groups))


def _check_boxes(boxes: Collection[Box], what: str) -> None:
    for box in boxes:
        if max(map(abs, box)) > MAX_COORDINATE:
            raise bad_value(
                f"box of {what}", list(box), expected=f"x1, y1, x2, y2 in pixels, {MAX_COORDINATE:g} at most"
            )


def _listed(keys: Collection[str]) -> str:
    return " or ".join(f"`{key}`" for key in keys)
