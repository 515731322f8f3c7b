"""MultiQA: questions over several pictures from a plain folder, for MIFG-QA and for data of your own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from visenv.errors import bad_value
from visenv.images import Image
from visenv.task import Profile

from .benchmark import plain_name
from .choices import LETTERS, ChoiceBenchmark, Question, letter_of, lettered
from .profiles import PROFILES
from .reading import field_of, read_json_lines, text_of, texts_of
from .unusable import Unusable, each_usable

__all__ = ["MultiQA"]

FIELDS = frozenset({"id", "images", "question", "options", "answer", "group"})


class MultiQA(ChoiceBenchmark):
    """Answer the questions of a folder: one or more pictures each, two to 26 options.

    ## Description
    A folder with ``questions.jsonl``, one JSON object a line:

    | field | meaning |
    |---|---|
    | ``id`` | text or integer, its own for each question |
    | ``images`` | list of picture files, as paths inside the folder |
    | ``question`` | text |
    | ``options`` | list of texts |
    | ``answer`` | the right option's letter, its index from 0, or its text |
    | ``group`` | optional text, kept with the sample |

    No release of MIFG-QA (IMAgent, arXiv 2512.08980) is known; put it into this form once it is there.

    ## Action Space
    Calls of the toolset's tools; the answer is the letter of an option.

    ## Observation Space
    The question with its lettered options, and the pictures in their order. The text may name them ``img_0``, ``img_1``, ….

    ## Starting State
    All pictures of the question are visible.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    Terminated when a letter is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``question`` (its id in the data), ``group``. Questions with the same first
    picture are one cluster.

    ## Arguments
    ``split``: test. There is one level. Option of the task: ``folder``, the folder's name under the data root, ``MultiQA`` by
    default. A question that cannot be used keeps its place, and its sample says what is wrong.

    ## Metrics
    ``multiqa/accuracy``: share of right letters.

    ## References
    The announced data set: "IMAgent", arXiv 2512.08980. The form of the folder is visenv's own.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "MultiQA"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    profile: ClassVar[Profile] = PROFILES["multiqa/accuracy"]
    folder: ClassVar[str] = "MultiQA"
    published: ClassVar[str] = "nowhere yet (MIFG-QA); any folder of this form will do"
    licence: ClassVar[str] = "that of your data"
    sizes: ClassVar[Mapping[str, int]] = {}

    def __init__(self, root: str | Path | None = None, *, folder: str = "MultiQA") -> None:
        """Look for the folder under the data root.

        Raises:
            BadValueError: ``folder`` leads out of the data root.
        """
        super().__init__(root)
        plain_name(folder)
        self._folder = folder

    @property
    def root(self) -> Path:
        """The folder of the questions."""
        return super().root.parent / self._folder

    def read(self, split: str) -> Sequence[Question | Unusable]:
        """Read the questions."""
        questions = each_usable(self._question, read_json_lines(self.need("questions.jsonl")))
        names = [q.name for q in questions if isinstance(q, Question)]
        if len(set(names)) != len(names):
            raise bad_value("id", "questions.jsonl", expected="an id of its own for each question")
        return questions

    def images(self, entry: Question) -> tuple[Image, ...]:
        """Open the pictures."""
        return tuple(self.picture(self.find(self.root, name)) for name in entry.pictures)

    def _question(self, at: tuple[str, Mapping[str, Any]]) -> Question:
        where, row = at
        unknown = sorted(set(row) - FIELDS)
        if unknown:
            raise bad_value(where, unknown, expected=f"no fields but {', '.join(sorted(FIELDS))}")
        given = field_of(row, "id", where)
        name = text_of(str(given) if type(given) is int else given, f"id of {where}")
        options = texts_of(field_of(row, "options", where), f"options of {where}")
        pictures = texts_of(field_of(row, "images", where), f"images of {where}")
        for picture in pictures:
            plain_name(picture)
        return Question(
            name=name, instruction=lettered(text_of(field_of(row, "question", where), f"question of {where}"), options),
            options=options, choice=_choice(field_of(row, "answer", where), options, where), pictures=pictures,
            group=text_of(row.get("group") or "all", f"group of {where}"),
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_given"], folder=state["folder"])  # type: ignore[misc]


def _choice(answer: object, options: Sequence[str], where: str) -> str:
    """Return the right letter, however it is given; what could mean two options is refused."""
    letter_of("A", len(options), where)
    meant = {LETTERS[k] for k, text in enumerate(options) if text == answer}
    if isinstance(answer, str) and len(answer) == 1 and answer in LETTERS[: len(options)]:
        meant.add(answer)
    if type(answer) is int and 0 <= answer < len(options):
        meant.add(LETTERS[answer])
    if len(meant) != 1:
        raise bad_value(
            f"answer of {where}", answer, expected=f"one option's letter from A to {LETTERS[len(options) - 1]}, index from 0, or text"
        )  # fmt: skip
    return meant.pop()
