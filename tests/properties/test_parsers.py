"""Whatever a model writes, parsers classify it and never raise anything else; what they write they read back."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from visenv import ToolCallSpace, plugins, strict_json
from visenv.arguments import NO_LINE, ChoiceKind
from visenv.coordinates import COORDINATES
from visenv.grammars import GRAMMARS, ParseError, make_grammar
from visenv.tools import CallError, check_call, express_call
from visenv.toolsets import FULL
from visenv.vision import FAMILIES, make_vision

TOOLSETS = {name: plugins.load("toolsets", name) for name in plugins.names("toolsets")}
TOOLS = [(toolset, tool) for toolset in TOOLSETS.values() for tool in toolset.tools]
FRAGMENTS = [
    "<tool_call>", "</tool_call>", "<TOOL_CALL >", "<think>", "</think>", "{", "}", '"name"', '"arguments"', ":", ",", "NaN", "1e999",
    '{"name": "detect", "arguments": {"images": ["img_0"], "phrase": "a"}}', '{"name": "submit", "arguments": {}}', "\\ud800", "null",
    '{"content": null, "tool_calls": [{"function": {"name": "submit", "arguments": "{}"}}]}', "[" * 40, "é", "\u202e", "\x00", "9" * 5000, "<" + " " * 30_000,
    "<action>", "</action>", "<answer>", "</answer>", "<tool>", "</tool>", '{"name": "submit", "parameters": {}}', "```json\n", "\n```", '{"thought": 3, ',
    "<function=detect>", "</function>", "<parameter=images>", '["img_0"]', "<parameter=phrase>", "</parameter>", "<function=", "<parameter" * 500,
]  # fmt: skip
PHRASES = [
    "a <tool_call> b",
    "</tool_call>",
    "x</think>",
    "<",
    'é"\\',
    '"quoted"',
    " a ",
    "a\n",
    "12",
    "true",
    "[1]",
    "</parameter>",
    "<function=x>",
]
MODEL_TEXT = st.one_of(st.text(max_size=300), st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", sorted(GRAMMARS))
@settings(max_examples=300, deadline=None)
@given(reply=MODEL_TEXT | st.dictionaries(st.sampled_from(["content", "tool_calls", "role"]), JSON))
def test_any_reply_parses_or_is_classified(name, reply):
    grammar = make_grammar(name)
    try:
        call = grammar.parse(reply, FULL).call
    except ParseError as error:
        assert error.code in grammar.error_codes and "\n" not in str(error)
        assert grammar.format_reward(reply, FULL) == 0.0
    else:
        assert set(call) == {"name", "arguments"} and isinstance(call["arguments"], dict)
        assert grammar.format_reward(reply, FULL) == 1.0


SAMPLED = st.builds(
    lambda seed, thought, phrase: (seed, thought, phrase if phrase.strip() else "a"),
    st.integers(0, 2**31), st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=50),
    st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(PHRASES),
)  # fmt: skip


@pytest.mark.parametrize("toolset", sorted(TOOLSETS))
@pytest.mark.parametrize("coordinates", sorted(COORDINATES))
@pytest.mark.parametrize("name", sorted(GRAMMARS))
@settings(max_examples=30, deadline=None)
@given(sampled=SAMPLED, vision=st.sampled_from(sorted(FAMILIES)), side_px=st.integers(1000, 4000))
@example(sampled=(355, "", "a"), vision="qwen3-vl", side_px=1000)
def test_every_sampled_call_survives_writing_and_reading(name, coordinates, toolset, sampled, vision, side_px):
    """Pixels of pictures that are seen below 1,000 px say less than 0-1000 does: tests/properties/test_coordinates.py."""
    (seed, thought, phrase), tools = sampled, TOOLSETS[toolset]
    space = ToolCallSpace(tools, seed=seed)
    call = space.sample()
    assert space.contains(call)
    told_back = {"phrase", "label", "claim"} & set(call["arguments"])
    for argument in told_back:
        call["arguments"][argument] = phrase
    grammar = make_grammar(f"{name}:coordinates={coordinates}")
    as_seen = {
        "coordinates": grammar.coordinates.seen_by(make_vision(vision)),
        "sizes_wh": {"img_0": (side_px, 3000), "img_1": (1200, side_px)},
    }
    written = express_call(tools, call, **as_seen)
    parsed = grammar.parse(grammar.render(written, tools, thought), tools)
    assert parsed.call == written and parsed.thought.strip() == thought.strip()
    if told_back and NO_LINE.search(phrase):
        with pytest.raises(CallError, match="on one line"):
            check_call(tools, parsed.call, **as_seen)
    else:
        read = check_call(tools, parsed.call, **as_seen)
        assert express_call(tools, read, **as_seen) == written
        seen_px = [side for size in as_seen["sizes_wh"].values() for side in as_seen["coordinates"].seen_wh(size)]
        assert read == call or min(seen_px) < 1000


@settings(max_examples=600, deadline=None)
@given(call=JSON | st.builds(lambda n, a: {"name": n, "arguments": a}, st.sampled_from(FULL.names), st.dictionaries(
    st.sampled_from(["image", "images", "phrase", "objects", "x", "x1", "sign"]), JSON)))  # fmt: skip
def test_a_call_is_valid_exactly_when_the_validator_takes_it(call):
    space = ToolCallSpace(FULL)
    try:
        clean = check_call(FULL, call)
    except CallError as error:
        assert not space.contains(call) and error.code and len(str(error)) < 2500
    else:
        assert space.contains(call)
        assert check_call(FULL, json.loads(json.dumps(clean))) == clean


@pytest.mark.parametrize(("toolset", "tool"), TOOLS, ids=[f"{toolset.name}/{tool.name}" for toolset, tool in TOOLS])
def test_schema_space_prompt_and_validator_agree(toolset, tool):
    schema = tool.schema
    assert schema["required"] == [p.name for p in tool.parameters if p.required]
    assert tool.summary.endswith(".") and all(v["description"].endswith(".") for v in schema["properties"].values())
    for grammar in map(make_grammar, GRAMMARS):
        beside = grammar.tools_beside(toolset)
        told = tool.to_openai() in beside if beside else json.dumps(tool.to_openai(), ensure_ascii=False) in grammar.system_prompt(toolset)  # fmt: skip
        assert told, grammar.name
    for parameter in tool.parameters:
        wanted = schema["properties"][parameter.name]
        assert wanted["type"] in ("string", "integer", "array"), "flat arguments survive every trainer"
        if isinstance(parameter.kind, ChoiceKind):
            assert wanted["enum"] == list(parameter.kind.options)


@settings(max_examples=500, deadline=None)
@given(text=MODEL_TEXT)
def test_strict_json_refuses_or_agrees_with_the_standard_library(text):
    try:
        value = strict_json.loads(text)
    except strict_json.StrictJSONError as error:
        assert "\n" not in str(error)
    else:
        assert json.loads(text) == value


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"a": 1, "a": 2}', "[" * 100 + "]" * 100, "1" * 5000, "x" * 200_000, "\ud800", ""]
)
def test_strict_json_refuses_what_is_not_json(text):
    with pytest.raises(strict_json.StrictJSONError):
        strict_json.loads(text)
