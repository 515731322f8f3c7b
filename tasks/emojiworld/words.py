"""English for the generator: articles, lists, and which categories' names could be taken for one another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from visenv.experts.embedded.names import categories, category

from .rng import Rng

__all__ = ["article", "confusable", "joined", "named", "sentence", "stems"]

FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "and",
        "in",
        "on",
        "with",
        "to",
        "from",
        "pair",
        "piece",
        "bunch",
        "stack",
        "box",
        "set",
        "loaf",
        "roll",
    ]
)
LOOK_ALIKES: tuple[frozenset[str], ...] = tuple(
    frozenset(group.split(", "))
    for group in (
        "car, police car, ambulance",
        "ambulance, fire engine, bus",
        "football, soccer ball",
        "lizard, tyrannosaur, sauropod",
        "mobile phone, telephone",
        "pine tree, palm tree",
        "egg, frying pan",
        "maple leaf, four-leaf clover, potted plant",
        "tangerine, peach, mango",
        "apple, tomato",
        "sailboat, canoe, cargo ship",
        "ring, gemstone, ring buoy",
        "candle, flame",
        "wine glass, beer mug, tropical drink",
        "handbag, backpack",
        "chicken, drumstick",
        "alarm clock, compass",
        "paintbrush, pencil, paint palette",
        "couch, light bulb",
        "rose, tulip, sunflower, cherry blossom",
        "saxophone, trumpet",
        "guitar, violin",
        "high heel, running shoe",
        "cookie, chocolate bar",
        "bee, ladybug, ant",
        "stack of books, newspaper",
        "pair of gloves, boxing glove",
        "bow and arrow, dartboard",
        "rock, moai statue",
        "cactus, potted plant",
        "medal, trophy",
        "pushpin, syringe",
    )
)
"""Groups that share a loose name ("a phone", "a ball") or show one another."""
CONSONANT_START = re.compile(r"(?i)(uni|use|usa|eu|one|ufo)")
SILENT_H = re.compile(r"(?i)(hour|heir|honest)")


def stem(word: str) -> str:
    """Return a word without its inflection, roughly."""
    word = word.lower()
    for ending in ("ies", "es", "s", "ing", "ed", "er"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def stems(text: str) -> frozenset[str]:
    """Return the stems of the words that carry meaning."""
    return frozenset(stem(w) for w in re.findall(r"[a-z']+", text.lower()) if w not in FILLERS)


@cache
def confusable() -> dict[str, frozenset[str]]:
    """Return for every category the others that must not be around when a question names it."""
    words = {c.name: stems(" ".join([c.name, *(one for one, _ in c.synonyms)])) for c in categories()}
    out = {}
    for name, own in words.items():
        similar = {other for other, its in words.items() if own & its}
        for group in LOOK_ALIKES:
            if name in group:
                similar |= group & words.keys()
        out[name] = frozenset(similar - {name})
    return out


def article(noun: str) -> str:
    """Return the noun with "a" or "an" before it."""
    vowel = noun[0].lower() in "aeiou" and not CONSONANT_START.match(noun)
    return f"{'an' if vowel or SILENT_H.match(noun) else 'a'} {noun}"


def joined(parts: Sequence[str]) -> str:
    """Return "a", "a and b", or "a, b and c"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def named(name: str, rng: Rng, *, plural: bool = False, synonyms: bool = True) -> str:
    """Return what to call a category: its name, or now and then a synonym."""
    entry = category(name)
    names = [(entry.name, entry.plural), *entry.synonyms]
    return (rng.choice(names) if synonyms and rng.chance(0.15) else names[0])[plural]


def sentence(text: str) -> str:
    """Return the text with a capital first letter."""
    return text[0].upper() + text[1:]
