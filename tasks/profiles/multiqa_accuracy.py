"""``multiqa/accuracy``: share of right letters, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

__all__ = ["PROFILE", "aggregate", "letter", "primary", "row"]

LETTER = re.compile(r"\(?([A-Z])[).:]?\.?", re.IGNORECASE)


def letter(choice: str | None) -> str | None:
    """Return the option letter when the text is nothing but one: ``B``, ``b``, ``(B)``, ``B.`` or ``B)``."""
    found = LETTER.fullmatch(choice.strip()) if choice else None
    return found[1].upper() if found else None


def row(target: Target, answer: Answer | None) -> Row:
    """Compare one letter."""
    given = None if answer is None else letter(answer.choice)
    return {
        "right": given is not None and given == target.choice,
        "parsed": given is not None,
        "failed": answer is None,
    }


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions."""
    if not rows:
        return {"accuracy": None, "parsed": None}
    return {key: sum(r[flag] for r in rows) / len(rows) for key, flag in (("accuracy", "right"), ("parsed", "parsed"))}


def primary(row: Mapping[str, Any]) -> float:
    """Return 1 for the right letter, else 0."""
    return float(row["right"])


PROFILE = Profile(
    name="multiqa/accuracy",
    source="none: from the description, not compared with running code",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
