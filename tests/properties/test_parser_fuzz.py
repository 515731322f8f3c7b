"""Random and mutated replies through every parser: nothing but ParseError, and no call accepted that the schema forbids.

Ten seconds for each grammar, over all toolsets and coordinates; ``pytest -m acceptance`` sends a million replies through each. The seed
is another in every run and stands in the message of a failure; ``VISENV_FUZZ_SEED`` sets it.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from visenv import ToolCallSpace, plugins
from visenv.coordinates import COORDINATES
from visenv.grammars import GRAMMARS, Grammar, ParseError, make_grammar
from visenv.testing._schema import accepts
from visenv.tools import CallError, Toolset, check_call, express_call

SECONDS = 10.0
MILLION = 1_000_000
SIZES_WH = {"img_0": (512, 384), "img_1": (1333, 2000)}
CALLS = 12
"""Sampled calls of each toolset that replies are made of."""
VALUES = (
    "-1", "1001", "0.5", "1e400", "NaN", "Infinity", "true", "null", '""', '" "', '"\\ud800"', "[]", "{}", "[[0]]", "[0, 0]", "[-1]", '["img_0"]',
    "9" * 400, '{"a": 1}', "00", "1.0", "1e2", '"90"', '"positive"', '"img_0"', '"\u0661"', "\u0661", "0x10", "'a'", "1_000", "[" * 30,
)  # fmt: skip
MARKUP = (
    "<tool_call>", "</tool_call>", "<TOOL_CALL>", "< tool_call >", "<tool_call/>", "<think>", "</think>", "<action>", "</action>", "<answer>",
    "</answer>", "<tool>", "</tool>", "<function=crop>", "</function>", "<parameter=image>", "</parameter>", "```json\n", "\n```", "```",
    '"name":', '"arguments":', '"parameters":', '"thought":', "tool_calls", "\\", '"', "{", "}", "[", "]", ",", ":", "\n", "\x00", "\u202e", "\ud800",
    "\u2028", "\x85", "e\u0301", "</tool_call><tool_call>", "<|im_end|>", "</s>", " ", "\t", "\r", "//", "/*",
)  # fmt: skip
Mutation = Callable[[random.Random, str, list[str]], str]


def _cut(rng: random.Random, text: str, pool: list[str]) -> str:
    start, end = _places(rng, text)
    return text[:start] + text[end:]


def _repeat(rng: random.Random, text: str, pool: list[str]) -> str:
    start, end = _places(rng, text)
    return text[:end] + text[start:end] * rng.choice((1, 1, 2, 50)) + text[end:]


def _move(rng: random.Random, text: str, pool: list[str]) -> str:
    start, end = _places(rng, text)
    rest = text[:start] + text[end:]
    at = rng.randint(0, len(rest))
    return rest[:at] + text[start:end] + rest[at:]


def _insert(rng: random.Random, text: str, pool: list[str]) -> str:
    at = rng.randint(0, len(text))
    return text[:at] + rng.choice(MARKUP) + text[at:]


def _character(rng: random.Random, text: str, pool: list[str]) -> str:
    at = rng.randrange(len(text)) if text else 0
    return (
        text[:at]
        + chr(rng.choice((rng.randrange(128), rng.randrange(0x3000), rng.randrange(0x110000))))
        + text[at + 1 :]
    )


def _value(rng: random.Random, text: str, pool: list[str]) -> str:
    """Put another value in the place of one that stands behind a colon or a tag."""
    places = [i + 1 for i, c in enumerate(text) if c in ":>"]
    if not places:
        return text + rng.choice(VALUES)
    start = rng.choice(places)
    end = next((i for i in range(start, len(text)) if text[i] in ",}<"), len(text))
    return text[:start] + rng.choice(VALUES) + text[end:]


def _splice(rng: random.Random, text: str, pool: list[str]) -> str:
    other = rng.choice(pool)
    return text[: rng.randint(0, len(text))] + other[rng.randint(0, len(other)) :]


def _swap_case(rng: random.Random, text: str, pool: list[str]) -> str:
    start, end = _places(rng, text)
    return text[:start] + text[start:end].swapcase() + text[end:]


MUTATIONS: tuple[Mutation, ...] = (
    _cut,
    _repeat,
    _move,
    _insert,
    _insert,
    _character,
    _value,
    _value,
    _value,
    _splice,
    _swap_case,
)


def _places(rng: random.Random, text: str) -> tuple[int, int]:
    start = rng.randint(0, len(text))
    return start, min(len(text), start + rng.choice((1, 1, 3, 10, 40)))


def _random(rng: random.Random) -> str:
    parts = (
        rng.choice((*MARKUP, *VALUES)) if rng.random() < 0.8 else chr(rng.randrange(0x110000))
        for _ in range(rng.randint(0, 20))
    )
    return "".join(parts)


def _message(rng: random.Random, text: str) -> Any:
    """Make a native message of text that may be one, with a part of it replaced."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = {"content": text, "tool_calls": [{"function": {"name": "submit", "arguments": text}}]}
    node = found
    for _ in range(rng.randint(0, 5)):
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        if not keys:
            break
        key = rng.choice(keys)
        if rng.random() < 0.3:
            node[key] = rng.choice((None, 1, 1.5, "", "submit", [], {}, [1], {"name": 1}, True, object(), text))
        node = node[key]
    return found if isinstance(found, dict) else {"content": None, "tool_calls": found}


def replies(rng: random.Random, grammar: Grammar, toolset: Toolset, others: list[str]) -> Iterator[Any]:
    """Yield replies without end: calls as the grammar writes them, bent one to four times, those of other grammars, and noise."""
    space = ToolCallSpace(toolset, seed=rng.randrange(2**31))
    pool = [*others]
    for _ in range(CALLS):
        call = express_call(toolset, space.sample(), coordinates=grammar.coordinates, sizes_wh=SIZES_WH)
        pool.append(grammar.render(call, toolset, rng.choice(("", "I look.", "<think>Hm.</think>"))))
    while True:
        text = rng.choice(pool) if rng.random() < 0.9 else _random(rng)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4))):
            text = rng.choice(MUTATIONS)(rng, text, pool)[:4000]
        yield _message(rng, text) if grammar.sends_tools and rng.random() < 0.4 else text


def check(grammar: Grammar, toolset: Toolset, reply: Any) -> bool:
    """Check one reply; return whether it was taken for a valid call."""
    try:
        call = grammar.parse(reply, toolset).call
    except ParseError as error:
        assert error.code in grammar.error_codes and "\n" not in str(error)
        return False
    assert set(call) == {"name", "arguments"} and isinstance(call["name"], str) and isinstance(call["arguments"], dict)
    try:
        clean = check_call(toolset, call, coordinates=grammar.coordinates, sizes_wh=SIZES_WH)
    except CallError as error:
        assert error.code and len(str(error)) < 5000
        return False
    tool = toolset[clean["name"]]
    for arguments, schema in (
        (call["arguments"], tool.schema_in(grammar.coordinates)),
        (clean["arguments"], tool.schema),
    ):
        assert set(schema["required"]) <= set(arguments) <= set(schema["properties"])
        assert all(accepts(schema["properties"][name], value) for name, value in arguments.items())
    return True


def fuzz(name: str, *, seconds: float | None = None, number: int | None = None) -> tuple[int, int]:
    """Send replies through a grammar's parser, a toolset and a way of writing places after the other; return how many, and how many were valid."""
    seed = int(os.environ.get("VISENV_FUZZ_SEED", random.SystemRandom().randrange(2**32)))
    rng = random.Random(f"{seed} {name}")
    toolsets: list[Toolset] = [plugins.load("toolsets", one) for one in plugins.names("toolsets")]
    grammars = [make_grammar(f"{name}:coordinates={one}") for one in COORDINATES]
    streams = [(g, t, replies(rng, g, t, _foreign(rng, t))) for g in grammars for t in toolsets]
    end = None if seconds is None else time.monotonic() + seconds
    done = valid = 0
    while (end is None or time.monotonic() < end) and (number is None or done < number):
        for grammar, toolset, stream in streams:
            for _ in range(20):
                reply = next(stream)
                try:
                    valid += check(grammar, toolset, reply)
                except Exception as error:
                    raise AssertionError(
                        f"VISENV_FUZZ_SEED={seed}: {name} with {grammar.coordinates} and {toolset.name}, reply {done}: {reply!r}"
                    ) from error
                done += 1
    return done, valid


def _foreign(rng: random.Random, toolset: Toolset) -> list[str]:
    """Write a call in every grammar there is."""
    space = ToolCallSpace(toolset, seed=rng.randrange(2**31))
    return [make_grammar(name).render(space.sample(), toolset, "Hm.") for name in GRAMMARS]


@pytest.mark.parametrize("name", sorted(GRAMMARS))
def test_ten_seconds_of_replies(name):
    done, valid = fuzz(name, seconds=SECONDS)
    assert done > 3000 and 0.02 * done < valid < 0.6 * done, (
        f"{valid} of {done}: replies that are all refused test little"
    )


@pytest.mark.acceptance
@pytest.mark.parametrize("name", sorted(GRAMMARS))
def test_a_million_replies(name):
    done, valid = fuzz(name, number=MILLION)
    assert done >= MILLION and 0.02 * done < valid < 0.6 * done


def test_a_failure_says_how_to_see_it_again(monkeypatch):
    def broken(self, reply, toolset):
        raise KeyError("lost")

    monkeypatch.setattr(GRAMMARS["hermes"], "parse", broken)
    monkeypatch.setenv("VISENV_FUZZ_SEED", "7")
    said = set()
    for _ in range(2):
        with pytest.raises(AssertionError, match="VISENV_FUZZ_SEED=7: hermes with") as caught:
            fuzz("hermes", number=10)
        said.add(str(caught.value))
    assert len(said) == 1, "the same seed, the same reply"


def test_an_accepted_call_that_the_schema_forbids_would_be_found(monkeypatch):
    monkeypatch.setattr(
        "test_parser_fuzz.check_call" if "test_parser_fuzz" in globals() else f"{__name__}.check_call",
        lambda toolset, call, **_: {"name": "crop", "arguments": call["arguments"]},
    )
    full = plugins.load("toolsets", "full")
    reply = make_grammar("hermes").render({"name": "crop", "arguments": {"image": "img_0", "x1": -1}}, full)
    with pytest.raises(AssertionError):
        check(make_grammar("hermes"), full, reply)
