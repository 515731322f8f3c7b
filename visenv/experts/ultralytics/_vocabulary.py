"""From a noun phrase to the classes of a model that knows a fixed list of them: by name and synonym.

Grammar is not read: what stands before a name is taken to say more about the thing, as in "race car", but for words known to make
another thing of it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise

from ..embedded.matcher import ADJECTIVES, CLAUSE_STARTS, COLOURS, FILLERS, GENERIC, JOINERS

__all__ = ["Vocabulary"]

MAX_CHARACTERS = 400
MAX_TOKENS = 64
IRREGULAR = {
    "calves": "calf", "children": "child", "feet": "foot", "geese": "goose", "knives": "knife", "leaves": "leaf", "men": "man",
    "mice": "mouse", "oxen": "ox", "people": "person", "shelves": "shelf", "teeth": "tooth", "wolves": "wolf", "women": "woman",
}  # fmt: skip
AFTER = frozenset(
    "about above across against along among around at before behind below beneath beside between beyond by down facing for from "
    "in inside into like near next of off on onto opposite out outside over past through to toward towards under up upon with "
    "within without closest nearest farthest furthest visible there here , ;".split()
)
"""Words that may follow a name without making it another thing's name, as "car" in "car door" is."""
AMOUNTS = frozenset(
    "bunch bunches couple crowd flock group groups herd number pair pairs piece pieces row rows set slice slices stack".split()
)
"""Words in front of "of" that name nothing by themselves."""

SHAPES = frozenset("coloured colored flavoured flavored patterned printed shaped sized styled themed".split())
"""Words behind a name that make it say what something else is like: "cat-shaped vase"."""
NEGATIONS = frozenset("but except excluding neither never no non nor not without".split())
"""Words from which on nothing is asked for."""
IMITATIONS = frozenset("fake imitation inflatable model plush stuffed toy".split())
"""Words in front of a name that make another thing of it: "toy car". So does the picture or the statue of it, by :data:`AFTER`."""
OTHERS = frozenset(
    tuple(name.split()) for name in ("guinea pig", "hot dog", "rocking horse", "sea horse", "sea lion", "teddy bear")
)
"""Names that end in the name of another thing."""
TOYS = frozenset({("teddy", "bear"), ("teddy", "bears"), ("teddy",), ("teddies",)})
"""Names that are of imitations already: "stuffed teddy bear"."""


class Vocabulary:
    """The classes of a model, by the names that a person might use.

    A class is named by its name, by a slash-separated alternative of it, or by a synonym of the table in ``data/synonyms.json`` (for
    the 80 classes of COCO), in the singular or the plural. Names joined by "and", "or" or a comma all count; what follows "that",
    "which" and the like is not looked at, and neither is what stands in front, but for a few words that make another thing of it: a
    closed detector cannot tell a red car from a blue one, so "red car" means every car. "object" and the like alone mean every class.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        """Take the class numbers and names of a model."""
        self.names = dict(names)
        self._forms: dict[tuple[str, ...], set[int]] = {}
        own = {number: [_tokens(part) for part in _alternatives(name)] for number, name in self.names.items()}
        for number, forms in own.items():
            for form in forms:
                self._add(form, number)
        known = set(self._forms)
        for number, forms in own.items():
            for form in forms:
                for synonym in _synonyms().get(form, ()):
                    if synonym not in known:  # a class's own name comes first
                        self._add(synonym, number)
        for form in OTHERS:
            self._forms.setdefault(form, set())
        self._longest = max(map(len, self._forms))
        self.match = lru_cache(maxsize=4096)(self._match)
        """``match(phrase)`` gives the classes that a phrase names, ascending; none when it names none."""

    def _add(self, form: tuple[str, ...], number: int) -> None:
        if form:
            self._forms.setdefault(_singular(form), set()).add(number)
            self._forms.setdefault(form, set()).add(number)

    def _match(self, phrase: str) -> tuple[int, ...]:
        tokens = _head(_tokens(phrase))
        rest = [t for t in tokens if t not in FILLERS and t not in JOINERS]
        if rest and set(rest) <= GENERIC:
            return tuple(sorted(self.names))
        mentions = self._mentions(tokens)
        if not mentions:
            return ()
        chosen = set(mentions[0][2])
        passable = FILLERS | JOINERS | ADJECTIVES | set(COLOURS)
        for (_, end, _), (start, _, numbers) in pairwise(mentions):
            between = tokens[end:start]
            if not passable.issuperset(between) or not JOINERS.intersection(between):
                break
            chosen |= numbers
        return tuple(sorted(chosen))

    def _mentions(self, tokens: tuple[str, ...]) -> list[tuple[int, int, set[int]]]:
        """Return where names stand, from left to right, the longest first at each place, and which classes they name."""
        found: list[tuple[int, int, set[int]]] = []
        start = 0
        while start < len(tokens):
            for end in range(min(len(tokens), start + self._longest), start, -1):
                part = tokens[start:end]
                numbers = self._forms.get(part, self._forms.get(_singular(part)))
                if numbers is not None and _ends_name(tokens, end):
                    found.append((start, end, set() if part not in TOYS and _is_imitation(tokens, start) else numbers))
                    start = end
                    break
            else:
                if tokens[start] in NEGATIONS or (
                    not found
                    and start
                    and tokens[start] in AFTER
                    and not (tokens[start] == "of" and tokens[start - 1] in AMOUNTS)
                ):
                    break  # "the lid of the cup" names no cup
                start += 1
        return found


def _is_imitation(tokens: tuple[str, ...], start: int) -> bool:
    """Whether what stands before a name makes another thing of it."""
    before = [token for token in tokens[:start] if token not in ADJECTIVES and token not in COLOURS]
    return bool(before) and before[-1] in IMITATIONS


def _ends_name(tokens: tuple[str, ...], end: int) -> bool:
    """Whether what follows leaves a name the name of the thing."""
    if end == len(tokens):
        return True
    following = tokens[end]
    if following in SHAPES:
        return False
    known = AFTER | JOINERS | FILLERS | ADJECTIVES | NEGATIONS
    return following in known or following.endswith(("ing", "ed")) or following.isdigit()


def _tokens(text: str) -> tuple[str, ...]:
    text = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold().replace("\u2019", "'").replace("&", " and ")
    text = re.sub(r"'s?\b|'", "", text).replace("-like", "-shaped")
    return tuple(re.findall(r"[^\W_]+|[,;]", text))[:MAX_TOKENS]


def _alternatives(name: str) -> list[str]:
    """Return the names that a class has: ``couch/sofa`` has two, ``mouse_(computer)`` is a mouse."""
    return re.sub(r"\([^()]*\)", " ", name).split("/")


def _singular(tokens: tuple[str, ...]) -> tuple[str, ...]:
    return (*tokens[:-1], _one(tokens[-1])) if tokens else ()


def _one(word: str) -> str:
    """Return the singular of a word, or for words like "bus" always the same other word."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes", "oes")):
        return word[:-2]
    if word.endswith("buses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def _head(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Cut a relative or interrogative clause off."""
    for index, token in enumerate(tokens):
        if token in CLAUSE_STARTS and not (token == "that" and index == 0):
            return tokens[:index]
    return tokens


@cache
def _synonyms() -> dict[tuple[str, ...], Sequence[tuple[str, ...]]]:
    table = json.loads((files(__package__) / "data" / "synonyms.json").read_text(encoding="utf-8"))
    return {_tokens(name): [_tokens(one) for one in others] for name, others in table.items()}
