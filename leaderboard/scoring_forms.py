"""What each profile reads of a line of a scoring file, and the checks that a line has it.

A key that is left out is not an empty one: without the boxes that a profile counts, every sample would be one without objects.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from visenv.tasks.profiles import blink, hrbench_letter, muirbench_official, visdrone_toolkit, vstar
from visenv.tasks.profiles._choices import place_of

from visenv.answers import Answer, AnswerKind, Target
from visenv.errors import bad_value

__all__ = ["MASKS", "Form", "Seen", "check_answer", "check_losses", "check_size", "check_target", "form_of"]

MAX_COUNT = 100_000
"""Largest number that is taken for a count, as in ``submit_count``."""
MAX_COORDINATE = 1e9
MAX_SIDE_PX = 2**15
"""Of a picture: Pillow resizes no line of a hundred million pixels."""
MAX_PAIRS = 2**23
"""Objects of a target times those of its prediction: every one is compared with every other."""


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
    ranked: bool = False
    """Whether scores decide the number, so that objects have them in every line or in none."""
    names: tuple[str, ...] = ()
    """All labels that a target's objects may have; empty for any."""
    groups: tuple[str, ...] = ()
    """All groups of a choice; empty for any."""
    single: bool = False
    """Whether there is one object, which a box or masks say."""
    grouped: bool = False
    """Whether the headline number goes by group, so that there has to be one."""


class Seen:
    """What the lines of a file so far have."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._scored: dict[bool, str] = {}
        """The first ids of objects with scores, and of objects without."""

    def add(self, name: str, answer: Answer | None, form: Form) -> None:
        """Keep the id of a line, and whether its objects have scores.

        Raises:
            BadValueError: Another line has this id; or scores decide, and only some lines have them.
        """
        if name in self._ids:
            raise bad_value("id", name, expected="one line for each sample")
        self._ids.add(name)
        if not form.ranked or answer is None or not (answer.masks or answer.boxes_xyxy):
            return
        self._scored.setdefault(bool(answer.scores), name)
        if len(self._scored) > 1:
            expected = (
                f"them in every line or in none: {self._scored[True]!r} has them, {self._scored[False]!r} has not"
            )
            raise bad_value("scores", list(answer.scores), expected=expected)


MASKS = Form(kinds=(AnswerKind.MASK,), target=("masks", "no_target"), answer=("masks",))
BOXES = Form(kinds=(AnswerKind.BOXES,), target=("boxes_xyxy", "no_target"), answer=("boxes_xyxy",))
NAMED = replace(BOXES, labelled=True)
DRONE = replace(NAMED, names=visdrone_toolkit.CLASSES)
CHOICE = Form(kinds=(AnswerKind.CHOICE,), target=("choice",), answer=("choice",))
FORMS: Mapping[str, Form] = {
    "blink/micro": replace(CHOICE, groups=blink.TASKS),
    "blink/official": replace(CHOICE, groups=blink.TASKS, grouped=True),
    "coco": Form(
        kinds=(AnswerKind.MASK, AnswerKind.BOXES), target=("masks", "boxes_xyxy"), answer=("masks", "boxes_xyxy"), labelled=True, ranked=True
    ),
    "dense200": NAMED,
    "grec": replace(BOXES, ranked=True),
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
        kinds=(AnswerKind.MASK, AnswerKind.BOXES), target=("boxes_xyxy", "masks"), answer=("boxes_xyxy", "masks"), single=True
    ),
    "visdrone": DRONE,
    "visdrone/coco": replace(DRONE, ranked=True),
    "visdrone/toolkit": replace(DRONE, sized=True, ranked=True, names=(*visdrone_toolkit.CLASSES, "others")),
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
    check_size(target.size_hw)
    _check_coordinates((*target.boxes_xyxy, *target.ignore_boxes_xyxy, *target.points_xy), "target")
    for x1, y1, x2, y2 in target.boxes_xyxy:
        if x2 < x1 or y2 < y1:
            raise bad_value("box of target", [x1, y1, x2, y2], expected="x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
    if form.single and not target.masks and len(target.boxes_xyxy) != 1:
        raise bad_value("boxes_xyxy", target.boxes_xyxy, expected="one box, or masks: this profile is about one object")
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
    _check_count(answer)
    _check_coordinates((*answer.boxes_xyxy, *answer.points_xy), "prediction")
    truths = target.num_objects + len(target.ignore_boxes_xyxy)
    pairs = max(len(answer.masks), len(answer.boxes_xyxy)) * truths
    if pairs > MAX_PAIRS:
        raise bad_value("pairs of objects", pairs, expected=f"{MAX_PAIRS} at most, true ones times predicted ones")
    whose, size_hw = "target", target.size_hw
    if not any(size_hw) and answer.masks:
        whose, size_hw = "first mask", answer.masks[0].size_hw
    for mask in answer.masks:
        if mask.size_hw != size_hw:
            raise bad_value("mask", mask.size_hw, expected=f"the size of the {whose}, {list(size_hw)}")


def check_losses(losses: Collection[float], target: Target) -> None:
    """Check that there is a loss for each option, the right one among them.

    Raises:
        BadValueError: There is not.
    """
    least = ord(target.choice or "A") - ord("A") + 1
    if len(losses) != len(target.options) if target.options else len(losses) < least:
        expected = f"one for each of {len(target.options) or f'at least {least}'} options"
        raise bad_value("losses", list(losses), expected=expected)


def check_size(size_hw: tuple[int, int]) -> None:
    """Refuse a picture that is thinner than any.

    Raises:
        BadValueError: It is.
    """
    if max(size_hw) > MAX_SIDE_PX:
        raise bad_value("size_hw", list(size_hw), expected=f"sides of {MAX_SIDE_PX} px at most")


def _check_count(answer: Answer) -> None:
    """Check that a number, and what is counted by it, say the same."""
    if answer.count is None:
        return
    if not 0 <= answer.count <= MAX_COUNT:
        raise bad_value("count", answer.count, expected=f"0 to {MAX_COUNT}")
    if answer.count and answer.no_target:
        raise bad_value("count", answer.count, expected='0 or none beside "no_target": true')
    for what, held in (("box", answer.boxes_xyxy), ("point", answer.points_xy)):
        if held and answer.count != len(held):
            raise bad_value("count", answer.count, expected=f"{len(held)}, one for each {what}, or no count")


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


def _check_coordinates(places: Collection[tuple[float, ...]], what: str) -> None:
    for place in places:
        if max(map(abs, place)) > MAX_COORDINATE:
            name = "box" if len(place) == 4 else "point"
            raise bad_value(f"{name} of {what}", list(place), expected=f"pixels, {MAX_COORDINATE:g} at most")


def _listed(keys: Collection[str]) -> str:
    return " or ".join(f"`{key}`" for key in keys)
