"""Facts about the categories and the wording of questions. Only the generator may import this module.

An expert that saw the facts could answer reasoning questions by looking them up; a test walks the imports of the whole
tree to make sure that none does.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

__all__ = ["Fact", "Wording", "fact_by_text", "facts", "facts_of", "shared_facts", "templates"]

Wording = Literal["train", "test"]
SHARED_EVERY = 4
"""Every fourth fact that is shared by several categories is test wording."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """Something that holds for some categories."""

    text: str
    """Completes "the object that …"."""
    true: frozenset[str]
    maybe: frozenset[str]
    """Categories for which one could argue; never in a scene that asks for this fact."""
    wording: Wording
    """Which splits use it."""


def _load(name: str) -> Any:
    return json.loads((files(__package__) / "data" / name).read_text(encoding="utf-8"))


@cache
def facts() -> tuple[Fact, ...]:
    """Return all facts in the order of the table; the last of each category's own facts is test wording."""
    rows = _load("facts.json")
    left = Counter(row["true"][0] for row in rows if len(row["true"]) == 1)
    out, shared = [], 0
    for row in rows:
        if len(row["true"]) == 1:
            left[row["true"][0]] -= 1
            held_out = left[row["true"][0]] == 0
        else:
            shared += 1
            held_out = shared % SHARED_EVERY == 0
        out.append(
            Fact(
                text=row["text"],
                true=frozenset(row["true"]),
                maybe=frozenset(row["maybe"]),
                wording="test" if held_out else "train",
            )
        )
    return tuple(out)


@cache
def fact_by_text(text: str) -> Fact:
    """Return the fact with this text; ``StopIteration`` when there is none."""
    return next(f for f in facts() if f.text == text)


@cache
def facts_of(name: str, wording: Wording) -> tuple[Fact, ...]:
    """Return the facts that hold for this one category only."""
    return tuple(f for f in facts() if f.true == {name} and f.wording == wording)


@cache
def shared_facts(name: str, wording: Wording) -> tuple[Fact, ...]:
    """Return the facts that hold for this category and others."""
    return tuple(f for f in facts() if name in f.true and len(f.true) > 1 and f.wording == wording)


@cache
def _templates() -> dict[str, dict[str, list[str]]]:
    table: dict[str, dict[str, list[str]]] = _load("templates.json")
    return table


def templates(kind: str, wording: Wording) -> list[str]:
    """Return the phrasings of one kind of question, or the words for one attribute or relation."""
    return _templates()[kind][wording]
