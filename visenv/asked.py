"""What came of asking an agent about one's own pictures: the answer in words, as a picture, and in COCO's form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from .answers import Answer, AnswerKind, Box
from .drawing import draw_objects
from .episode import EndReason, Episode
from .errors import short
from .images import Image
from .masks import Mask, union_masks
from .objects import DetectedObject
from .redaction import hide_values

__all__ = ["Asked"]

LISTED = 40
"""How many objects are listed one by one in words."""
LONGEST = 1000
"""Of a line in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An agent's answer about pictures whose truth nobody gave: there is no score. ``print`` says what was answered."""

    episode: Episode
    """As it was played; ended."""
    agent: str
    """Name with options, secrets left out."""
    names: tuple[str, ...]
    """What each picture is called: the name of its file, without the folder."""
    seed: int
    seconds: float
    """Wall-clock time that playing took."""
    failure: str | None = None
    """What failed, the agent's or ours."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """What the agent says that it cost, by name, such as ``prompt_tokens``."""
    experts: Mapping[str, str] = field(default_factory=dict)
    """Who stood behind the tools: name, version and weights by capability."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What it was played with, by name: tools, memory, experts …"""
    secrets: tuple[str, ...] = ()
    """Those in the options, to be left out of whatever is written."""

    @property
    def kind(self) -> AnswerKind:
        """The form of answer that was asked for."""
        return self.episode.sample.target.kind

    @property
    def answer(self) -> Answer | None:
        """What was submitted, in pixels of the first picture; ``None`` if nothing was."""
        return self.episode.answer

    @property
    def why_not(self) -> str | None:
        """Why there is no answer; ``None`` if there is one."""
        if self.answer is not None:
            return None
        number = len(self.episode.turns)
        turns = f"{number} turn{'' if number == 1 else 's'}"
        last = next((turn.feedback for turn in reversed(self.episode.turns) if turn.error), "nothing")
        said = {
            EndReason.TURN_LIMIT: f"it did not submit within its {turns}",
            EndReason.TOKEN_LIMIT: f"its context was full after {turns}",
            EndReason.AGENT_ERROR: self.failure or f"too many invalid calls, the last one told: {last.splitlines()[0]}",
            EndReason.INFRASTRUCTURE_ERROR: f"a failure that is not the agent's: {self.failure}",
            EndReason.SUBMITTED: "it submitted nothing",
        }
        return said[self.episode.reason or EndReason.SUBMITTED]

    @property
    def objects(self) -> tuple[DetectedObject, ...]:
        """The submitted objects, numbered from 1, in pixels of the first picture."""
        answer = self.answer
        if answer is None:
            return ()
        boxes = answer.boxes_xyxy
        if answer.masks and len(answer.masks) != len(boxes):  # not parallel: each mask's own
            boxes = tuple(_box_of(mask) for mask in answer.masks)
        number = len(boxes)
        masks: tuple[Mask | None, ...] = answer.masks or (None,) * number
        labels = answer.labels if len(answer.labels) == number else ("",) * number
        scores = answer.scores if len(answer.scores) == number else (1.0,) * number
        return tuple(
            DetectedObject(
                id=i, image=self.episode.sources[0], label=label or "object", score=score, box_xyxy=box, mask=mask
            )
            for i, (label, score, box, mask) in enumerate(zip(labels, scores, boxes, masks, strict=True), 1)
        )

    @property
    def num_elsewhere(self) -> int:
        """How many objects were found on other pictures than the first: no answer holds them."""
        return sum(found.image != self.episode.sources[0] for found in self.episode.objects)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the answer besides."""
        if self.answer is None:
            return ()
        if self.kind is AnswerKind.CHOICE:
            return () if self.option is not None else ("This is none of the options.",)
        if not self.num_elsewhere or self.answer.count is not None:
            return ()
        return (f"Found on other pictures than the first: {self.num_elsewhere}. The answer holds none of these.",)

    @property
    def mask(self) -> Mask | None:
        """All submitted pixels as one mask, empty if there is no such object; ``None`` unless masks were asked for and submitted."""
        if self.answer is None or self.kind is not AnswerKind.MASK:
            return None
        return union_masks(self.answer.masks, self.episode.sample.target.size_hw)

    @property
    def option(self) -> str | None:
        """The text of the chosen option; ``None`` if there is none of that letter."""
        options = dict(zip(ascii_uppercase, self.episode.sample.target.options, strict=False))
        choice = "" if self.answer is None else self.answer.choice or ""
        return options.get(choice.strip(" ().").upper())

    def overlay(self) -> Image:
        """Return the first picture in its own size with the submitted objects drawn in, by number."""
        return draw_objects(self.episode.sample.images[0], self.objects)

    def to_coco(self) -> dict[str, Any]:
        """Return the answer as COCO has it: images, annotations with run-length masks, categories by label.

        What COCO has no word for ("no such object", a count, a choice) stands beside these under ``answer``. Where nothing was
        submitted that is ``None``, which is not the same as no annotations.
        """
        objects = self.objects
        categories = {label: i for i, label in enumerate(dict.fromkeys(o.label for o in objects), 1)}
        images = self.episode.sample.images
        return {
            "info": {"description": self.episode.sample.instruction, "contributor": self.agent},
            "images": [
                {"id": i, "file_name": name, "width": image.size_wh[0], "height": image.size_wh[1]}
                for i, (name, image) in enumerate(zip(self.names, images, strict=True), 1)
            ],
            "annotations": [_annotation(o, categories[o.label], scored=self._scored) for o in objects],
            "categories": [{"id": i, "name": label} for label, i in categories.items()],
            "answer": self._beside_coco(),
        }

    @property
    def _scored(self) -> bool:
        """Whether the agent said how sure it was."""
        return self.answer is not None and bool(self.answer.scores)

    def _beside_coco(self) -> dict[str, Any] | None:
        answer = self.answer
        if answer is None:
            return None
        count = answer.num_objects if self.kind is AnswerKind.COUNT else None
        return {
            "kind": self.kind.value, "no_target": answer.no_target, "count": count, "choice": answer.choice,
            "option": self.option,
        }  # fmt: skip

    def __str__(self) -> str:
        """Say what was answered, in one line, one for each object, and the notes: without secrets, as a terminal can take it."""
        return "\n".join(_printable(hide_values(line, self.secrets)) for line in (*self._lines(), *self.notes))

    def _lines(self) -> list[str]:
        answer, objects = self.answer, self.objects
        if answer is None:
            return [f"No answer: {str(self.why_not).rstrip('.')}."]
        if answer.no_target:
            return ["Count: 0 (no such object)" if self.kind is AnswerKind.COUNT else "No such object."]
        if self.kind is AnswerKind.CHOICE:
            return [f"{answer.choice}: {self.option}" if self.option is not None else f"{answer.choice}"]
        lines = [f"Count: {answer.num_objects}"] if self.kind is AnswerKind.COUNT else [_counted(len(objects))]
        lines += [f"  {o.id}  {_words(o)}" for o in objects[:LISTED]]
        if len(objects) > LISTED:
            lines.append(f"  … and {len(objects) - LISTED} more")
        return lines


def _box_of(mask: Mask) -> Box:
    x1, y1, x2, y2 = mask.box_xyxy
    return float(x1), float(y1), float(x2), float(y2)


def _annotation(found: DetectedObject, category: int, *, scored: bool) -> dict[str, Any]:
    x1, y1, x2, y2 = map(float, found.box_xyxy)
    made: dict[str, Any] = {
        "id": found.id, "image_id": 1, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": found.area_px, "iscrowd": 0,
    }  # fmt: skip
    if found.mask is not None:
        made["segmentation"] = found.mask.to_json()
    return {**made, "score": float(found.score)} if scored else made


def _printable(line: str) -> str:
    return line if line.isprintable() and len(line) <= LONGEST else short(line, LONGEST)


def _counted(number: int) -> str:
    return f"{number} object{'' if number == 1 else 's'}"


def _words(found: DetectedObject) -> str:
    box = ", ".join(f"{value:.0f}" for value in found.box_xyxy)
    mask = "" if found.mask is None else f", mask of {found.mask.area_px:,} px"
    return f"{' '.join(found.label.split())}  box {box}{mask}"
