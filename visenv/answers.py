"""What an episode is asked for, what is submitted, and what is true: plain data.

Three things are never mixed up: an empty answer (masks without pixels), a declared "no target", and no answer at all
(``None`` wherever an :class:`Answer` is expected).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .errors import bad_value, short
from .masks import Mask, read_masks, union_masks

__all__ = ["Answer", "AnswerKind", "Box", "Target", "is_finite", "read_numbers", "read_texts"]

Box = tuple[float, float, float, float]
MAX_COUNT = 2**53
"""Of a number that was submitted, either way: what JSON keeps."""


class AnswerKind(StrEnum):
    """The form of answer a task wants."""

    MASK = "mask"
    """The pixels of every target, or "there is none"."""
    BOXES = "boxes"
    """A box around each target."""
    COUNT = "count"
    """How many targets there are, better with a box each."""
    CHOICE = "choice"
    """The letter of an option."""


OBJECTS = (AnswerKind.MASK, AnswerKind.BOXES)
"""Kinds of which none may be the right answer; looked up once, as looking up a member of an enum is slow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What an agent submitted, in pixels of the first source image."""

    no_target: bool = False
    """The agent declared that nothing matches."""
    masks: tuple[Mask, ...] = ()
    """One mask per submitted object."""
    boxes_xyxy: tuple[Box, ...] = ()
    """One box per submitted object, half-open."""
    labels: tuple[str, ...] = ()
    """What each object was called, parallel to ``boxes_xyxy``, or to ``masks`` without boxes; or none at all."""
    scores: tuple[float, ...] = ()
    """How sure the agent was of each object, in [0, 1], parallel to the same; none at all counts as sure."""
    points_xy: tuple[tuple[float, float], ...] = ()
    """Objects that were counted by a point each, where there are no boxes."""
    count: int | None = None
    """A submitted number; ``None`` when objects were submitted instead."""
    choice: str | None = None
    """A submitted option letter, or free text that should hold one."""

    @property
    def num_objects(self) -> int:
        """How many things the answer says there are."""
        return self.count if self.count is not None else len(self.boxes_xyxy) or len(self.points_xy)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; :meth:`from_json` restores an equal answer."""
        return {
            "no_target": self.no_target,
            "masks": [m.to_json() for m in self.masks],
            "boxes_xyxy": [[float(v) for v in b] for b in self.boxes_xyxy],
            "labels": list(self.labels),
            **({"scores": [float(v) for v in self.scores]} if self.scores else {}),
            **({"points_xy": [[float(v) for v in p] for p in self.points_xy]} if self.points_xy else {}),
            "count": self.count,
            "choice": self.choice,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Answer:
        """Read the JSON form.

        Raises:
            BadValueError: Not that form.
        """
        try:
            no_target, count, choice = data["no_target"], data["count"], data["choice"]
            if type(no_target) is not bool or not isinstance(choice, (str, type(None))):
                raise TypeError("no_target or choice of another type")
            if count is not None and (type(count) is not int or abs(count) > MAX_COUNT):
                raise ValueError(f"count is no integer of {MAX_COUNT} at most")
            masks, boxes = data["masks"], data["boxes_xyxy"]
            if not isinstance(masks, (list, tuple)):
                raise TypeError("masks is not a list")
            for parallel in ("labels", "scores"):
                if data.get(parallel) and len(data[parallel]) != len(boxes or masks):
                    raise ValueError(f"{len(data[parallel])} {parallel} for {len(boxes or masks)} objects")
            return cls(
                no_target=no_target,
                masks=tuple(read_masks(masks)),
                boxes_xyxy=read_numbers(boxes, 4),
                labels=read_texts(data["labels"]),
                scores=tuple(v for (v,) in read_numbers([[v] for v in data["scores"]], 1)) if "scores" in data else (),
                points_xy=read_numbers(data["points_xy"], 2) if "points_xy" in data else (),
                count=count,
                choice=choice,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise bad_value("answer", data, expected=f"the JSON form of an answer ({error})") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The truth of one sample, in pixels of the first source image."""

    kind: AnswerKind
    size_hw: tuple[int, int]
    """Height and width of the first source image."""
    masks: tuple[Mask, ...] = ()
    """One mask per target; empty when nothing matches."""
    boxes_xyxy: tuple[Box, ...] = ()
    """One box per target, half-open; parallel to ``masks`` where both are known."""
    labels: tuple[str, ...] = ()
    """The category of each target; of a choice, the one group that per-task averages go by."""
    ignore: Mask | None = None
    """Pixels that count neither as found nor as missed."""
    overlap: Mask | None = None
    """Pixels that several parts of one annotation cover, where a profile wants to know."""
    crowd: tuple[bool, ...] = ()
    """Whether each box is of a crowd or flagged as not to be scored, parallel to ``boxes_xyxy``; empty when none is."""
    ignore_boxes_xyxy: tuple[Box, ...] = ()
    """Regions in which boxes are not scored."""
    points_xy: tuple[tuple[float, float], ...] = ()
    """One point per target, where the data has points instead of boxes."""
    options: tuple[str, ...] = ()
    """The texts of a choice, in the order of their letters."""
    choice: str | None = None
    """The right option letter."""
    known: bool = True
    """Whether anybody knows the truth. If not, only ``kind``, ``size_hw`` and ``options`` say anything, and nothing is scored."""

    @property
    def num_objects(self) -> int:
        """How many targets there are."""
        return len(self.boxes_xyxy) or len(self.points_xy) or len(self.masks)

    @property
    def no_target(self) -> bool:
        """Whether the right answer is known to be that nothing matches."""
        return self.known and not (self.masks or self.boxes_xyxy) and self.kind in OBJECTS

    @property
    def union(self) -> Mask:
        """All target pixels as one mask."""
        return union_masks(self.masks, self.size_hw)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything in the target; equal targets have equal fingerprints."""
        content: dict[str, Any] = {
            "kind": self.kind.value,
            "size_hw": list(self.size_hw),
            "masks": [m.to_json() for m in self.masks],
            "boxes_xyxy": [[float(v) for v in b] for b in self.boxes_xyxy],
            "labels": list(self.labels),
            "choice": self.choice,
        }
        more: dict[str, Any] = {
            "ignore": self.ignore and self.ignore.to_json(),
            "overlap": self.overlap and self.overlap.to_json(),
            "crowd": list(map(bool, self.crowd)),
            "ignore_boxes_xyxy": [[float(v) for v in b] for b in self.ignore_boxes_xyxy],
            "points_xy": [[float(v) for v in p] for p in self.points_xy],
            "options": list(self.options),
            "unknown": not self.known,
        }
        content |= {key: value for key, value in more.items() if value}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_numbers(values: object, length: int) -> tuple[Any, ...]:
    """Read a list of lists of finite numbers as tuples of floats, such as boxes; text is no number, nor is a flag.

    Raises:
        TypeError: Not a list.
        ValueError: An entry of it has another form.
    """
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{short(values, 40)} is not a list")
    if not values:
        return ()
    for value in values:
        if not isinstance(value, (list, tuple)) or len(value) != length or not all(map(is_finite, value)):
            raise ValueError(f"{short(value, 40)} is not {length} finite numbers")
    return tuple(tuple(map(float, value)) for value in values)


def read_texts(values: object) -> tuple[str, ...]:
    """Read a list of texts.

    Raises:
        TypeError: Not that.
    """
    if not isinstance(values, (list, tuple)) or (values and not all(isinstance(v, str) for v in values)):
        raise TypeError(f"{short(values, 40)} is not a list of texts")
    return tuple(values)


def is_finite(value: object) -> bool:
    """Whether a value is a number, not too large for a float."""
    return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < 1 << 1000)
