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

from .errors import bad_value
from .masks import Mask, union_masks

__all__ = ["Answer", "AnswerKind", "Box", "Target"]

Box = tuple[float, float, float, float]


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
    """What each object was called, parallel to ``boxes_xyxy``, or none at all."""
    scores: tuple[float, ...] = ()
    """How sure the agent was of each object, in [0, 1], parallel to ``boxes_xyxy``; none at all counts as sure."""
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
            count = data["count"]
            choice = data["choice"]
            if type(count) not in (int, type(None)) or not isinstance(choice, (str, type(None))):
                raise TypeError("count or choice of another type")
            for parallel in ("labels", "scores"):
                if data.get(parallel) and len(data[parallel]) != len(data["boxes_xyxy"]):
                    raise ValueError(f"{len(data[parallel])} {parallel} for {len(data['boxes_xyxy'])} boxes")
            return cls(
                no_target=bool(data["no_target"]),
                masks=tuple(Mask.from_json(m) for m in data["masks"]),
                boxes_xyxy=tuple(_box(b) for b in data["boxes_xyxy"]),
                labels=tuple(str(v) for v in data["labels"]),
                scores=tuple(_finite(v) for v in data.get("scores", ())),
                points_xy=tuple(_point(p) for p in data.get("points_xy", ())),
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

    @property
    def num_objects(self) -> int:
        """How many targets there are."""
        return len(self.boxes_xyxy) or len(self.points_xy) or len(self.masks)

    @property
    def no_target(self) -> bool:
        """Whether the right answer is that nothing matches."""
        return self.kind in (AnswerKind.MASK, AnswerKind.BOXES) and not (self.masks or self.boxes_xyxy)

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
        }
        content |= {key: value for key, value in more.items() if value}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a number that is not finite")
    return number


def _point(values: Any) -> tuple[float, float]:
    x, y = map(_finite, values)
    return x, y


def _box(values: Any) -> Box:
    x1, y1, x2, y2 = map(_finite, values)
    return x1, y1, x2, y2
