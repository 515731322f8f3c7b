"""A hundred episodes that wait for a language model: what the client costs, and how near it comes to the wait alone.

pytest tests/benchmarks/test_in_flight.py --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from visenv.leaderboard import RunSettings, run_bench

from visenv import AnswerKind, Expert, ExpertSet, Image, make_task
from visenv.background import run_in_background
from visenv.chat import Conversation
from visenv.completions import CompletionRequest, Sampling, make_completer
from visenv.encoding import to_data_url
from visenv.episode import Episode, Rules
from visenv.memory import make_policy
from visenv.tools import NewImage, ToolResult, Toolset, tool

IN_FLIGHT, NUM_EPISODES, NUM_TURNS, LATENCY_S = 100, 200, 10, 0.2
RNG = np.random.default_rng(0)


def drawn() -> Image:
    """Return a 512-px picture that compresses as drawn scenes do, which is new each time."""
    pixels = SCENE.copy()
    x, y = RNG.integers(0, 480, 2)
    pixels[y : y + 32, x : x + 32] = RNG.integers(0, 255, (32, 32, 3))
    return Image(pixels)


SCENE = np.asarray(
    next(s for i in range(50) if (s := make_task("EmojiReason").sample("val", 2, i)).images[0].size_wh == (512, 512))
    .images[0]
    .pixels
)
PICTURES: list[Image] = []


@tool()
def nothing(context):
    """Say something, show nothing."""
    yield from ()
    return ToolResult(text="There is nothing to be seen. " * 5)


@tool()
def fresh(context):
    """Show a new picture."""
    yield from ()
    new = NewImage(
        name=f"fresh_{context.turn}", image=PICTURES.pop(), parent="img_0", to_parent=np.eye(2, 3), origin="drawn"
    )
    return ToolResult(text="Here is another one.", new_images=(new,), show=(new.name,))


@tool(answers=tuple(AnswerKind))
def give_up(context):
    """End."""
    yield from ()
    return ToolResult(text="")


TOOLS = Toolset(name="bench", tools=(nothing, fresh, give_up), guidance="")


class Silent(Expert):
    """Is not asked."""

    name, version, capabilities = "silent", "1", frozenset({"detect"})

    def run(self, requests):
        raise AssertionError


class Small:
    """Many questions about a small picture."""

    def __init__(self, number: int = NUM_EPISODES) -> None:
        made = make_task("EmojiRef").sample("val", 1, 0)
        self.number = number
        self.name, self.version, self.kind, self.profile = "Small", "1", made.target.kind, make_task("EmojiRef").profile
        self.max_turns, self.splits, self.levels = NUM_TURNS, ("val",), (1,)
        self.made = made

    def num_samples(self, split, level):
        return self.number

    def sample(self, split, level, index):
        return replace(self.made, id=f"Small/val/1/{index}", index=index, cluster=str(index))


@pytest.fixture
def endpoint(request) -> Iterator[str]:
    reply = f'I think so. <tool_call>{{"name": "{request.param}", "arguments": {{}}}}</tool_call>'
    script = Path(__file__).with_name("_slow_endpoint.py")
    with subprocess.Popen([sys.executable, str(script), reply], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.kill()


def played(endpoint: str, out: Path, memory: str, number: int = NUM_EPISODES) -> tuple[float, float]:
    """Return wall-clock and CPU seconds of a run."""
    agent = f"zero-shot:model=m,url={endpoint},in_flight={IN_FLIGHT}"
    silent = Silent()
    settings = RunSettings(
        agents=(agent,), tasks=(Small(number),), toolset=TOOLS, memory=memory, experts=ExpertSet({"detect": silent}),
        keep_images=0, max_turns=NUM_TURNS,
    )  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    summary = run_bench(settings, out)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert summary.rows[0].turns == NUM_TURNS and summary.complete
    return wall, cpu


async def asked(completer, requests) -> None:
    """Ask a number of prompts, a hundred at a time."""
    left = iter(requests)

    async def work() -> None:
        for request in left:
            await completer.complete(request)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


def prompts(number: int, *, images: bool) -> list[CompletionRequest]:
    """Return the prompts of turn 5 of as many episodes."""
    task = Small()
    rules = Rules(toolset=TOOLS, memory=make_policy("archive" if images else "archive:blind"), max_turns=NUM_TURNS)
    made = []
    for index in range(number):
        episode = Episode(task.sample("val", 1, index), profile=task.profile, rules=rules)
        for _ in range(4):
            work = episode.play('I think so. <tool_call>{"name": "nothing", "arguments": {}}</tool_call>')
            with pytest.raises(StopIteration):
                next(work)
        messages = Conversation(episode).messages()
        if images:
            messages[-1]["content"].append({"type": "image", "image": drawn()})
        made.append(CompletionRequest(messages=messages, sampling=Sampling(stop=("</tool_call>",))))
    return made


@pytest.mark.parametrize("endpoint", ["nothing"], indirect=True)
def test_turns_of_text(endpoint, report, benchmark, tmp_path):
    ideal = NUM_EPISODES * NUM_TURNS / IN_FLIGHT * LATENCY_S
    runs = [played(endpoint, tmp_path / str(k), "archive:blind") for k in range(5)]
    wall, cpu = min(runs)
    completer = make_completer("m", url=endpoint)
    alone = prompts(1000, images=False)
    costs, renders = [], []
    for _ in range(5):
        begin = time.process_time()
        run_in_background(asked(completer, alone)).result()
        costs.append((time.process_time() - begin) * 1000 / len(alone))
    run_in_background(completer.aclose()).result()
    conversation = Conversation(_played())
    for _ in range(5):
        begin = time.process_time()
        for _ in range(100):
            conversation.messages()
        renders.append((time.process_time() - begin) * 10)
    turns = NUM_EPISODES * NUM_TURNS
    report(
        f"in flight {turns} turns of text, {IN_FLIGHT} at a time, 200 ms each: {wall:.2f} s, {wall / ideal:.2f} of the wait alone"
        f" (of {', '.join(f'{w / ideal:.2f}' for w, _ in runs)}; bar 1.3); CPU {cpu * 1000 / turns:.2f} ms a turn in all, of which the client"
        f" {min(costs):.2f} (of {', '.join(f'{c:.2f}' for c in costs)}; bar 2) and rendering {min(renders):.2f}"
    )
    benchmark.pedantic(lambda: None, rounds=1)


def _played() -> Episode:
    task = Small()
    episode = Episode(task.sample("val", 1, 0), profile=task.profile, rules=Rules(toolset=TOOLS, max_turns=NUM_TURNS))
    for _ in range(4):
        with pytest.raises(StopIteration):
            next(episode.play('I think so. <tool_call>{"name": "nothing", "arguments": {}}</tool_call>'))
    return episode


@pytest.mark.parametrize("endpoint", ["fresh"], indirect=True)
def test_turns_with_a_new_picture(endpoint, report, benchmark, tmp_path):
    """At least 80 % of the turns a second that encoding pictures, one after the other, allows."""
    shares, splits = [], []
    for number in range(5):
        PICTURES[:] = [drawn() for _ in range(IN_FLIGHT * NUM_TURNS)]
        for picture in PICTURES:
            assert picture.hash
        begin = time.perf_counter()
        for _ in range(100):
            to_data_url(drawn())
        encode = (time.perf_counter() - begin) / 100
        turns = IN_FLIGHT * (NUM_TURNS - 1)  # what the last turn shows nobody is asked about
        wall, cpu = played(endpoint, tmp_path / str(number), "archive", IN_FLIGHT)
        shares.append(turns * encode / wall)
        splits.append((encode * 1000, cpu * 1000 / turns, wall * 1000 / turns))
    best = int(np.argmax(shares))
    encode, cpu, wall = splits[best]
    completer = make_completer("m", url=endpoint)
    known = prompts(60, images=True)
    run_in_background(asked(completer, known)).result()
    begin = time.process_time()
    for _ in range(5):
        run_in_background(asked(completer, known)).result()
    client = (time.process_time() - begin) * 1000 / 300
    run_in_background(completer.aclose()).result()
    report(
        f"in flight new 512-px picture each turn: {1000 / wall:.0f} turns a second, {shares[best]:.2f} of what the encoder alone allows"
        f" (of {', '.join(f'{s:.2f}' for s in shares)}; bar 0.8); a turn takes {wall:.1f} ms of time and {cpu:.1f} ms of CPU: encode"
        f" {encode:.1f}, client {client:.2f} with the picture encoded, the rest is rendering, playing and recording"
    )
    benchmark.pedantic(lambda: None, rounds=1)
