"""A page of picture strips: what every stored episode saw and did, agents side by side on the same sample.

One HTML file and a folder of small pictures; opens from disk, without scripts or anything from elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image as PilImage

from visenv.answers import Answer, AnswerKind, Box, Target
from visenv.env import make_task
from visenv.errors import VisenvError
from visenv.images import Image, Pixels, load_image
from visenv.masks import Mask, union_masks
from visenv.task import Sample, Task

from .records import EpisodeRecord, Key, RunInfo, TurnRecord
from .rundir import ImageFiles, latest, read_records, write_bytes

__all__ = ["write_strips"]

SIDE_PX = 320
"""Longest side of a picture on the page."""
TARGET_RGB = (46, 160, 67)
ANSWER_RGB = (219, 39, 119)

Place = tuple[str, str, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A small picture beside the page."""

    file: str
    """Path from the page."""
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One picture of a strip with what happened."""

    heading: str
    detail: str
    text: str
    picture: Picture | None
    mark: str = ""
    """``error``, ``final`` or nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """One episode."""

    agent: str
    privileged: bool
    score: float | None
    profile: str
    reason: str
    costs: str
    failure: str | None
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One sample with the strips of all agents."""

    anchor: str
    sample_id: str
    instruction: str
    strips: tuple[Strip, ...]


def write_strips(run: Path, *, tasks: Mapping[str, Task] | None = None) -> Path | None:
    """Write ``strips.html`` and ``strips/`` into a run directory.

    Args:
        run: The run directory.
        tasks: Tasks by name, to show the question and the truth; those not given are looked up, and one that cannot
            make the sample again (another version, no data) is shown without.

    Returns:
        The page, or ``None`` when the run stored no pictures.
    """
    info = RunInfo.read(run)
    records = latest(read_records(run))
    stored = {key: r for key, r in records.items() if any(i.file for i in r.images.values())}
    if not stored:
        return None
    page = _Page(run, info, tasks or {})
    groups = []
    for task in info.tasks:
        places = dict.fromkeys(k[1:] for k in sorted(stored, key=lambda k: k[1:]) if k[1] == task.name)
        questions = [page.question(place, stored) for place in places]
        if questions:
            groups.append({"name": task.name, "split": task.split, "level": task.level, "questions": questions})
    templates = files("visenv.leaderboard") / "templates"
    pages = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    style = (templates / "strips.css").read_text(encoding="utf-8")
    text = pages.from_string((templates / "strips.html.j2").read_text(encoding="utf-8")).render(
        groups=groups, info=info, agents=[a.name for a in info.agents], name=run.resolve().name,
        num_episodes=len(records), num_shown=len(stored), style=Markup(style),
    )  # fmt: skip
    path = run / "strips.html"
    write_bytes(path, text.encode("utf-8", "replace"))
    return path


class _Page:
    def __init__(self, run: Path, info: RunInfo, tasks: Mapping[str, Task]) -> None:
        self.run = run
        self.info = info
        self.images = ImageFiles(run / "images")
        self._tasks: dict[str, Task | None] = dict(tasks)
        self._small: dict[str, Picture | None] = {}

    def question(self, place: Place, stored: Mapping[Key, EpisodeRecord]) -> Question:
        records = [stored[(a.name, *place)] for a in self.info.agents if (a.name, *place) in stored]
        sample = self._sample(records[0])
        instruction = sample.instruction if sample else "(the task cannot make this sample again)"
        known = {a.name for a in self.info.agents if a.privileged}
        return Question(
            anchor=hashlib.sha256(records[0].sample_id.encode("utf-8", "replace")).hexdigest()[:12],
            sample_id=records[0].sample_id, instruction=instruction,
            strips=tuple(self._strip(r, sample, privileged=r.agent in known) for r in records),
        )  # fmt: skip

    def _sample(self, record: EpisodeRecord) -> Sample | None:
        """Make the sample again, if the task still makes the same one."""
        try:
            if record.task not in self._tasks:
                self._tasks[record.task] = make_task(record.task)
            task = self._tasks[record.task]
            if task is None or task.version != record.task_version:
                return None
            sample = task.sample(record.split, record.level, record.index)
        except Exception:  # a task's code or data, on a machine that may lack them: the page does without
            self._tasks[record.task] = None
            return None
        return sample if sample.target.fingerprint == record.target else None

    def _strip(self, record: EpisodeRecord, sample: Sample | None, *, privileged: bool) -> Strip:
        files = {name: i.file for name, i in record.images.items() if i.file is not None}
        sources = [name for name in files if record.images[name].source == name]
        newest = sources[0] if sources else None
        first = self._mosaic([files[name] for name in sources])
        cards = [Card(heading="start", detail="", text=_start_text(len(sources)), picture=first)]
        last: Picture | None = first
        for number, turn in enumerate(record.transcript, 1):
            shown = [name for name in turn.shown if name in files]
            if shown and shown[-1] != newest:
                newest = shown[-1]
                last = self._from_file(files[newest])
            heading, detail = _call_words(turn)
            cards.append(
                Card(
                    heading=f"{number} {heading}", detail=detail, text=_cut(turn.feedback, 220), picture=last,
                    mark="error" if turn.error else "",
                )
            )  # fmt: skip
        if sample is not None and not record.failed:
            cards.append(self._final(record, sample))
        c = record.costs
        return Strip(
            agent=record.agent, privileged=privileged, score=record.score, profile=record.profile, reason=record.reason,
            costs=f"{_many(c.turns, 'turn')}, {_many(c.tool_calls, 'tool call')}, {c.visual_tokens:,} visual tokens",
            failure=record.failure, cards=tuple(cards),
        )  # fmt: skip

    def _final(self, record: EpisodeRecord, sample: Sample) -> Card:
        answer = Answer.from_json(record.answer) if record.answer else None
        truth, given = _truth_words(sample.target), _answer_words(answer, sample.target.kind)
        picture = None
        if sample.target.kind is not AnswerKind.CHOICE:
            picture = self._small_picture(_overlay(sample, answer))
        text = f"Answer: {given}. Truth: {truth}."
        return Card(heading="answer and truth", detail="", text=text, picture=picture, mark="final")

    def _from_file(self, content_hash: str) -> Picture | None:
        if content_hash not in self._small:
            try:
                self._small[content_hash] = self._small_picture(load_image(self.images.path(content_hash)))
            except VisenvError:  # the picture is gone or damaged: the card stands without
                self._small[content_hash] = None
        return self._small[content_hash]

    def _mosaic(self, hashes: Sequence[str]) -> Picture | None:
        """Return one picture of one or several start images."""
        if len(hashes) == 1:
            return self._from_file(hashes[0])
        key = "+".join(hashes)
        if key not in self._small:
            try:
                found = [load_image(self.images.path(h)) for h in hashes]
                self._small[key] = self._small_picture(_tile(found)) if found else None
            except VisenvError:
                self._small[key] = None
        return self._small[key]

    def _small_picture(self, image: Image) -> Picture:
        pixels = _shrunk(image)
        buffer = io.BytesIO()
        PilImage.fromarray(pixels).save(buffer, "JPEG", quality=86)
        name = f"{hashlib.sha256(buffer.getvalue()).hexdigest()[:24]}.jpg"
        path = self.run / "strips" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_bytes(path, buffer.getvalue())
        return Picture(file=f"strips/{name}", width=pixels.shape[1], height=pixels.shape[0])


def _overlay(sample: Sample, answer: Answer | None) -> Image:
    """Draw the answer (pink, filled) and the truth (green) on the first image, at the size of the page."""
    canvas = np.array(_shrunk(sample.images[0]))
    height, width = sample.target.size_hw
    scale = canvas.shape[1] / width, canvas.shape[0] / height
    given = answer or Answer()
    truth = _outlines(sample.target.masks, sample.target.boxes_xyxy, (height, width), scale)
    guess = _outlines(given.masks, given.boxes_xyxy, (height, width), scale)
    if given.masks:
        inside = np.zeros(canvas.shape[:2], np.uint8)
        cv2.drawContours(inside, guess, -1, 255, cv2.FILLED)
        tinted = cv2.addWeighted(canvas, 0.55, np.full_like(canvas, ANSWER_RGB), 0.45, 0)
        canvas = np.where(inside[..., None] > 0, tinted, canvas).astype(np.uint8)
    for contours, colour, line in ((truth, (255, 255, 255), 5), (truth, TARGET_RGB, 3), (guess, ANSWER_RGB, 1)):
        if line < 5 or len(contours) <= 20:  # a white rim, where there is room for it
            cv2.drawContours(canvas, contours, -1, colour, line)
    return Image(canvas)


def _outlines(
    masks: Sequence[Mask], boxes: Sequence[Box], size_hw: tuple[int, int], scale: tuple[float, float]
) -> list[np.ndarray]:
    """Return the contours of masks, or of boxes where there are no masks, scaled to the page."""
    if masks:
        found, _ = cv2.findContours(
            union_masks(masks, size_hw).to_dense().astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        return [np.round(c * scale).astype(np.int32) for c in found]
    corners = [np.array([[x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]]) for x1, y1, x2, y2 in boxes]
    return [np.round(c * scale).astype(np.int32).reshape(-1, 1, 2) for c in corners]


def _shrunk(image: Image, side_px: int = SIDE_PX) -> Pixels:
    width, height = image.size_wh
    scale = min(1.0, side_px / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else image.pixels  # type: ignore[return-value]


def _tile(images: Sequence[Image]) -> Image:
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    cell = 2 * SIDE_PX // columns
    sheet = np.full((rows * cell, columns * cell, 3), 255, np.uint8)
    for i, image in enumerate(images):
        width, height = image.size_wh
        scale = (cell - 4) / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        y, x = i // columns * cell + 2, i % columns * cell + 2
        sheet[y : y + size[1], x : x + size[0]] = cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA)
    return Image(sheet)


def _start_text(number: int) -> str:
    return "the image" if number == 1 else f"the {number} images"


def _call_words(turn: TurnRecord) -> tuple[str, str]:
    if turn.call is None:
        return turn.error or "no call", _cut(turn.reply or "", 160)
    arguments = turn.call.get("arguments", {})
    words = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in arguments.items()]
    return str(turn.call.get("name", "")), _cut(" ".join(words), 160)


def _truth_words(target: Target) -> str:
    if target.kind is AnswerKind.CHOICE:
        return str(target.choice)
    if target.no_target:
        return "nothing matches"
    number = len(target.boxes_xyxy) or len(target.masks)
    return str(number) if target.kind is AnswerKind.COUNT else _many(number, "object")


def _answer_words(answer: Answer | None, kind: AnswerKind) -> str:
    if answer is None:
        return "none given"
    if answer.no_target:
        return "nothing matches"
    if answer.choice is not None:
        return _cut(answer.choice, 40)
    number = answer.num_objects or len(answer.masks)
    return str(number) if kind is AnswerKind.COUNT else _many(number, "object")


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _cut(text: str, limit: int) -> str:
    text = "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text[: 4 * limit])
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _printable(value: object) -> object:
    """Replace control characters, which have no place on a page, whatever text they come in."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in value)
    return value
