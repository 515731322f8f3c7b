"""Everything registered passes the checks that outsiders are given, and nothing registered is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from visenv.leaderboard.cast import PRIVILEGED, Grant

from visenv import AnswerKind, EpisodeSpec, VisenvEnv, make_agent, make_experts, plugins
from visenv.env import default_split
from visenv.errors import UnsuitedError
from visenv.testing import check_agent, check_expert, check_task, check_tool, check_toolset
from visenv.tools import Tool

TASKS = [(name, level) for name in plugins.names("tasks") for level in plugins.load("tasks", name).levels]
TOOLSETS = {name: plugins.load("toolsets", name) for name in plugins.names("toolsets")}
TOOLS = [
    (f"{name}/{one.name}", kind) for name, tools in TOOLSETS.items() for kind in AnswerKind for one in tools.for_answers(kind).tools
]  # fmt: skip
OWN_TESTS = {
    "hf": "test_hf.py", "ocr": "test_ocr.py", "remote": "test_remote.py", "sam2": "test_sam2.py", "ultralytics": "test_ultralytics.py",
    "vlm": "test_vlm.py",
}  # fmt: skip
"""Experts that need weights, packages or a server, and who checks them with small ones."""
EXPERTS = [name for name in plugins.names("experts") if name not in OWN_TESTS]
WITH_A_MODEL = ("one-shot-mllm", "zero-shot")
"""Agents that need a model or a server, and have tests of their own with small ones."""
AGENTS = [name for name in plugins.names("agents") if name not in WITH_A_MODEL]


def test_the_parameters_are_the_registry():
    assert sorted({name for name, _ in TASKS}) == plugins.names("tasks")
    assert sorted(TOOLSETS) == plugins.names("toolsets")
    assert {name for name, _ in TOOLS} == {f"{n}/{t}" for n, tools in TOOLSETS.items() for t in tools.names}
    assert len(AGENTS) >= 6 and len(EXPERTS) >= 1 and len(TASKS) >= 15
    assert all(isinstance(t, Tool) for tools in TOOLSETS.values() for t in tools.tools)


@pytest.fixture(scope="module")
def embedded():
    return make_experts("embedded:threads=1")


@pytest.mark.parametrize(("name", "level"), TASKS, ids=[f"{n}/{level}" for n, level in TASKS])
def test_tasks(name, level):
    check_task(
        name,
        split=default_split(plugins.load("tasks", name)),
        level=level,
        num_samples=2 if level == 1 else 1,
        processes=level == 1,
    )


@pytest.mark.parametrize(("name", "kind"), TOOLS, ids=[f"{n}/{kind.value}" for n, kind in TOOLS])
def test_tools(name, kind):
    check_tool(name, kind=kind, num_calls=12)


@pytest.mark.parametrize("name", TOOLSETS)
def test_toolsets_with_embedded_experts(name, embedded):
    check_toolset(name, experts=embedded, kinds=[AnswerKind.MASK], num_calls=8)


@pytest.mark.parametrize("name", EXPERTS)
def test_experts(name):
    check_expert(name)


@pytest.mark.parametrize("name", OWN_TESTS)
def test_experts_with_needs_are_checked_in_their_own_tests(name):
    assert name in plugins.names("experts")
    text = (Path(__file__).parents[1] / "experts" / OWN_TESTS[name]).read_text(encoding="utf-8")
    assert "check_expert(" in text, "an expert is shipped only if it passes"


@pytest.mark.parametrize("toolset", TOOLSETS)
@pytest.mark.parametrize("name", AGENTS)
def test_agents_play_to_an_end_whatever_the_tools_or_say_that_they_cannot(name, toolset, embedded):
    """One task for each kind of answer."""
    agent, played = make_agent(name), set()
    for task in ("EmojiRef", "GREC", "EmojiCount", "EmojiMulti"):
        env = VisenvEnv(task, experts=embedded, toolset=toolset)
        env.reset(seed=4)
        privilege = Grant(env.episode, may_register=name == "oracle") if name in PRIVILEGED else None
        spec = EpisodeSpec(
            task=task, split=env.split, level=env.level, kind=env.task.kind, toolset=env.episode.toolset,
            max_turns=env.rules.max_turns, seed=3, privilege=privilege,
        )  # fmt: skip
        try:
            player = agent.start(spec)
        except UnsuitedError as error:
            assert name in str(error) or toolset in str(error) or "tools" in str(error)
            continue
        while not env.episode.ended:
            env.step(player.act(env.episode.observe()))
        assert env.episode.score is not None, "it failed"
        assert name == "random" or env.episode.reason == "submitted", (task, env.episode.turns[-1].feedback)
        played.add(env.task.kind)
    assert played or name in ("demonstrator", "scripted"), "only these two need tools of `full`"


@pytest.mark.parametrize("name", AGENTS)
def test_agents(name, embedded):
    grant = (lambda episode: Grant(episode, may_register=name == "oracle")) if name in PRIVILEGED else None
    check_agent(name, toolsets=["full", "visharness"], experts=embedded, privilege=grant)
