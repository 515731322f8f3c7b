"""The messages a model sees, now and when rendered again for training."""

from __future__ import annotations

import copy
import json

import pytest

from visenv import Image
from visenv.chat import render_messages, to_openai_messages
from visenv.grammars import GRAMMARS, make_grammar
from visenv.memory import POLICIES, make_policy

CALLS = [
    {"name": "detect", "arguments": {"images": ["img_0"], "phrase": "a"}},
    {"name": "nonsense", "arguments": {}},
    {"name": "segment", "arguments": {"objects": [0]}},
    {"name": "view", "arguments": {"images": ["img_0"]}},
    {"name": "submit", "arguments": {}},
]


def _images(messages):
    return [
        p["image"] for m in messages if isinstance(m["content"], list) for p in m["content"] if p["type"] == "image"
    ]


@pytest.mark.parametrize("grammar", sorted(GRAMMARS))
@pytest.mark.parametrize("memory", sorted(POLICIES))
def test_the_prompt_of_a_turn_is_the_same_after_the_episode(make_episode, play, memory, grammar):
    episode = make_episode(memory=make_policy(memory), grammar=make_grammar(grammar))
    seen = []
    for call in CALLS:
        seen.append(copy.deepcopy(render_messages(episode)))
        visible = [episode.memory.images[n].image for n in episode.memory.visible]
        assert sorted(i.hash for i in _images(seen[-1])) == sorted(i.hash for i in visible)
        play(episode, episode.rules.grammar.render(call, episode.toolset, "hm"))
    assert episode.ended
    for turn, messages in enumerate(seen, 1):
        assert render_messages(episode, turn=turn) == messages


def test_archived_images_become_a_line_with_their_name(make_episode, play):
    episode = make_episode()
    play(episode, CALLS[0])
    texts = [p["text"] for m in render_messages(episode)[1:] for p in m["content"] if p["type"] == "text"]
    assert "[img_0 is archived]" in texts and "view_1:" in texts


def test_native_calls_are_answered_as_tool_messages(make_episode, play):
    episode = make_episode(grammar=make_grammar("openai"))
    play(episode, episode.rules.grammar.render(CALLS[0], episode.toolset))
    messages = to_openai_messages(render_messages(episode))
    call = messages[2]["tool_calls"][0]
    assert messages[3]["role"] == "tool" and messages[3]["tool_call_id"] == call["id"]
    url = messages[4]["content"][-1]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")


def test_a_turn_that_was_not_played_is_refused(make_episode):
    with pytest.raises(IndexError, match="Expected 1 to 1"):
        render_messages(make_episode(), turn=3)
    assert isinstance(_images(render_messages(make_episode(), turn=1))[0], Image)


@pytest.mark.parametrize("grammar", sorted(GRAMMARS))
def test_a_prompt_can_always_be_encoded(make_episode, grammar):
    """Half surrogates, raw or as JSON escapes, are in no prompt: neither a request nor a tokenizer can hold them."""
    calls = [{"function": {"name": "a\ud800", "arguments": json.dumps({"b": "\udfff"})}}]
    for reply in ("\ud800 no", json.dumps({"content": "\ud800", "tool_calls": calls})):
        running = make_episode(grammar=make_grammar(grammar))
        with pytest.raises(StopIteration):
            next(running.play(reply))
        json.dumps(render_messages(running), ensure_ascii=False, default=repr).encode()
