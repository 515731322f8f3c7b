"""``muirbench/official``: accuracy over all questions and by task, replies read by the authors' parser.

Source: ``parse_multi_choice_response`` in eval/utils/postprocess.py of muirbench/MuirBench@840b85fe, through
:func:`visenv.tasks.replies.muirbench_choice`. Where nothing is found the authors draw a letter at random, which depends on the
order of the calls; here such a reply is wrong and not ``parsed``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

from ..replies import letters, muirbench_choice
from ._choices import choice_row, group_of, place_of, primary, share, shares_by_group

__all__ = ["PROFILE", "TASKS", "aggregate", "is_task", "row"]

TASKS = (
    "Action Understanding", "Attribute Similarity", "Cartoon Understanding", "Counting", "Diagram Understanding",
    "Difference Spotting", "Geographic Understanding", "Image-Text Matching", "Ordering", "Scene Understanding",
    "Visual Grounding", "Visual Retrieval",
)  # fmt: skip


def is_task(name: str) -> bool:
    """Whether a name is one of :data:`TASKS`, in any spelling of spaces and case."""
    return place_of(name, TASKS) >= 0


def row(target: Target, answer: Answer | None) -> Row:
    """Compare one letter; ``group`` is the place of the target's task in :data:`TASKS`."""
    texts = target.options or ("\0",) * 5  # without texts only the letters A to E are looked for
    options = dict(zip(letters(len(texts)), texts, strict=True))
    said = None if answer is None else muirbench_choice(answer.choice, options)
    return choice_row(target, answer, said, group_of(target, TASKS))


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions."""
    return {"accuracy": share(rows), "parsed": share(rows, "parsed"), **shares_by_group(rows, TASKS)}


PROFILE = Profile(
    name="muirbench/official",
    source="muirbench/MuirBench@840b85fe eval/utils/postprocess.py, without its random guess",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
