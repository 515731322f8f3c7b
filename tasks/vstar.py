"""V* Bench: small details in large pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from visenv.answers import Box
from visenv.errors import bad_value, missing_data, unknown_name
from visenv.images import Image
from visenv.task import Profile

from .benchmark import Finding, inside, plain_name
from .choices import LETTERS, ChoiceBenchmark, Question, Unusable, each_usable, letter_of, lettered
from .partners import Partners, find_partners
from .profiles import PROFILES
from .reading import field_of, number_of, read_json, read_json_lines, text_of, texts_of

__all__ = ["VStar", "shuffled"]

TYPES = ("direct_attributes", "relative_position")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
QUESTIONS = "test_questions.jsonl"
LETTERS_FROM = ("list", "shuffled")
OPTION = re.compile(r"^\(([A-Z])\)\s*(.*\S)\s*$")


class VStar(ChoiceBenchmark):
    """Answer questions about small objects in pictures of some 2246 x 1582 pixels: their looks and how they lie.

    ## Description
    191 questions: 115 on attributes and 76 on relative positions; beside them the authors' small sets ``OCR`` (30) and
    ``GPT4V-hard`` (17). Each picture has a JSON file beside it whose first option is the right one; where samples are numbered by
    these files, one without its partner is an error, since it may have moved every later sample. ``test`` takes questions, options
    and letters from ``VStar/test_questions.jsonl``. The other splits have no such list, and older downloads none for ``test``
    (``VStar:letters=shuffled``): there options are put in an order that only the hash of the picture's name decides, so that the
    right letter is not always A.

    ## Action Space
    Calls of the toolset's tools; the answer is the letter of an option.

    ## Observation Space
    The question with its lettered options, and the picture.

    ## Starting State
    The whole picture is visible.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    Terminated when a letter is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``question`` (its id in the data), ``group`` (the type) ``letters`` (where its letter comes from) and,
    where the picture's file has them, ``objects`` and their ``boxes_xyxy``. Questions on one picture are one cluster.

    ## Arguments
    ``split``: test, OCR, GPT4V-hard. There is one level. Options of the task: ``letters``, ``list`` or ``shuffled``, for
    ``test``: other letters are other samples, so the two have names of their own in a run. ``mirror``, ``craigwu/vstar_bench``
    to fetch it from the Hugging Face hub, or the folder of a copy. A question that cannot be used keeps its place, and its
    sample says what is wrong.

    ## Metrics
    ``vstar/letter``: accuracy, in all and for each type. The authors compare the likelihoods of the options instead:
    ``vstar/likelihood``, which only ``visenv score`` computes, from losses.

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
    sizes: ClassVar[Mapping[str, int]] = {"test": 191, "OCR": 30, "GPT4V-hard": 17}
    hub_id: ClassVar[str] = "craigwu/vstar_bench"
    hub_files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "test": (QUESTIONS, *(f"{kind}/*" for kind in TYPES)), "OCR": ("OCR/*",), "GPT4V-hard": ("GPT4V-hard/*",),
    }  # fmt: skip

    def __init__(self, root: str | Path | None = None, *, mirror: str | None = None, letters: str = "list") -> None:
        """See :class:`~visenv.tasks.choices.ChoiceBenchmark`.

        Args:
            root: The data root.
            mirror: The benchmark's id on the hub, to fetch it from there, or the folder of a copy.
            letters: Where those of ``test`` come from: ``list`` or ``shuffled``.

        Raises:
            UnknownNameError: ``letters`` is something else.
            BadValueError: The mirror is another one.
        """
        if letters not in LETTERS_FROM:
            raise unknown_name("letters", letters, LETTERS_FROM, remedy="Use VStar:letters=list or shuffled.")
        super().__init__(root, mirror=mirror)
        self._letters = letters
        self._partners: dict[str, Partners] = {}

    def read(self, split: str) -> Sequence[Question | Unusable]:
        """Read the list of questions, or the JSON files of the split's folders in the order of their names."""
        root = self.fetched(split)
        if split == "test" and self._letters == "list":
            if not (root / QUESTIONS).is_file():
                what = f"{QUESTIONS!r} is missing, as in older downloads; VStar:letters=shuffled does without it"
                raise missing_data(self.name, what, looked=str(root / QUESTIONS), published=self.published)
            return each_usable(self._listed, read_json_lines(root / QUESTIONS))
        folders = [self._folder(kind) for kind in (TYPES if split == "test" else (split,))]
        found = find_partners(
            zip(folders, folders, strict=True), pictures=PICTURES, note_of=_note_of, key=lambda p: p.name
        )
        found.check(self.name, split, official=self.sizes.get(split), looked=root, published=self.published)
        empty = next((f for f in folders if not any(path.parent == f for path in found.pictures)), None)
        if empty is not None:
            raise missing_data(
                self.name, f"{empty.name!r} holds no picture", looked=str(empty), published=self.published
            )
        self._partners[split] = found
        return each_usable(self._from_file, found.pictures)

    def images(self, entry: Question) -> tuple[Image, ...]:
        """Open the one picture."""
        return (self.picture(self.find(*self._split_name(entry.pictures))),)

    def audit_split(self, split: str) -> Iterator[Finding]:
        """Find JSON files without a picture."""
        self.entries(split)
        return self._partners[split].findings(split) if split in self._partners else iter(())

    def _folder(self, kind: str) -> Path:
        folder = self.need(kind)
        if not folder.is_dir():
            raise missing_data(self.name, f"{kind!r} is no folder", looked=str(folder), published=self.published)
        return folder

    def _split_name(self, picture: str) -> tuple[Path, str]:
        """Return the folder of the layout that a picture's name begins with, which may be a link, and the rest of the name."""
        kind, _, rest = picture.partition("/")
        return (self.root / kind, rest) if rest and kind in (*TYPES, *self.splits) else (self.root, picture)

    def _listed(self, listed: tuple[str, Mapping[str, Any]]) -> Question:
        where, row = listed
        if "label" not in row:
            remedy = "Older downloads have none: take the present one, or VStar:letters=shuffled."
            raise bad_value(where, sorted(map(str, row)), expected="a field 'label'", remedy=remedy)
        name = f"question {field_of(row, 'question_id', where)}"
        question, options = _split(text_of(field_of(row, "text", where), f"text of {where}"), where)
        picture = str(plain_name(text_of(field_of(row, "image", where), f"image of {where}")))
        choice = letter_of(field_of(row, "label", where), len(options), where)
        group = text_of(field_of(row, "category", where), f"category of {where}")
        folder, rest = self._split_name(picture)
        beside = inside(folder, f"{Path(rest).parent / Path(rest).stem}.json")
        meta = _found(read_json(beside), beside) if beside.is_file() else {}
        return Question(
            name=name, instruction=lettered(question, options), options=options, choice=choice, group=group, pictures=picture,
            cluster=picture, meta={**meta, "letters": QUESTIONS},
        )  # fmt: skip

    def _from_file(self, path: Path) -> Question:
        kind = path.parent.name
        picture = f"{kind}/{path.name}"
        beside = self.find(path.parent, _note_of(path.name))
        data = read_json(beside)
        if not isinstance(data, dict):
            raise bad_value("annotation", data, expected=f"a JSON object in {beside}")
        given = texts_of(field_of(data, "options", str(beside)), f"options of {picture}")
        letter_of("A", len(given), picture)  # as many options as there are letters
        options, choice = shuffled(given, picture)
        question = text_of(field_of(data, "question", str(beside)), f"question of {picture}")
        return Question(
            name=picture, instruction=lettered(question, options), options=options, choice=choice, group=kind, pictures=picture,
            cluster=picture, meta={**_found(data, beside), "letters": "shuffled"},
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "letters": self._letters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_given"], mirror=state["mirror"], letters=state["letters"])  # type: ignore[misc]


def _note_of(picture: str) -> str:
    return f"{picture.split('.')[0]}.json"


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
