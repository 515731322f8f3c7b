"""A file of targets and predictions, scored by any profile: one JSON object per line, read as a stream.

What is kept of a line is its row, so memory does not grow with masks: a row has integers for them. Rows of boxes that make
curves have some for each box. docs/metrics.md has the format.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from visenv.tasks.profiles import PROFILES, coco_ap, visdrone_toolkit
from visenv.tasks.profiles.vstar import likeliest

from visenv.answers import Answer, AnswerKind, Target, is_finite, read_numbers, read_texts
from visenv.errors import BadValueError, bad_value, say, short, unknown_name
from visenv.masks import Mask, read_masks, read_size
from visenv.task import Metrics, Profile, Row

from .scoring_forms import MASKS, Form, Seen, check_answer, check_losses, check_size, check_target, form_of

__all__ = ["answer_from_json", "read_rows", "score_file", "target_from_json"]

MAX_LINE = 2**26
"""Characters of the longest line that is read."""
BATCH = 2**15
"""Characters of lines whose masks are read together: few enough for a processor's cache."""
SINGULAR = {"mask": "masks", "box_xyxy": "boxes_xyxy", "label": "labels", "group": "labels", "point_xy": "points_xy", "score": "scores"}  # fmt: skip
"""Shorthands for a list of one."""
TARGET_KEYS = frozenset(Target.__dataclass_fields__) | {"no_target"}
ANSWER_KEYS = frozenset(Answer.__dataclass_fields__) | {"losses"}
BLANKS = " \t\r\n"
RECORD_KEYS = frozenset({"id", "target", "prediction"})
ABSENT = frozenset({"no_target", "size_hw"})
"""All that a target has to say which is not there."""
DECLARED = Answer(no_target=True)
EMPTY = {"no_target": False, "masks": [], "boxes_xyxy": [], "labels": [], "count": None, "choice": None}
IN_FILE_ORDER: dict[str, Callable[[Sequence[Mapping[str, Any]]], Metrics]] = {
    "visdrone/toolkit": visdrone_toolkit.aggregate_in_order,
    "coco/ap": coco_ap.aggregate_in_order,
    "visdrone/coco": partial(coco_ap.aggregate_in_order, limits=coco_ap.VISDRONE_LIMITS),
}
"""Profiles whose official code lets the order of the images decide between equal scores, as the order of lines does here."""


class _Line(NamedTuple):
    """A line, and what it says or what is wrong with it."""

    number: int
    text: str
    data: dict[str, Any] | BadValueError


def score_file(name: str, path: Path) -> dict[str, Any]:
    """Score a file of JSON Lines.

    Returns:
        ``{"profile", "source", "n", "metrics"}``.

    Raises:
        UnknownNameError: No profile has that name.
        BadValueError: The file cannot be read, or a line is not of the documented form.
    """
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES, remedy="`visenv list` shows them.")
    profile = PROFILES[name]
    try:
        with path.open(encoding="utf-8") as file:
            rows = list(read_rows(profile, file, path.name))
    except (OSError, UnicodeDecodeError) as error:
        raise bad_value("file", str(path), expected=f"readable JSON Lines in UTF-8 ({error})") from error
    if not rows:
        raise bad_value("file", str(path), expected="a line for each sample; it has none")
    metrics = IN_FILE_ORDER.get(name, profile.aggregate)(rows)
    return {"profile": profile.name, "source": profile.source, "n": len(rows), "metrics": metrics}


def read_rows(profile: Profile, file: IO[str], name: str) -> Iterator[Row]:
    """Yield the row of each line.

    Raises:
        BadValueError: A line is not of the documented form, or an id is given twice.
    """
    seen = Seen()
    form = form_of(profile.name)
    for lines in _batches(file, name):
        _read_masks_of(lines)
        for line in lines:
            where = f"line {line.number} of {name}"
            try:
                yield _row(profile, form, line.data, seen)
            except BadValueError as error:
                raise BadValueError(f"In {where}: {error}") from error
            except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
                reason = say(error)[:120].splitlines()[0]
                raise bad_value(where, line.text[:200], expected=f"a record for {name!r} ({reason})") from error


def target_from_json(data: object, form: Form) -> Target:
    """Read the JSON form of a target; what is left out is empty.

    Args:
        data: Keys of :class:`~visenv.Target`, with the shorthands ``mask``, ``box_xyxy``, ``label``, ``group``, ``point_xy``.
            Without a size, and masks to take it from, it is ``(0, 0)``.
        form: What the profile reads.

    Raises:
        BadValueError: Not that form, or not what the profile reads.
    """
    given = _opened(data, TARGET_KEYS, "target")
    if given.keys() == ABSENT and given["no_target"] is True and form is MASKS:
        return _absent(read_size(given["size_hw"]))
    try:
        fields = {key: READERS[key](value) for key, value in given.items() if value is not None and key in READERS}
        kind = AnswerKind(given["kind"]) if "kind" in given else _kind(given, form)
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_value("target", data, expected=f"the JSON form of a target ({short(str(error))})") from error
    masks = [*fields.get("masks", ()), *(fields[key] for key in ("ignore", "overlap") if key in fields)]
    size_hw = fields.pop("size_hw", masks[0].size_hw if masks else (0, 0))
    if any(mask.size_hw != size_hw for mask in masks):
        raise bad_value("masks", [list(m.size_hw) for m in masks], expected=f"masks of one size, {list(size_hw)}")
    target = Target(kind=kind, size_hw=size_hw, **fields)
    check_target(given, target, form)
    return target


def answer_from_json(data: object, target: Target, form: Form) -> Answer | None:
    """Read the JSON form of an answer; what is left out is empty.

    Text stands for a choice, an integer for a count, and ``losses`` (one number an option) for the letter of the lowest.

    Args:
        data: Keys of :class:`~visenv.Answer`, with the shorthands of a target; or text, or an integer.
        target: The truth of the same line.
        form: What the profile reads.

    Raises:
        BadValueError: Not that form, or not what the profile reads.
    """
    if data is None:
        return None
    if isinstance(data, str):
        data = {"choice": data}
    elif type(data) is int:
        data = {"count": data}
    given = _opened(data, ANSWER_KEYS, "prediction")
    if len(given) == 1 and given.get("no_target") is True and form is MASKS:
        return DECLARED
    losses = given.get("losses")
    if losses is not None:
        fine = isinstance(losses, list) and 1 <= len(losses) <= 26 and all(map(is_finite, losses))
        if not fine or len(given) > 1:
            raise bad_value("losses", losses, expected="one finite number for each option, and nothing beside them")
        check_losses(losses, target)
        answer = Answer(choice=likeliest(losses))
    else:
        answer = Answer.from_json({**EMPTY, **given})
    check_answer(given, answer, target, form)
    return answer


def _batches(file: IO[str], name: str) -> Iterator[list[_Line]]:
    """Yield lines that have something in them, a few at a time."""
    lines: list[_Line] = []
    size = number = 0
    while text := file.readline(MAX_LINE + 1):
        number += 1
        if len(text) > MAX_LINE:
            raise bad_value(f"line {number} of {name}", text[:80], expected=f"at most {MAX_LINE} characters")
        text = text.strip(BLANKS)
        if text:
            lines.append(_Line(number, text, _parsed(text)))
            size += len(text)
        if size >= BATCH:
            yield lines
            lines, size = [], 0
    yield lines


def _parsed(text: str) -> dict[str, Any] | BadValueError:
    """Parse one line; what is wrong with it is kept until its turn comes."""
    try:
        data, end = JSON.raw_decode(text)
        if end < len(text):
            raise ValueError(f"more than one value in a line, at character {end}")
        if isinstance(data, dict) and data.keys() == RECORD_KEYS and isinstance(data["id"], str):
            return data
        return bad_value("record", data, expected='{"id": text, "target": {…}, "prediction": {…} or null}')
    except (RecursionError, ValueError) as error:
        return bad_value("line", text[:200], expected=f"JSON ({short(str(error))})")


def _read_masks_of(lines: Sequence[_Line]) -> None:
    """Put masks in place of their JSON form, all at once; where one is wrong, its own line will say so."""
    places: list[tuple[Any, Any]] = []
    for line in lines:
        for held in (line.data["target"], line.data["prediction"]) if isinstance(line.data, dict) else ():
            for key, value in held.items() if isinstance(held, dict) else ():
                if isinstance(value, dict):
                    places.append((held, key))
                elif key == "masks" and isinstance(value, list):
                    places += [(value, index) for index in range(len(value))]
    try:
        masks = read_masks([held[key] for held, key in places])
    except BadValueError:
        return
    for (held, key), mask in zip(places, masks, strict=True):
        held[key] = mask


def _row(profile: Profile, form: Form, data: dict[str, Any] | BadValueError, seen: Seen) -> Row:
    """Return the row of one line, and keep its id."""
    if isinstance(data, BadValueError):
        raise data
    target = target_from_json(data["target"], form)
    answer = answer_from_json(data["prediction"], target, form)
    seen.add(data["id"], answer, form)
    return profile.row(target, answer)


@functools.lru_cache(maxsize=64)
def _absent(size_hw: tuple[int, int]) -> Target:
    """Return the target of a sample without one; the larger part of gRefCOCO's."""
    check_size(size_hw)
    return Target(kind=AnswerKind.MASK, size_hw=size_hw)


def _kind(given: Mapping[str, Any], form: Form) -> AnswerKind:
    """Return what a target is that does not say so: one of boxes only if it has no masks and may be one."""
    boxes = AnswerKind.BOXES in form.kinds and "masks" not in given and "boxes_xyxy" in given
    return AnswerKind.BOXES if boxes else form.kinds[0]


def _opened(data: object, known: frozenset[str], what: str) -> dict[str, Any]:
    """Return a copy of an object with its shorthands written out; unknown keys are refused."""
    if not isinstance(data, dict):
        raise bad_value(what, data, expected="an object")
    given: dict[str, Any] = {}
    for written, value in data.items():
        key = SINGULAR.get(written, written)
        if key not in known:
            raise bad_value(f"key of {what}", written, expected=f"one of {', '.join(sorted(known))}")
        if key in given:
            raise bad_value(what, data, expected=f"`{key}` once, not by two names")
        given[key] = value if key is written or key == written else [value]
    return given


def _flags(values: object) -> tuple[bool, ...]:
    if not isinstance(values, list) or not all(type(v) is bool for v in values):
        raise TypeError(f"{short(values, 40)} is not a list of true and false")
    return tuple(values)


def _masks(values: object) -> tuple[Mask, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{short(values, 40)} is not a list of masks")
    return tuple(read_masks(values))


def _mask(value: object) -> Mask:
    return read_masks([value])[0]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{short(value, 40)} is not text")
    return value


READERS: Mapping[str, Callable[[Any], Any]] = {
    "masks": _masks, "ignore": _mask, "overlap": _mask, "size_hw": read_size, "labels": read_texts, "options": read_texts,
    "crowd": _flags, "boxes_xyxy": partial(read_numbers, length=4), "ignore_boxes_xyxy": partial(read_numbers, length=4),
    "points_xy": partial(read_numbers, length=2), "choice": _text,
}  # fmt: skip
"""How each key of a target is read."""


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is given twice")
    return made


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


JSON = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_no_repeats)
