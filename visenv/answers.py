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
    """What each object was called, parallel to ``boxes_xyxy``."""
    count: int | None = None
    """A submitted number; ``None`` when objects were submitted instead."""
    choice: str | None = None
    """A submitted option letter, or free text that should hold one."""

    @property
    def num_objects(self) -> int:
        """How many things the answer says there are."""
        return self.count if self.count is not None else len(self.boxes_xyxy)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; :meth:`from_json` restores an equal answer."""
        return {
            "no_target": self.no_target,
            "masks": [m.to_json() for m in self.masks],
            "boxes_xyxy": [[float(v) for v in b] for b in self.boxes_xyxy],
            "labels": list(self.labels),
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
            if data["labels"] and len(data["labels"]) != len(data["boxes_xyxy"]):
                raise ValueError(f"{len(data['labels'])} labels for {len(data['boxes_xyxy'])} boxes")
            return cls(
                no_target=bool(data["no_target"]),
                masks=tuple(Mask.from_json(m) for m in data["masks"]),
                boxes_xyxy=tuple(_box(b) for b in data["boxes_xyxy"]),
                labels=tuple(str(v) for v in data["labels"]),
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
    """The category of each target."""
    choice: str | None = None
    """The right option letter."""

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
        content = {
            "kind": self.kind.value,
            "size_hw": list(self.size_hw),
            "masks": [m.to_json() for m in self.masks],
            "boxes_xyxy": [[float(v) for v in b] for b in self.boxes_xyxy],
            "labels": list(self.labels),
            "choice": self.choice,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _box(values: Any) -> Box:
    x1, y1, x2, y2 = (float(v) for v in values)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ValueError("a box that is not finite")
    return x1, y1, x2, y2
