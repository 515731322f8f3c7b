"""Whatever a model writes, parsers classify it and never raise anything else; what they write they read back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visenv import ToolCallSpace, strict_json
from visenv.arguments import ChoiceKind
from visenv.grammars import GRAMMARS, ParseError, make_grammar
from visenv.tools import CallError, check_call
from visenv.toolsets import FULL, NONE, VISHARNESS

TOOLSETS = {t.name: t for t in (FULL, NONE, VISHARNESS)}
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
@settings(max_examples=800, deadline=None)
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


@pytest.mark.parametrize("toolset", sorted(TOOLSETS))
@pytest.mark.parametrize("name", sorted(GRAMMARS))
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    thought=st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=50),
    phrase=st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(PHRASES),
)
def test_every_sampled_call_survives_writing_and_reading(name, toolset, seed, thought, phrase):
    space = ToolCallSpace(TOOLSETS[toolset], seed=seed)
    call = space.sample()
    assert space.contains(call)
    if "phrase" in call["arguments"]:
        call["arguments"]["phrase"] = phrase if phrase.strip() else "a"
    grammar = make_grammar(name)
    parsed = grammar.parse(grammar.render(call, TOOLSETS[toolset], thought), TOOLSETS[toolset])
    assert parsed.call == call and parsed.thought.strip() == thought.strip()
    assert check_call(TOOLSETS[toolset], parsed.call) == call


@settings(max_examples=1500, deadline=None)
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


@pytest.mark.parametrize("tool", FULL.tools + VISHARNESS.tools, ids=lambda t: t.name)
def test_schema_space_prompt_and_validator_agree(tool):
    schema = tool.schema
    assert schema["required"] == [p.name for p in tool.parameters if p.required]
    assert tool.summary.endswith(".") and all(v["description"].endswith(".") for v in schema["properties"].values())
    prompt = make_grammar("hermes").system_prompt(FULL if tool in FULL.tools else VISHARNESS)
    assert json.dumps(tool.to_openai(), ensure_ascii=False) in prompt
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
