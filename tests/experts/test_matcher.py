"""From phrases to categories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visenv.experts.embedded.matcher import match_phrase
from visenv.experts.embedded.names import categories

NAMES = [c.name for c in categories()]
TASKS = Path(__file__).parents[2] / "tasks/emojiworld/data"


def named(phrase: str) -> set[str]:
    return {NAMES[k] for k in match_phrase(phrase)}


@pytest.mark.parametrize(
    ("phrase", "expected", "why"),
    [
        ("apple", {"apple"}, "a name"),
        ("  The APPLES. ", {"apple"}, "case, article, plural, stop"),
        ("every single apple", {"apple"}, "quantifiers"),
        ("the cat on the left", {"cat"}, "more words than the name"),
        ("the apples left of the car", {"apple"}, "the first name is the head"),
        ("the apple next to the car and the dog", {"apple"}, "a conjunction inside a relation"),
        ("the apple and the car", {"apple", "car"}, "conjunction"),
        ("apples, cars or a big red bus", {"apple", "car", "bus"}, "list with adjectives"),
        ("detect every apple and every car", {"apple", "car"}, "a command"),
        ("draw a box around each dress", {"dress"}, "a command with a word that ends longer names"),
        ("hot dog", {"hot dog"}, "the longest name"),
        ("hot dogs and dogs", {"hot dog", "dog"}, "both"),
        ("life rings", {"ring buoy"}, "a synonym's plural"),
        ("ring", {"ring"}, "not the buoy"),
        ("T-Shirts", {"t-shirt"}, "hyphen"),
        ("tshirt", {"t-shirt"}, "hyphen left out"),
        ("ship\u2019s anchor", {"anchor"}, "typographic apostrophe"),
        ("scissors", {"pair of scissors"}, "without the measure word"),
        ("phone", {"mobile phone"}, "the last word of one longer name"),
        ("trees", {"palm tree", "pine tree"}, "the last word of two"),
        ("red car", {"car"}, "a colour does not narrow a name down"),
        ("red fruit", {c.name for c in categories() if c.supercategory == "fruit" and "red" in c.colours}, "filter"),
        ("gray animals", {c.name for c in categories() if c.supercategory == "animal" and "grey" in c.colours}, "grey"),
        ("musical instruments", {c.name for c in categories() if c.supercategory == "music"}, "supercategory"),
        ("red object", {c.name for c in categories() if "red" in c.colours}, "colour and a generic word"),
        ("all objects", set(NAMES), "generic"),
        ("everything", set(NAMES), "generic"),
        ("the largest object", set(), "a generic word with more to it"),
        ("the object nearest to the clock", set(), "the head is generic"),
        ("the only thing that is upside down", set(), "a clause decides"),
        ("the apple that is left of the car", {"apple"}, "only the noun phrase counts"),
        ("what keeps a swimmer afloat in rough water", set(), "no noun phrase at all"),
        ("which animal gives wool", set(), "a question names nothing"),
        ("strawbery", {"strawberry"}, "typo"),
        ("hammar", {"hammer"}, "typo"),
        ("swimmer", set(), "no such thing"),
        ("", set(), "empty"),
        ("\U0001f34e", set(), "a picture of an apple is not its name"),
        ("apple" * 5000, set(), "huge"),
    ],
)
def test_phrases(phrase: str, expected: set[str], why: str) -> None:
    assert named(phrase) == expected, why


def test_every_name_finds_its_category() -> None:
    for category in categories():
        for one, many in ((category.name, category.plural), *category.synonyms):
            assert category.name in named(one), one
            assert category.name in named(f"all the {many}"), many


def test_names_are_exact() -> None:
    for category in categories():
        assert named(category.name) == {category.name}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.lists(st.sampled_from(["the", "red", "apple", "and", ",", "thing", "that", "of", "'s",
                                                      "bunch", "-", "cars", "left"])).map(" ".join))  # fmt: skip
def test_never_raises(phrase: str) -> None:
    found = match_phrase(phrase)
    assert list(found) == sorted(set(found))
    assert all(0 <= k < len(NAMES) for k in found)


def test_knows_no_facts() -> None:
    """A question finds its own answer hardly ever."""
    facts = json.loads((TASKS / "facts.json").read_text(encoding="utf-8"))
    queries = [(f"{start} {f['text']}", set(f["true"])) for f in facts for start in ("what", "the object that")]
    hits = sum(bool(named(query) & true) for query, true in queries)
    assert hits <= 0.005 * len(queries)
