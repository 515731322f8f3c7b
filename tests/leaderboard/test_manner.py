"""Agents in a manner of their own: grammar and pictures, waiting players, and what they say that they cost."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from visenv.leaderboard import Patience, RunSettings, read_records, run_bench, verify_run

from visenv import Expert, ExpertSet
from visenv.agent import Manner, act_all
from visenv.background import run_in_background
from visenv.errors import BadValueError, InfrastructureError, TokenLimitError, UnknownNameError
from visenv.experts import Detections

NOW = Patience(retries=0, wait_s=0.0)
NONE = {"name": "submit_none", "arguments": {}}


class Talker:
    """Says its lines, each after a wait, in the grammar that it was made for."""

    def __init__(self, lines: list[Any], *, name: str = "talker", manner: Manner | None = None, **more: Any) -> None:
        self.name, self.lines = name, lines
        if manner is not None:
            self.manner = manner
        self.more = more
        self.specs: list[Any] = []

    def start(self, spec: Any) -> Any:
        self.specs.append(spec)
        lines, more = iter(self.lines), self.more

        class Player:
            costs = more.get("costs", {})

            async def aact(self, observation: Any) -> Any:
                await asyncio.sleep(0.01)
                line = next(lines)
                if isinstance(line, BaseException):
                    raise line
                return line

        return Player()


def run(tmp_path: Path, *agents: Any, limit: int = 2, **settings: Any) -> list[Any]:
    run_bench(RunSettings(agents=agents, tasks=["EmojiRef"], limit=limit, **settings), tmp_path / "run", patience=NOW)
    return list(read_records(tmp_path / "run"))


def test_each_agent_is_read_in_its_own_grammar(tmp_path: Path) -> None:
    xml = (
        "<tool_call>\n<function=segment_box>\n<parameter=image>\nimg_0\n</parameter>\n"
        + "".join(
            f"<parameter={name}>\n{value}\n</parameter>\n"
            for name, value in (("x1", 50), ("y1", 60), ("x2", 400), ("y2", 380))
        )
        + "</function>\n</tool_call>"
    )
    hermes = f"<tool_call>{json.dumps({'name': 'segment_box', 'arguments': {'image': 'img_0', 'x1': 50, 'y1': 60, 'x2': 400, 'y2': 380}})}</tool_call>"
    one = Talker([xml, NONE], name="xml", manner=Manner(grammar="qwen-xml:coordinates=pixels", vision="qwen2.5-vl"))
    two = Talker([hermes, NONE], name="plain")
    records = run(tmp_path, one, two, limit=1)
    by_agent = {r.agent: r for r in records}
    assert [t.error for r in records for t in r.transcript] == [None] * 4
    size = by_agent["xml"].images["img_0"].size_wh
    seen = tuple(round(side / 28) * 28 for side in size)
    assert by_agent["plain"].transcript[0].call["arguments"]["x2"] == 400
    assert by_agent["xml"].transcript[0].call["arguments"]["x2"] == round(400 * 1000 / seen[0]), (
        "pixels as it sees them"
    )
    assert by_agent["xml"].transcript[0].visual_tokens == seen[0] * seen[1] // 28**2
    assert by_agent["xml"].prompt != by_agent["plain"].prompt and len(by_agent["xml"].prompt) == 64
    told = json.loads((tmp_path / "run" / "run.json").read_text())["agents"]
    assert [(a["grammar"], a["vision"]) for a in told] == [
        ("qwen-xml:coordinates=pixels", "qwen2.5-vl"), ("hermes", "estimate"),
    ]  # fmt: skip
    assert f"{seen[0]} x {seen[1]} px" in one.specs[-1].conversation.messages()[1]["content"][-1]["text"]
    assert verify_run(tmp_path / "run").problems == ()


@pytest.mark.parametrize("key", ["grammar", "vision"])
def test_a_changed_manner_is_found(tmp_path: Path, key: str) -> None:
    run(tmp_path, Talker([NONE]), limit=1)
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    info["agents"][0][key] = {"grammar": "json", "vision": "estimate:token_side_px=28"}[key]
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    assert verify_run(tmp_path / "run").problems


@pytest.mark.parametrize(
    ("manner", "error"),
    [
        (Manner(grammar="latin"), UnknownNameError),
        (Manner(vision="eagle"), UnknownNameError),
        ("polite", BadValueError),
        (Manner(in_flight="many"), BadValueError),  # type: ignore[arg-type]
        (Manner(in_flight=0), BadValueError),
    ],
)
def test_a_manner_that_is_none_is_refused(tmp_path: Path, manner: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        run(tmp_path, Talker([NONE], manner=manner))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("raised", "reason", "failed"),
    [
        (ValueError("a bug"), "agent_error", False),
        (TokenLimitError("full"), "token_limit", False),
        (InfrastructureError("down"), "infrastructure_error", True),
        (SystemExit(3), "agent_error", False),
        (asyncio.CancelledError(), "agent_error", False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_waiting_player_raises(tmp_path: Path, raised: BaseException, reason: str, failed: bool) -> None:
    (record,) = run(tmp_path, Talker([raised]), limit=1)
    assert (record.reason, record.failed, record.score is None) == (reason, failed, failed)
    assert run_in_background(asyncio.sleep(0, "still there")).result(5) == "still there"


def test_costs_that_are_numbers_are_recorded(tmp_path: Path) -> None:
    costs = {
        "prompt_tokens": np.int64(7),
        "huge": 10**400,
        "cost_usd": np.float32(0.5),
        "odd": float("nan"),
        "less": -1,
        "text": "x",
        "a b": 1,
        3: 4,
    }
    records = run(tmp_path, Talker([NONE], costs=costs))
    assert all(set(r.measured) == {"prompt_tokens", "cost_usd", "seconds", "peak_memory_mib"} for r in records)
    row = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"][0]
    assert (row["measured"]["prompt_tokens"], row["measured"]["cost_usd"]) == (7, 0.5)
    assert verify_run(tmp_path / "run").problems == ()


@pytest.mark.parametrize("costs", [{"x": 10**400}, 3, None], ids=["huge", "a number", "none"])
def test_odd_costs_harm_nobody(tmp_path: Path, costs: Any) -> None:
    (record,) = run(tmp_path, Talker([NONE], costs=costs), limit=1)
    assert set(record.measured) == {"seconds", "peak_memory_mib"} and record.reason == "submitted"


class Odd:
    """A player of which something is wrong."""

    def __init__(self, **wrong: Any) -> None:
        self.__class__ = type("Odd", (), {"act": lambda self, observation: NONE, **wrong})


def played_by(tmp_path: Path, **wrong: Any) -> Any:
    agent: Any = type("Agent", (), {"name": "odd", "start": lambda self, spec: Odd(**wrong)})()
    (record,) = run(tmp_path, agent, limit=1)
    return record


def test_costs_that_raise_harm_nobody(tmp_path: Path) -> None:
    def costs(player: Any) -> Any:
        raise SystemExit(2)

    assert played_by(tmp_path, costs=property(costs)).reason == "submitted"


def test_a_wrong_signature_is_the_agents_error(tmp_path: Path) -> None:
    async def aact(player: Any) -> Any:
        return NONE

    record = played_by(tmp_path, aact=aact)
    assert record.reason == "agent_error" and "aact" in record.failure


def test_other_weights_are_another_run(tmp_path: Path) -> None:
    one: Any = Talker([NONE])
    one.identity = "weights@1"
    run(tmp_path, one)
    one.identity = "weights@2"
    with pytest.raises(BadValueError, match="other settings"):
        run(tmp_path, one)


def test_costs_of_some_episodes_alone_make_no_mean(tmp_path: Path) -> None:
    class Forgetful(Talker):
        def start(self, spec: Any) -> Any:
            self.more = {"costs": {"prompt_tokens": 5} if spec.seed % 2 else {}}
            return super().start(spec)

    records = run(tmp_path, Forgetful([NONE]), limit=12)
    assert {"prompt_tokens" in r.measured for r in records} == {True, False}
    assert "prompt_tokens" not in json.loads((tmp_path / "run" / "summary.json").read_text())["rows"][0]["measured"]


def test_waiting_players_are_asked_together_outside_the_runner() -> None:
    begin = time.monotonic()

    class Slow:
        async def aact(self, observation: Any) -> Any:
            await asyncio.sleep(0.3)
            return observation

    agent: Any = Talker([])
    assert act_all(agent, [Slow() for _ in range(20)], [{"turn": k} for k in range(20)]) == [
        {"turn": k} for k in range(20)
    ]
    assert time.monotonic() - begin < 3


def test_an_interrupted_run_does_not_wait(tmp_path: Path) -> None:
    """What players wait for when a run is stopped is given up."""
    given_up = threading.Event()

    class Endless:
        name = "endless"

        def start(self, spec: Any) -> Any:
            class Player:
                async def aact(self, observation: Any) -> Any:
                    try:
                        await asyncio.sleep(600)
                    except asyncio.CancelledError:
                        given_up.set()
                        raise

            return Player()

    class Stop:
        name = "stop"

        def start(self, spec: Any) -> Any:
            return type("Player", (), {"act": lambda self, observation: NONE})()

    class Reporter:
        def started(self, plan: Any) -> None: ...

        def recorded(self, record: Any) -> None:
            raise KeyboardInterrupt

    settings = RunSettings(agents=[Endless(), Stop()], tasks=["EmojiRef"], limit=1)
    with pytest.raises(KeyboardInterrupt):
        run_bench(settings, tmp_path / "run", reporter=Reporter())
    assert given_up.wait(5)


def test_replies_come_in_while_experts_work(tmp_path: Path) -> None:
    """A slow expert or an agent that is no coroutine must not keep the others' endpoints waiting."""
    order: list[str] = []

    class Slow(Expert):
        name, version, capabilities = "slow", "1", frozenset({"detect"})

        def run(self, requests: Any) -> Any:
            assert thinking.wait(5)
            assert done.wait(5), "nobody ran the loop meanwhile"
            order.append("expert")
            none = Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=())
            return [none for _ in requests]

    thinking, done = threading.Event(), threading.Event()

    class Many:
        name = "many"

        def start(self, spec: Any) -> Any:
            number = int(spec.task != "EmojiRef")

            class Player:
                async def aact(self, observation: Any) -> Any:
                    if number:
                        thinking.set()
                        for _ in range(5):  # as an answer that comes in pieces
                            await asyncio.sleep(0.02)
                        order.append("reply")
                        done.set()
                    elif observation["turn"] == 0:
                        return {"name": "detect", "arguments": {"images": ["img_0"], "phrase": "a"}}
                    return NONE

            return Player()

    settings = RunSettings(
        agents=[Many()],
        tasks=["EmojiRef", "EmojiReason"],
        limit=1,
        toolset="full",
        experts=ExpertSet({"detect": Slow()}),
    )
    run_bench(settings, tmp_path / "run", patience=NOW)
    assert order == ["reply", "expert"]
    assert {r.reason for r in read_records(tmp_path / "run")} == {"submitted"}


def test_agents_that_wait_by_themselves_among_those_that_are_waited_for(tmp_path: Path) -> None:
    class Alone:
        name = "alone"

        def start(self, spec: Any) -> Any:
            return type(
                "Player", (), {"act": lambda self, seen: run_in_background(asyncio.sleep(0.01, NONE)).result(5)}
            )()

    records = run(tmp_path, Alone(), Talker([NONE]), limit=20)
    assert {(r.agent, r.reason) for r in records} == {("alone", "submitted"), ("talker", "submitted")}


def test_a_run_in_a_notebook(tmp_path: Path) -> None:
    """Whose cells run inside a loop."""

    async def cell() -> list[Any]:
        return run(tmp_path, Talker([NONE]), limit=3)

    assert [r.reason for r in asyncio.run(cell())] == ["submitted"] * 3
