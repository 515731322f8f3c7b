"""What the things in EmojiWorld are called: the one table that experts and the generator share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Category", "categories", "category"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Category:
    """One kind of object, as a person would name it."""

    name: str
    """Singular, such as ``"pair of scissors"``; the key everywhere."""
    plural: str
    synonyms: tuple[tuple[str, str], ...]
    """Other names, each as ``(singular, plural)``."""
    supercategory: str
    colours: tuple[str, ...]
    """The main colours of the sprite, most area first."""
    novel: bool
    """Held out: a target only in the split ``test_novel`` (and ``experts``)."""


@cache
def categories() -> tuple[Category, ...]:
    """Return every category, sorted by name; an index into it is a class number of the shipped detector."""
    text = (files(__package__) / "data" / "names.json").read_text(encoding="utf-8")
    table = (
        Category(
            name=row["name"],
            plural=row["plural"],
            synonyms=tuple((one, many) for one, many in row["synonyms"]),
            supercategory=row["supercategory"],
            colours=tuple(row["colours"]),
            novel=row["novel"],
        )
        for row in json.loads(text)
    )
    return tuple(sorted(table, key=lambda c: c.name))


@cache
def _by_name() -> dict[str, Category]:
    return {c.name: c for c in categories()}


def category(name: str) -> Category:
    """Return one category by its exact name; ``KeyError`` when there is none."""
    return _by_name()[name]
