"""``vstar/letter`` and ``vstar/likelihood``: accuracy on V* by type of question and over all.

Source: vstar_bench_eval.py of penghao-wu/vstar@4ede6647, from its description: not compared with running code. The authors take
the option with the lowest loss of the language model; ``vstar/likelihood`` is for such losses, which only
``visenv score`` reads (:func:`likeliest`). Everyone else reads a letter: ``vstar/letter``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

from ..replies import letters, strict_letter
from ._choices import choice_row, group_of, primary, share, shares_by_group

__all__ = ["LETTER", "LIKELIHOOD", "TYPES", "aggregate", "likeliest", "row"]

TYPES = ("direct_attributes", "relative_position")


def row(target: Target, answer: Answer | None) -> Row:
    """Compare one letter; ``group`` is the place of the question's type in :data:`TYPES`."""
    return choice_row(target, answer, None if answer is None else strict_letter(answer.choice), group_of(target, TYPES))


def likeliest(losses: Sequence[float]) -> str:
    """Return the letter of the option with the lowest loss; of equal ones the first."""
    return letters(len(losses))[min(range(len(losses)), key=losses.__getitem__)]


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions."""
    return {"accuracy": share(rows), "parsed": share(rows, "parsed"), **shares_by_group(rows, TYPES)}


LETTER = Profile(
    name="vstar/letter",
    source="none: letters instead of penghao-wu/vstar@4ede6647's losses, from the description, not compared with running code",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
LIKELIHOOD = Profile(
    name="vstar/likelihood",
    source="penghao-wu/vstar@4ede6647 vstar_bench_eval.py: from the description, not compared with running code",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
