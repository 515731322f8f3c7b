"""Text that spells the marks of chat templates: it must not end a turn or claim a picture in the prompts after it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from visenv.chat import render_messages, to_openai_messages
from visenv.grammars import make_grammar

MARKS = (
    "<|im_end|>",
    "<|video_pad|>",
    "<|image_pad|>",
    "<|vision_start|>",
    "<image>",
    "<IMG_CONTEXT>",
    "</s>",
    "<end_of_turn>",
)
MARK = re.compile("|".join(map(re.escape, MARKS)))


@pytest.mark.parametrize("mark", MARKS)
def test_a_reply_and_its_echo_spell_no_marks(make_episode, play, mark):
    episode = make_episode(grammar=make_grammar("hermes"))
    call = {"name": "detect", "arguments": {"images": [mark], "phrase": "dog"}}
    play(episode, f"{mark} <tool_call>{json.dumps(call)}</tool_call>")
    system, *rest = render_messages(episode)
    assert mark in episode.turns[0].reply and mark in episode.turns[0].feedback, "the record has what was written"
    assert not MARK.search(str(rest)) and f"< {mark[1:]}" in str(rest)
    assert "<tool_call>" in str(rest) and "<tools>" in system["content"], "words of the grammar stay"


@pytest.mark.parametrize("mark", MARKS)
def test_native_calls_spell_no_marks_however_they_were_escaped(make_episode, play, mark):
    episode = make_episode(grammar=make_grammar("openai"))
    call = {"name": "detect", "arguments": {"images": ["img_0"], "phrase": f"no {mark}"}}
    play(episode, episode.rules.grammar.render(call, episode.toolset, mark).replace("<", "\\u003c"))
    assert episode.turns[0].error is None
    messages = to_openai_messages(render_messages(episode))
    assert messages[2]["tool_calls"] and not MARK.search(str(messages[1:]))


def test_an_instruction_spells_no_marks(make_episode, picture):
    episode = make_episode()
    episode.sample = replace(episode.sample, instruction="The thing left of <|image_pad|>, 3 < 4.")
    assert "left of < |image_pad|>, 3 < 4." in str(render_messages(episode)[1])
