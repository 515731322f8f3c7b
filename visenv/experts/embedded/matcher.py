"""From a noun phrase to categories, by the name table alone: no fact about any object is known here."""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Literal

from .names import categories

__all__ = ["match_phrase"]

MAX_CHARACTERS = 400
MAX_TOKENS = 64
MAX_TOKENS_FOR_TYPOS = 6


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILLERS = _words(
    "a an the all any each every both some several many few other another this that these those "
    "one two three four five six seven eight nine ten only single of please"
)
CLAUSE_STARTS = _words(
    "that which who whom whose what whatever where when why how if because is are was were has have had"
)
JOINERS = frozenset(("and", "or", "plus", ","))
ADJECTIVES = _words(
    "big small large little tiny huge tall short old new blurry sharp upside down left right top bottom "
    "leftmost rightmost topmost bottommost largest smallest biggest colourless colorless"
)
COLOURS = {
    **{c: c for c in _words("red orange yellow green blue purple pink brown black white grey gold teal")},
    "gray": "grey", "golden": "gold", "violet": "purple", "silver": "grey", "turquoise": "teal",
}  # fmt: skip
GENERIC = _words(
    "object objects thing things item items everything anything stuff sprite sprites emoji emojis icon icons"
)
SUPERCATEGORIES: dict[str, tuple[str, ...]] = {
    "animal": ("animal", "animals", "creature", "creatures"),
    "building": ("building", "buildings"),
    "clothing": ("clothing", "clothes", "garment", "garments", "piece of clothing", "pieces of clothing",
                 "clothing item", "clothing items"),
    "drink": ("drink", "drinks", "beverage", "beverages"),
    "electronics": ("electronics", "electronic device", "electronic devices", "gadget", "gadgets"),
    "food": ("food", "foods", "foodstuff", "food item", "food items"),
    "fruit": ("fruit", "fruits"),
    "health": ("medical item", "medical items", "medical supplies", "health item", "health items"),
    "household": ("household item", "household items", "household object", "household objects"),
    "music": ("musical instrument", "musical instruments", "instrument", "instruments"),
    "plant": ("plant", "plants"),
    "sport": ("sports equipment", "sports item", "sports items", "sport equipment", "sports gear"),
    "stationery": ("stationery", "stationery item", "stationery items", "office supplies"),
    "tool": ("tool", "tools"),
    "toy": ("toy", "toys"),
    "vegetable": ("vegetable", "vegetables", "veggie", "veggies"),
    "vehicle": ("vehicle", "vehicles"),
}  # fmt: skip
"""Words for the table's ``supercategory`` column."""
CONTAINERS = _words("pair bunch box stack piece loaf pairs bunches boxes stacks pieces loaves")
NOT_ALONE = frozenset(("glass", "piece", "pieces", "jean", "scissor"))
"""Parts of names that mean something else when they stand alone."""
EDIBLE = frozenset(("food", "fruit", "vegetable"))


@dataclass(frozen=True, slots=True)
class _Mention:
    start: int
    end: int
    kind: Literal["name", "super", "generic"]
    indices: frozenset[int]


def _tokens(text: str) -> tuple[str, ...]:
    text = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold().replace("\u2019", "'").replace("&", " and ")
    text = re.sub(r"'s?\b|'", "", text)
    return tuple(re.findall(r"[^\W_]+|[,;]", text))[:MAX_TOKENS]


@cache
def _phrases() -> dict[tuple[str, ...], tuple[Literal["name", "super"], frozenset[int]]]:
    """Map every name, plural, synonym and supercategory word, as tokens, to category indices."""
    found: dict[tuple[str, ...], set[int]] = {}
    for index, category in enumerate(categories()):
        for one, many in ((category.name, category.plural), *category.synonyms):
            for form in (one, many):
                found.setdefault(_tokens(form), set()).add(index)
                if "-" in form:
                    found.setdefault(_tokens(form.replace("-", "")), set()).add(index)
    for words, indices in _short_forms().items():
        found.setdefault(words, indices)
    table: dict[tuple[str, ...], tuple[Literal["name", "super"], frozenset[int]]] = {}
    for word, forms in SUPERCATEGORIES.items():
        wanted = EDIBLE if word == "food" else {word}
        members = frozenset(k for k, c in enumerate(categories()) if c.supercategory in wanted)
        for form in forms:
            table[_tokens(form)] = ("super", members)
    short = _short_forms()
    table.update(
        (form, ("name", frozenset(indices)))
        for form, indices in found.items()
        if form and not (form in table and form in short)
    )
    return table


@cache
def _short_forms() -> dict[tuple[str, ...], set[int]]:
    """Map what is left of a longer name, as people shorten it: "scissors" of "pair of scissors", "phone", "tree"."""
    short: dict[tuple[str, ...], set[int]] = {}
    for index, category in enumerate(categories()):
        for form in (_tokens(category.name), _tokens(category.plural)):
            if len(form) == 3 and form[0] in CONTAINERS and form[1] == "of":
                words = {form[2]}
                if form[2].endswith("ies") and form[2] != "fries":
                    words.add(form[2][:-3] + "y")
                elif form[2].endswith("s"):
                    words.add(form[2][:-1])
            elif len(form) > 1 and "of" not in form and "and" not in form:
                words = {form[-1]}
            else:
                continue
            for word in words - NOT_ALONE - CONTAINERS:
                if len(word) >= 3 and word not in GENERIC and word not in COLOURS:
                    short.setdefault((word,), set()).add(index)
    return short


@cache
def _longest() -> int:
    return max(map(len, _phrases()))


@cache
def _vocabulary() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words of one-word names, and of all other names."""
    first = {form[0] for form, (kind, _) in _phrases().items() if kind == "name" and len(form) == 1}
    first &= {token for c in categories() for token in (*_tokens(c.name), *_tokens(c.plural))}
    rest = {token for form in _phrases() for token in form} - first
    return tuple(sorted(t for t in first if len(t) >= 4)), tuple(sorted(t for t in rest if len(t) >= 4))


def _mentions(tokens: tuple[str, ...]) -> list[_Mention]:
    """Return the longest mentions from left to right, none overlapping."""
    table, found, start = _phrases(), [], 0
    while start < len(tokens):
        for end in range(min(len(tokens), start + _longest()), start, -1):
            if tokens[start:end] in table:
                kind, indices = table[tokens[start:end]]
                found.append(_Mention(start, end, kind, indices))
                start = end
                break
        else:
            if tokens[start] in GENERIC and tokens[start + 1 : start + 2] != ("of",):
                found.append(_Mention(start, start + 1, "generic", frozenset(range(len(categories())))))
            start += 1
    return found


def _corrected(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Replace unknown long words by the word of a name that they nearly are."""
    known = FILLERS | CLAUSE_STARTS | JOINERS | ADJECTIVES | GENERIC | set(COLOURS)
    out = []
    for token in tokens:
        if 4 <= len(token) <= 24 and token not in known:
            for words in _vocabulary():
                close = difflib.get_close_matches(token, words, n=1, cutoff=0.83)
                if close:
                    token = close[0]
                    break
        out.append(token)
    return tuple(out)


def _head(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Cut a relative or interrogative clause off: only the noun phrase in front of it names anything."""
    for index, token in enumerate(tokens):
        if token in CLAUSE_STARTS and not (token == "that" and index == 0):  # "that apple" is a noun phrase
            return tokens[:index]
    return tokens


def _filtered(tokens: tuple[str, ...], mention: _Mention) -> frozenset[int]:
    """Apply the colour words right in front of a generic or supercategory word."""
    wanted = set()
    for token in reversed(tokens[: mention.start]):
        if token in COLOURS:
            wanted.add(COLOURS[token])
        elif token not in JOINERS and token not in ("coloured", "colored"):
            break
    if mention.kind == "name" or not wanted:
        return mention.indices
    return frozenset(k for k in mention.indices if wanted <= set(categories()[k].colours))


@lru_cache(maxsize=4096)
def _match(phrase: str) -> tuple[int, ...]:
    whole = _tokens(phrase)
    tokens = _head(whole)
    mentions = _mentions(tokens)
    if not mentions and len(tokens) <= MAX_TOKENS_FOR_TYPOS:
        tokens = _corrected(tokens)
        mentions = _mentions(tokens)
    if not mentions:
        return ()
    first = mentions[0]
    if first.kind == "generic":
        allowed = FILLERS | JOINERS | set(COLOURS) | {"coloured", "colored"}
        rest = tokens[: first.start] + tokens[first.end :]
        if len(mentions) > 1 or len(tokens) < len(whole) or not allowed.issuperset(rest):
            return ()
    chosen = set(_filtered(tokens, first))
    passable = FILLERS | JOINERS | ADJECTIVES | set(COLOURS)
    for before, mention in pairwise(mentions):
        between = tokens[before.end : mention.start]
        if mention.kind == "generic" or not passable.issuperset(between) or not JOINERS.intersection(between):
            break
        chosen |= _filtered(tokens, mention)
    return tuple(sorted(chosen))


def match_phrase(phrase: str) -> tuple[int, ...]:
    """Find the categories that a noun phrase names.

    Names, plurals, synonyms, supercategory words and generic words count, articles, case and small typos do not. The
    first name is the head of the phrase; names joined to it by "and", "or" or a comma count too. A colour narrows down
    supercategory and generic words only. Whatever follows "that", "which", "what" and the like is not looked at.

    Args:
        phrase: Any text; its first 400 characters are read.

    Returns:
        Indices into :func:`~visenv.experts.embedded.names.categories`, ascending; empty when nothing is named.

    Example:
        >>> from visenv.experts.embedded.names import categories
        >>> [categories()[k].name for k in match_phrase("the apples left of the car")]
        ['apple']
        >>> match_phrase("what keeps a swimmer afloat in rough water")
        ()
    """
    return _match(phrase[:MAX_CHARACTERS])
