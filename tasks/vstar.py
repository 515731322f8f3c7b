"""V* Bench: small details in large pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from visenv.answers import Box
from visenv.errors import bad_value
from visenv.images import Image
from visenv.task import Profile

from .benchmark import inside
from .choices import LETTERS, ChoiceBenchmark, Question, letter_of, lettered
from .profiles import PROFILES
from .reading import field_of, number_of, read_json, read_json_lines, text_of, texts_of

__all__ = ["VStar", "shuffled"]

TYPES = ("direct_attributes", "relative_position")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
QUESTIONS = "test_questions.jsonl"
OPTION = re.compile(r"^\(([A-Z])\)\s*(.*\S)\s*$")


class VStar(ChoiceBenchmark):
    """Answer questions about small objects in pictures of some 2246 x 1582 pixels: their looks and how they lie.

    ## Description
    191 questions: 115 on attributes and 76 on relative positions; beside them the authors' small sets ``OCR`` and
    ``GPT4V-hard``. Each picture has a JSON file beside it whose first option is the right one. ``test`` takes questions, options
    and letters from ``VStar/test_questions.jsonl`` where that file is; otherwise, and for the other splits, options are put in
    an order that only the hash of the picture's name decides, so that the right letter is not always A.

    ## Action Space
    Tool calls, ended by ``submit_choice`` with a letter.

    ## Observation Space
    The question with its lettered options, and the picture.

    ## Starting State
    The whole picture is visible.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    When a letter is submitted, or at the turn limit.

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta`` holds the asked-for
    objects and their boxes, where the picture's file has them.

    ## Arguments
    ``split``: test, OCR, GPT4V-hard. There is one level.

    ## Metrics
    ``vstar/letter``: accuracy, in all and for each type. The authors compare the likelihoods of the options instead.

    ## References
    Wu and Xie, "V*: Guided Visual Search as a Core Mechanism in Multimodal LLMs", CVPR 2024.
    Source of the format: penghao-wu/vstar@4ede6647 vstar_bench_eval.py and the data card.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "VStar"
    splits: ClassVar[tuple[str, ...]] = ("test", "OCR", "GPT4V-hard")
    profile: ClassVar[Profile] = PROFILES["vstar/letter"]
    folder: ClassVar[str] = "VStar"
    published: ClassVar[str] = "https://huggingface.co/datasets/craigwu/vstar_bench"
    licence: ClassVar[str] = "code MIT; the pictures are under the terms of SA-1B"
    sizes: ClassVar[Mapping[str, int]] = {"test": 191}

    def read(self, split: str) -> Sequence[Question]:
        """Read the list of questions, or the JSON files of the split's folders in the order of their names."""
        listed = self.root / QUESTIONS
        if split == "test" and listed.is_file():
            return [self._listed(row, where) for where, row in read_json_lines(listed)]
        return [self._from_file(path, kind) for kind in (TYPES if split == "test" else (split,)) for path in self._pictures_in(kind)]  # fmt: skip

    def images(self, entry: Question) -> tuple[Image, ...]:
        """Open the one picture."""
        return (self.picture(self.need(entry.pictures)),)

    def _pictures_in(self, kind: str) -> list[Path]:
        return sorted(p for p in self.need(kind).iterdir() if p.suffix.lower() in PICTURES)

    def _listed(self, row: Mapping[str, Any], where: str) -> Question:
        name = f"question {field_of(row, 'question_id', where)}"
        question, options = _split(text_of(field_of(row, "text", where), f"text of {where}"), where)
        picture = text_of(field_of(row, "image", where), f"image of {where}")
        choice = letter_of(field_of(row, "label", where), len(options), where)
        group = text_of(field_of(row, "category", where), f"category of {where}")
        beside = inside(self.root, picture).with_suffix(".json")
        meta = _found(read_json(beside), beside) if beside.is_file() else {}
        return Question(
            name=name, instruction=lettered(question, options), options=options, choice=choice, group=group, pictures=picture,
            cluster=picture, meta=meta,
        )  # fmt: skip

    def _from_file(self, path: Path, kind: str) -> Question:
        picture = f"{kind}/{path.name}"
        beside = self.need(f"{kind}/{path.name.split('.')[0]}.json")
        data = read_json(beside)
        if not isinstance(data, dict):
            raise bad_value("annotation", data, expected=f"a JSON object in {beside}")
        given = texts_of(field_of(data, "options", str(beside)), f"options of {picture}")
        letter_of("A", len(given), picture)  # as many options as there are letters
        options, choice = shuffled(given, picture)
        question = text_of(field_of(data, "question", str(beside)), f"question of {picture}")
        return Question(
            name=picture, instruction=lettered(question, options), options=options, choice=choice, group=kind, pictures=picture,
            cluster=picture, meta=_found(data, beside),
        )  # fmt: skip


def shuffled(options: Sequence[str], name: str) -> tuple[tuple[str, ...], str]:
    """Return the options in an order that depends on nothing but ``name``, and the letter of the one that was first.

    Example:
        >>> shuffled(["red", "blue", "green"], "direct_attributes/sa_2.jpg")
        (('green', 'blue', 'red'), 'C')
    """
    keys = [hashlib.sha256(f"{name}\0{k}".encode()).digest() for k in range(len(options))]
    order = sorted(range(len(options)), key=keys.__getitem__)
    return tuple(options[k] for k in order), LETTERS[order.index(0)]


def _split(text: str, where: str) -> tuple[str, tuple[str, ...]]:
    """Split ``question``, lines ``(A) option`` and a closing request, which is left out, into question and options."""
    lines = text.splitlines()
    found = [(k, OPTION.match(line)) for k, line in enumerate(lines)]
    options = [(k, match[1], match[2]) for k, match in found if match]
    letters = "".join(letter for _, letter, _ in options)
    question = "\n".join(lines[: options[0][0]]).strip() if options else ""
    if not question or letters != LETTERS[: len(letters)]:
        raise bad_value(f"text of {where}", text, expected="a question and then lines (A) …, (B) … in order")
    return question, tuple(option for _, _, option in options)


def _found(data: Any, where: Path) -> dict[str, Any]:
    """Return what was asked for, and its boxes as xyxy pixels, of which the annotation has left, top, width and height."""
    if not isinstance(data, dict):
        raise bad_value("annotation", data, expected=f"a JSON object in {where}")
    boxes: list[Box] = []
    for box in data.get("bbox") or ():
        if not isinstance(box, list) or len(box) != 4:
            raise bad_value(f"bbox of {where.name}", box, expected="left, top, width, height in pixels")
        x, y, w, h = (number_of(v, f"bbox of {where.name}") for v in box)
        boxes.append((x, y, x + w, y + h))
    return {"objects": texts_of(data.get("target_object") or [], f"target_object of {where.name}"), "boxes_xyxy": tuple(boxes)}  # fmt: skip
