"""``hrbench/letter``: accuracy on HR-Bench, the mean over the four orders of the options.

Source: hrbench/vlmeval of DreamMr/HR-Bench@b17b1998, from its description: not compared with running code. There a language
model says whether a reply is right; here the letter is read strictly. Each question is asked four times, with its options
turned round; the score is the mean of the four accuracies, not the share of questions that were right four times.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

from ..replies import strict_letter
from ._choices import choice_row, primary, share

__all__ = ["GROUPS", "PROFILE", "aggregate", "row"]

CATEGORIES = ("single", "cross")
GROUPS = tuple(f"{category}/{cycle}" for category in CATEGORIES for cycle in range(4))
"""The labels of targets: categories in each of the four orders."""
NAMES = {"FSP": 0, "FCP": 1}
"""Fine-grained perception of a single instance and across instances, and their place in ``CATEGORIES``."""


def row(target: Target, answer: Answer | None) -> Row:
    """Compare one letter; the target's first label is ``category/cycle``, such as ``single/2``; ``cycle`` in the row is a checksum."""
    category, _, cycle = (target.labels[0] if target.labels else "").partition("/")
    group = CATEGORIES.index(category) if category in CATEGORIES else -1
    letter = None if answer is None else strict_letter(answer.choice)
    return {**choice_row(target, answer, letter, group), "cycle": zlib.crc32(cycle.encode())}


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions: over all questions, of a single instance (FSP) and across instances (FCP)."""
    cycles = sorted({r["cycle"] for r in rows})
    return {
        "accuracy": _over_cycles(rows, cycles),
        **{name: _over_cycles([r for r in rows if r["group"] == group], cycles) for name, group in NAMES.items()},
        "parsed": share(rows, "parsed"),
    }


def _over_cycles(rows: Sequence[Mapping[str, Any]], cycles: Sequence[int]) -> float | None:
    """Return the mean of the accuracies of the cycles; one without such a question counts as 0, as for the authors."""
    shares = [share([r for r in rows if r["cycle"] == cycle]) for cycle in cycles]
    return sum(s or 0.0 for s in shares) / len(cycles) if rows else None


PROFILE = Profile(
    name="hrbench/letter",
    source="DreamMr/HR-Bench@b17b1998 without its judge: from the description, not compared with running code",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
