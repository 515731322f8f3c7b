"""Anything at all thrown at ``step``: an observation that says what was wrong, never a crash."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from visenv import AnswerKind, ToolCallSpace, VisenvEnv, plugins
from visenv.coordinates import COORDINATES, make_coordinates
from visenv.grammars import GRAMMARS, make_grammar
from visenv.tools import CallError, check_call
from visenv.toolsets import FULL, IMAGENT, NONE, SAM3AGENT, VISHARNESS, ZOOM

TOOLSETS = {name: plugins.load("toolsets", name) for name in plugins.names("toolsets")}
ODD = [
    None, True, False, 0, -1, 7, 1000, 1001, 10**30, 10**5000, 0.5, float("nan"), float("inf"), "", " ", "img_0", "img_1", "view_1", "crop_1", "é中\u202e\x00",
    "\ud800", "x" * 10_000, "../../etc/passwd", "<tool_call>", [], {}, [0], ["img_0"], ["img_0", "img_0"], [[["img_0"]]], {"a": {"b": 1}}, [0] * 2000,
    (1, 2), b"bytes", np.int64(3), np.float64(2.0), np.array([1, 2]), object(), {1: 2}, {"name": "submit"},
]  # fmt: skip
NAMES = ["image", "images", "phrase", "x", "y", "x1", "y1", "x2", "y2", "object", "objects", "sign", "count", "choice", "patch_size", "factor", "mode", "bogus", ""]  # fmt: skip


def _odd(rng: random.Random, space: ToolCallSpace) -> object:
    """One action, from nearly right to nonsense."""
    call = space.sample()
    kind = rng.randrange(8)
    if kind == 0:
        return "".join(
            chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x250), rng.randrange(0x11000))))
            for _ in range(rng.randrange(200))
        )
    if kind == 1:
        text = make_grammar(rng.choice(sorted(GRAMMARS))).render(call, space.toolset, "thinking")
        cut, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        return text[:cut] + rng.choice(("", text[cut:end], "}", "\x00", "</tool_call>", "NaN")) + text[end:]
    if kind == 2:
        return make_grammar("hermes").render(call, space.toolset)
    if kind == 3:
        call["arguments"][rng.choice(NAMES)] = rng.choice(ODD)
        return call
    if kind == 4:
        for name in list(call["arguments"]):
            if rng.random() < 0.5:
                call["arguments"][name] = rng.choice(ODD)
        return call
    if kind == 5:
        return {"name": rng.choice([*space.toolset.names, *ODD]), "arguments": rng.choice([*ODD, call["arguments"]])}
    if kind == 6:
        return rng.choice([*ODD, json.dumps(call), json.dumps({"content": None, "tool_calls": [{"function": call}]})])
    return call


def _throw(make_episode, play, experts, count: int, seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    kinds = {FULL: AnswerKind.MASK, VISHARNESS: AnswerKind.COUNT, NONE: AnswerKind.CHOICE}
    codes: dict[str, int] = {}
    episode, space = None, None
    for number in range(count):
        if episode is None or episode.ended:
            toolset = rng.choice(list(kinds))
            episode = make_episode(
                toolset=toolset.for_capabilities(experts.capabilities), kind=kinds[toolset], choice="A", images=rng.randrange(1, 3), max_turns=15, max_invalid_calls=12,
                grammar=make_grammar(rng.choice(sorted(GRAMMARS))),
            )  # fmt: skip
            space = ToolCallSpace(episode.toolset, seed=number)
        outcome = play(episode, _odd(rng, space))
        assert not outcome.failed, episode.failure
        feedback = outcome.observation["feedback"]
        code = outcome.info["error"]
        if code is not None:
            assert feedback.startswith(f"Error ({code}): ") and len(feedback) < 3000
        codes[str(code)] = codes.get(str(code), 0) + 1
    return codes


@pytest.mark.parametrize("coordinates", sorted(COORDINATES))
@pytest.mark.parametrize("toolset", sorted(TOOLSETS))
def test_each_odd_value_in_each_argument(toolset, coordinates):
    tools, space = TOOLSETS[toolset], ToolCallSpace(TOOLSETS[toolset], seed=0)
    given = {"coordinates": make_coordinates(coordinates), "sizes_wh": {"img_0": (640, 480)}}
    for one in tools.tools:
        call = next(c for c in iter(space.sample, None) if c["name"] == one.name)
        for argument in [*call["arguments"], "bogus"]:
            for odd in ODD:
                with suppress(CallError):
                    check_call(tools, {"name": one.name, "arguments": {**call["arguments"], argument: odd}}, **given)


def test_two_thousand_odd_actions(make_episode, play, experts):
    codes = _throw(make_episode, play, experts, 2_000, seed=0)
    assert len(codes) >= 12 and 100 < codes["None"] < 1500, codes


@pytest.mark.acceptance
def test_twenty_thousand_odd_actions(make_episode, play, experts):
    codes = _throw(make_episode, play, experts, 20_000, seed=1)
    assert len(codes) >= 15, codes


@pytest.mark.parametrize("end", ["\n", "\r", "\x1b[2K", "\x85", "\u2028"])
@pytest.mark.parametrize("toolset", [FULL, IMAGENT, SAM3AGENT, VISHARNESS, ZOOM], ids=lambda t: t.name)
def test_no_words_of_a_call_pass_for_those_of_a_tool(make_episode, play, toolset, end):
    words = f"cup{end}#7 cup 1.00 mask (0, 0, 9, 9) in img_0"
    for tool in toolset.for_answers(AnswerKind.MASK).tools:
        for name in {"phrase", "label", "claim"} & {p.name for p in tool.parameters}:
            episode = make_episode(toolset=toolset)
            space = ToolCallSpace(replace(toolset, tools=(tool,)), seed=0)
            call = space.sample()
            call["arguments"] = {k: v for k, v in call["arguments"].items() if k != name} | {name: words}
            outcome = play(episode, call)
            assert outcome.info["error"] == "out_of_range"
            assert "on one line" in outcome.observation["feedback"] and end not in outcome.observation["feedback"]


@pytest.mark.parametrize("task", ["EmojiRef", "EmojiMulti"])
def test_odd_actions_leave_observations_inside_the_space(task):
    env = VisenvEnv(task=task, experts="embedded:threads=1", max_invalid_calls=9)
    space = ToolCallSpace(env.action_space.toolset, seed=0)
    rng = random.Random(0)
    env.reset(seed=0)
    for _ in range(60):
        observation, _, terminated, truncated, _ = env.step(_odd(rng, space))
        assert env.observation_space.contains(observation)
        if terminated or truncated:
            env.reset()
