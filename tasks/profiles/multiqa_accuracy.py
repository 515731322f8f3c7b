"""``multiqa/accuracy``: share of right letters, read strictly.

Source: none, from the description, not compared with running code: no release of MIFG-QA is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

from ..replies import strict_letter
from ._choices import primary, share

__all__ = ["PROFILE", "aggregate", "primary", "row"]


def row(target: Target, answer: Answer | None) -> Row:
    """Compare one letter."""
    given = None if answer is None else strict_letter(answer.choice)
    return {
        "right": given is not None and given == target.choice,
        "parsed": given is not None,
        "failed": answer is None,
    }


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions."""
    return {"accuracy": share(rows), "parsed": share(rows, "parsed")}


PROFILE = Profile(
    name="multiqa/accuracy",
    source="none: from the description, not compared with running code",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
