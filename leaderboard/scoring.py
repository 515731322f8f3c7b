"""A file of targets and predictions, scored by any profile: one JSON object per line, read as a stream.

What is kept of a line is its row of integers, so memory does not grow with masks or boxes. docs/metrics.md has the format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from visenv.tasks.profiles import PROFILES, coco_ap, visdrone_toolkit
from visenv.tasks.profiles.vstar import LIKELIHOOD, likeliest

from visenv.answers import Answer, AnswerKind, Target
from visenv.errors import BadValueError, bad_value, short, unknown_name
from visenv.masks import Mask
from visenv.task import Metrics, Profile, Row

__all__ = ["answer_from_json", "read_rows", "score_file", "target_from_json"]

MAX_LINE = 2**26
"""Characters of the longest line that is read."""
MAX_PX = 2**28
SINGULAR = {"mask": "masks", "box_xyxy": "boxes_xyxy", "label": "labels", "group": "labels", "point_xy": "points_xy", "score": "scores"}  # fmt: skip
"""Shorthands for a list of one."""
TARGET_KEYS = frozenset(Target.__dataclass_fields__) | {"no_target"}
ANSWER_KEYS = frozenset(Answer.__dataclass_fields__) | {"losses"}
KINDS = {"grec": "boxes", "dense200": "boxes", "visdrone": "boxes", "rec8k": "count", "blink": "choice", "muirbench": "choice", "vstar": "choice", "hrbench": "choice", "multiqa": "choice"}  # fmt: skip
"""Kind of target by family of profiles; masks elsewhere."""
IN_FILE_ORDER: dict[str, Callable[[Sequence[Mapping[str, Any]]], Metrics]] = {
    "visdrone/toolkit": visdrone_toolkit.aggregate_in_order,
    "coco/ap": coco_ap.aggregate_in_order,
    "visdrone/coco": lambda rows: coco_ap.aggregate_in_order(rows, limits=(1, 10, 500)),
}
"""Profiles whose official code lets the order of the images decide between equal scores, as the order of lines does here."""


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
    metrics = IN_FILE_ORDER.get(name, profile.aggregate)(rows)
    return {"profile": profile.name, "source": profile.source, "n": len(rows), "metrics": metrics}


def read_rows(profile: Profile, file: IO[str], name: str) -> Iterator[Row]:
    """Yield the row of each line.

    Raises:
        BadValueError: A line is not of the documented form, or an id is given twice.
    """
    seen: set[str] = set()
    kind = AnswerKind(KINDS.get(profile.name.split("/", 1)[0], "mask"))
    for number, line in _lines(file, name):
        where = f"line {number} of {name}"
        try:
            data = json.loads(line, parse_constant=_refuse, object_pairs_hook=_no_repeats)
            if (
                not isinstance(data, dict)
                or set(data) != {"id", "target", "prediction"}
                or not isinstance(data["id"], str)
            ):
                raise bad_value("record", data, expected='{"id": text, "target": {…}, "prediction": {…} or null}')
            if data["id"] in seen:
                raise bad_value("id", data["id"], expected="one line for each sample")
            seen.add(data["id"])
            target = target_from_json(data["target"], kind)
            answer = answer_from_json(data["prediction"])
            _check_losses(profile, data["prediction"])
            _check_sizes(target, answer)
            row = profile.row(target, answer)
        except BadValueError as error:
            raise BadValueError(f"In {where}: {error}") from error
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0][:120]
            raise bad_value(where, line[:200], expected=f"a record for {profile.name!r} ({reason})") from error
        yield row


def target_from_json(data: object, kind: AnswerKind) -> Target:
    """Read the JSON form of a target; what is left out is empty.

    Args:
        data: Keys of :class:`~visenv.Target`, with the shorthands ``mask``, ``box_xyxy``, ``label``, ``group``, ``point_xy``.
        kind: Where ``kind`` is left out.

    Raises:
        BadValueError: Not that form.
    """
    given = _opened(data, TARGET_KEYS, "target")
    masks = tuple(Mask.from_json(m) for m in given.get("masks", ()))
    ignore, overlap = (Mask.from_json(given[k]) if given.get(k) is not None else None for k in ("ignore", "overlap"))
    sizes = [m.size_hw for m in (*masks, ignore, overlap) if m is not None]
    try:
        size_hw = _size(given["size_hw"]) if "size_hw" in given else (sizes or [(1, 1)])[0]
        target = Target(
            kind=AnswerKind(given.get("kind", kind)), size_hw=size_hw, masks=masks, ignore=ignore, overlap=overlap,
            boxes_xyxy=_numbers(given.get("boxes_xyxy", ()), 4), labels=_texts(given.get("labels", ())),
            crowd=tuple(map(bool, given.get("crowd", ()))), ignore_boxes_xyxy=_numbers(given.get("ignore_boxes_xyxy", ()), 4),
            points_xy=_numbers(given.get("points_xy", ()), 2), options=_texts(given.get("options", ())),
            choice=given.get("choice"),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise bad_value("target", data, expected=f"the JSON form of a target ({short(str(error))})") from error
    _check_target(target, sizes, given.get("no_target", False))
    return target


def answer_from_json(data: object) -> Answer | None:
    """Read the JSON form of an answer; what is left out is empty.

    Text stands for a choice, an integer for a count, and ``losses`` (one number an option) for the letter of the lowest.

    Raises:
        BadValueError: Not that form.
    """
    if data is None:
        return None
    if isinstance(data, str):
        return Answer(choice=data)
    if type(data) is int:
        return Answer(count=data)
    given = _opened(data, ANSWER_KEYS, "prediction")
    losses = given.pop("losses", None)
    if losses is not None:
        if not isinstance(losses, list) or not 1 <= len(losses) <= 26 or not all(map(_is_finite, losses)) or given:
            raise bad_value("losses", losses, expected="one finite number for each option, and nothing beside them")
        given = {"choice": likeliest(losses)}
    empty = {"no_target": False, "masks": [], "boxes_xyxy": [], "labels": [], "count": None, "choice": None}
    if type(given.get("no_target", False)) is not bool:
        raise bad_value("no_target", given["no_target"], expected="true or false")
    return Answer.from_json({**empty, **given})


def _lines(file: IO[str], name: str) -> Iterator[tuple[int, str]]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise bad_value(f"line {number} of {name}", line[:80], expected=f"at most {MAX_LINE} characters")
        if line.strip():
            yield number, line


def _opened(data: object, known: frozenset[str], what: str) -> dict[str, Any]:
    """Return a copy of an object with its shorthands written out; unknown keys are refused."""
    if not isinstance(data, dict):
        raise bad_value(what, data, expected="an object")
    given = dict(data)
    for short_key, key in SINGULAR.items():
        if short_key in given and key in known:
            if key in given:
                raise bad_value(what, data, expected=f"`{short_key}` or `{key}`, not both")
            given[key] = [given.pop(short_key)]
    for key in sorted(set(given) - known):
        raise bad_value(f"key of {what}", key, expected=f"one of {', '.join(sorted(known))}")
    return given


def _check_target(target: Target, sizes: Sequence[tuple[int, int]], no_target: object) -> None:
    objects = len(target.boxes_xyxy)
    if any(size != target.size_hw for size in sizes):
        raise bad_value("masks", sizes, expected=f"masks of one size, {list(target.size_hw)}")
    if target.labels and objects and len(target.labels) != objects:
        raise bad_value("labels", target.labels, expected=f"one for each of {objects} boxes")
    if target.crowd and len(target.crowd) != objects:
        raise bad_value("crowd", target.crowd, expected=f"one for each of {objects} boxes")
    if target.choice is not None and not isinstance(target.choice, str):
        raise bad_value("choice", target.choice, expected="a letter")
    if no_target is not False and (no_target is not True or target.masks or objects):
        raise bad_value("no_target", no_target, expected="true only where there are no masks and no boxes")
    masks = target.kind is AnswerKind.MASK
    if masks and not (target.masks or objects or no_target):
        raise bad_value("target", {}, expected='"masks", or "no_target": true with "size_hw"')


def _check_losses(profile: Profile, prediction: object) -> None:
    """Losses are for the one profile that is defined by them, and it takes nothing else."""
    has = isinstance(prediction, dict) and "losses" in prediction
    if prediction is not None and has != (profile.name == LIKELIHOOD.name):
        raise bad_value("prediction", prediction, expected="`losses` for `vstar/likelihood`, and for no other profile")


def _check_sizes(target: Target, answer: Answer | None) -> None:
    for mask in () if answer is None or not (target.masks or target.ignore) else answer.masks:
        if mask.size_hw != target.size_hw:
            raise bad_value("mask", mask.size_hw, expected=f"the size of the target, {list(target.size_hw)}")


def _size(values: Any) -> tuple[int, int]:
    height, width = values
    if type(height) is not int or type(width) is not int or min(height, width) < 1 or height * width > MAX_PX:
        raise ValueError("size_hw is not [height, width]")
    return height, width


def _numbers(values: Any, length: int) -> tuple[Any, ...]:
    if not isinstance(values, (list, tuple)):
        raise TypeError("not a list")
    for value in values:
        if not isinstance(value, list) or len(value) != length or not all(map(_is_finite, value)):
            raise ValueError(f"{short(value, 40)} is not {length} finite numbers")
    return tuple(tuple(map(float, value)) for value in values)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
        raise TypeError("not a list of texts")
    return tuple(values)


def _is_finite(value: object) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    )


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is given twice")
    return made


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")
