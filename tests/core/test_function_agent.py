"""Plain functions as agents: in runs, in checks, before one's own pictures."""

from __future__ import annotations

import asyncio
import importlib
from functools import partial

import numpy as np
import pytest
from visenv.leaderboard import Patience, RunSettings, read_records, run_bench

from visenv import FunctionAgent, Manner, ask
from visenv.errors import BadValueError, InfrastructureError, TokenLimitError
from visenv.testing import ConformanceError, check_agent

NONE = {"name": "submit_none", "arguments": {}}


def detect_then_submit(observation):
    if observation["turn"] == 0:
        return {"name": "detect", "arguments": {"images": ["img_0"], "phrase": "apple"}}
    return {"name": "submit", "arguments": {}} if observation["objects"] else NONE


WAITING = [0, 0]
"""How many wait now, and the most that did."""


async def later(observation):
    WAITING[0] += 1
    WAITING[1] = max(WAITING)
    await asyncio.sleep(0.3)
    WAITING[0] -= 1
    return detect_then_submit(observation)


def bench(tmp_path, *agents, limit=2, **settings):
    run_bench(
        RunSettings(agents=agents, tasks=["EmojiRef"], limit=limit, **settings), tmp_path / "run", patience=Patience(retries=0)
    )  # fmt: skip
    return list(read_records(tmp_path / "run"))


def test_a_function_plays_as_the_same_function_that_waits_does(tmp_path):
    now, then = FunctionAgent(detect_then_submit, name="now"), FunctionAgent(later, manner=Manner(in_flight=40))
    assert then.name == "later"
    records = bench(tmp_path, now, then, limit=20)
    assert WAITING[1] > 2, "those that wait are not waited for one by one"
    played = {
        name: {r.sample_id: [t.call for t in r.transcript] for r in records if r.agent == name}
        for name in ("now", "later")
    }
    assert played["now"] == played["later"] and len(played["now"]) == 20
    assert {r.reason for r in records} == {"submitted"}


class Later:
    async def __call__(self, observation):
        return await later(observation)


async def later_with(wait_s, observation):
    await asyncio.sleep(wait_s)
    return detect_then_submit(observation)


@pytest.mark.parametrize(
    "function",
    [
        detect_then_submit,
        later,
        Later(),
        partial(later_with, 0.01),
        lambda o: later(o),
        lambda o: asyncio.sleep(0, NONE),
    ],
    ids=["plain", "async", "object", "partial", "returns a coroutine", "of another"],
)
def test_a_function_passes_the_check_and_answers_about_pictures(function):
    check_agent(FunctionAgent(function), tasks=["EmojiRef"], num_episodes=1)
    answer = ask(np.zeros((60, 80, 3), np.uint8), "the apple", agent=FunctionAgent(function))
    assert "No such object" in str(answer)


@pytest.mark.parametrize("function", [Later(), lambda observation: later(observation)])
def test_whatever_gives_something_to_wait_for_is_waited_for(tmp_path, function):
    records = bench(tmp_path, FunctionAgent(function, name="waits"))
    assert {record.reason for record in records} == {"submitted"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TokenLimitError("full"), "token_limit"), (InfrastructureError("down"), "infrastructure_error"), (OSError("x"), "agent_error")],
)  # fmt: skip
@pytest.mark.parametrize("waits", [False, True])
def test_what_it_raises_says_whose_failure_it_is(tmp_path, error, reason, waits):
    def plain(observation):
        raise error

    async def waiting(observation):
        raise error

    (record,) = bench(tmp_path, FunctionAgent(waiting if waits else plain), limit=1)
    assert (record.reason, record.score is None) == (reason, reason == "infrastructure_error")


def test_in_worker_processes_it_must_be_of_a_module(tmp_path, monkeypatch):
    (tmp_path / "of_a_module.py").write_text(
        'def give_up(observation):\n    return {"name": "submit_none", "arguments": {}}\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    give_up = importlib.import_module("of_a_module").give_up
    settings = RunSettings(agents=[FunctionAgent(give_up)], tasks=["EmojiRef"], limit=2)
    assert [row.n for row in run_bench(settings, tmp_path / "run", workers=2).rows] == [2]


def test_what_is_no_function_or_promises_what_it_does_not_keep_is_named():
    with pytest.raises(BadValueError, match="a function from an observation"):
        FunctionAgent("scripted")

    async def silent(observation):
        return None

    with pytest.raises(ConformanceError, match="`aact` gives None"):
        check_agent(FunctionAgent(silent), tasks=["EmojiRef"], num_episodes=1)
    with pytest.raises(ConformanceError, match="`manner`"):
        check_agent(FunctionAgent(detect_then_submit, manner="hermes"), tasks=["EmojiRef"], num_episodes=1)
