"""The tables of EmojiWorld are complete, and facts stay with the generator."""

from __future__ import annotations

import ast
import string
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from visenv.tasks.emojiworld.queries import _templates, facts, facts_of
from visenv.tasks.emojiworld.render import WORDS, sprites
from visenv.tasks.emojiworld.words import article, confusable, joined, stems

from visenv.experts.embedded.names import Category, categories, category

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = ROOT / "tasks" / "emojiworld"
COLOURS = set("red orange yellow green blue purple pink brown black white grey gold teal".split())


@pytest.mark.parametrize("entry", categories(), ids=lambda c: c.name)
def test_category(entry: Category) -> None:
    assert entry.plural
    assert 1 <= len(entry.synonyms) <= 4
    assert entry.colours
    assert set(entry.colours) <= COLOURS
    assert len(facts_of(entry.name, "train")) >= 3
    assert len(facts_of(entry.name, "test")) == 1
    assert category(entry.name) is entry


def test_names_are_unique() -> None:
    names = Counter(name for c in categories() for name in (c.name, *(one for one, _ in c.synonyms)))
    assert [n for n, times in names.items() if times > 1] == []


def test_novel_categories_are_spread() -> None:
    groups: dict[str, list[bool]] = {}
    for c in categories():
        groups.setdefault(c.supercategory, []).append(c.novel)
    assert all(1 <= sum(novel) < len(novel) / 2 for novel in groups.values())
    assert 0.13 <= sum(c.novel for c in categories()) / len(categories()) <= 0.18


def test_facts_do_not_give_the_name_away() -> None:
    for fact in facts():
        for name in fact.true:
            words = stems(" ".join([name, *(one for one, _ in category(name).synonyms)]))
            assert not words & stems(fact.text), (fact.text, name)
        assert not fact.true & fact.maybe
        assert all(category(name) for name in fact.true | fact.maybe)


def test_fact_texts_are_unique() -> None:
    assert len({f.text for f in facts()}) == len(facts())


@pytest.mark.parametrize("kind", _templates())
def test_templates(kind: str) -> None:
    table = _templates()[kind]
    assert set(table) == {"train", "test"}
    if kind != "ref.singular":  # "the apple": there is only one way
        assert not set(table["train"]) & set(table["test"])
    slots = [{name for _, name, _, _ in string.Formatter().parse(t) if name} for ts in table.values() for t in ts]
    if kind not in ("dense", "multi.only"):
        assert all(s == slots[0] for s in slots)


def test_only_the_generator_reads_facts() -> None:
    """No module outside the generator imports ``queries`` or names its tables."""
    for room in ("visenv", "agents", "leaderboard", "tasks", "scripts"):
        for path in (ROOT / room).rglob("*.py"):
            if GENERATOR in path.parents:
                continue
            text = path.read_text(encoding="utf-8")
            assert "facts.json" not in text, path
            assert "templates.json" not in text, path
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ImportFrom):
                    modules = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
                elif isinstance(node, ast.Import):
                    modules = [a.name for a in node.names]
                else:
                    continue
                assert not any(m.endswith("emojiworld.queries") for m in modules), path


def test_families_do_not_export_facts() -> None:
    import visenv.tasks.emojiworld as public

    assert public.__all__ == ["EmojiCount", "EmojiDense", "EmojiMulti", "EmojiReason", "EmojiRef"]


def test_every_category_has_a_sprite() -> None:
    assert list(sprites()) == [c.name for c in categories()]
    with Image.open(GENERATOR / "data" / "atlas.png") as atlas:
        assert atlas.mode == "RGBA"
        assert atlas.width * atlas.height // 128**2 >= len(categories())
    assert (GENERATOR / "data" / "atlas.png").stat().st_size < 4_000_000


def test_signs_say_no_category() -> None:
    known = {s for c in categories() for s in stems(c.name)}
    assert not any(stems(word) & known for word in WORDS)


def test_confusable_is_symmetric() -> None:
    assert "police car" in confusable()["car"]
    assert all(a in confusable()[b] for a, others in confusable().items() for b in others)


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("apple", "an apple"), ("car", "a car"), ("unicorn", "a unicorn"), ("umbrella", "an umbrella"), ("UFO", "a UFO")],
)
def test_article(noun: str, expected: str) -> None:
    assert article(noun) == expected


@pytest.mark.parametrize(
    ("parts", "expected"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_joined(parts: list[str], expected: str) -> None:
    assert joined(parts) == expected
