"""Rows and shares that the profiles of multiple-choice benchmarks have in common.

The group that per-task averages go by is the first label of a target of kind ``choice``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Row

__all__ = ["choice_row", "group_of", "place_of", "primary", "share", "shares_by_group"]


def group_of(target: Target, groups: Sequence[str]) -> int:
    """Return the position of the target's group in ``groups``, in any spelling of spaces and case; -1 for another one."""
    return place_of(target.labels[0], groups) if target.labels else -1


def place_of(label: str, groups: Sequence[str]) -> int:
    """Return the position of a group in ``groups``, in any spelling of spaces and case; -1 for another one."""
    return next((i for i, name in enumerate(groups) if _plain(name) == _plain(label)), -1)


def choice_row(target: Target, answer: Answer | None, letter: str | None, group: int = -1) -> Row:
    """Compare what was read from one reply with the right letter."""
    return {
        "right": letter is not None and letter == target.choice,
        "parsed": letter is not None,
        "group": group,
        "failed": answer is None,
    }


def share(rows: Sequence[Mapping[str, Any]], flag: str = "right") -> float | None:
    """Return the fraction of rows with a flag; ``None`` without rows."""
    return sum(r[flag] for r in rows) / len(rows) if rows else None


def shares_by_group(rows: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> Metrics:
    """Return the fraction of right answers in each group."""
    return {name: share([r for r in rows if r["group"] == i]) for i, name in enumerate(groups)}


def primary(row: Mapping[str, Any]) -> float:
    """Return 1 for the right letter, else 0."""
    return float(row["right"])


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())
