"""Replies kept in a folder: equal prompts ask once, the first reply stays, and how the model sees is kept with them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from visenv.completions import (
    Completer,
    Completion,
    CompletionError,
    CompletionRequest,
    RecordingCompleter,
    ReplayingCompleter,
    Sampling,
)
from visenv.errors import BadValueError


class Counter(Completer):
    """Counts how often it is asked, and says so."""

    identity, vision = "counter@1234", "qwen3-vl:max_pixels=1048576"

    def __init__(self) -> None:
        self.asked = 0

    async def complete(self, request: CompletionRequest) -> Completion:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0.01)
        return Completion(content=f"{number}", tool_calls=({"a": [1, None, "\ud83d\ude00"]},), prompt_tokens=number)

    async def aclose(self) -> None:
        self.asked = -1


def prompt(text: str = "x", **sampling: float) -> CompletionRequest:
    return CompletionRequest(messages=[{"role": "user", "content": text}], sampling=Sampling(**sampling))  # type: ignore[arg-type]


def test_equal_prompts_at_the_same_time_ask_once(tmp_path: Path) -> None:
    inner = Counter()
    kept = RecordingCompleter(inner, tmp_path / "kept", "m")

    async def ask() -> list[Completion]:
        return await asyncio.gather(*(kept.complete(prompt()) for _ in range(20)), kept.complete(prompt("y")))

    replies = asyncio.run(ask())
    assert inner.asked == 2 and len(set(map(repr, replies[:20]))) == 1 and replies[20] != replies[0]
    assert asyncio.run(ReplayingCompleter(tmp_path / "kept", "m").complete(prompt())) == replies[0]


def test_the_first_reply_stays(tmp_path: Path) -> None:
    """Of two processes that ask at the same time, both go on with one reply: a replay could not give two."""
    one, two = (RecordingCompleter(Counter(), tmp_path / "kept", "m") for _ in range(2))
    two.inner.asked = 40  # type: ignore[attr-defined]

    async def ask() -> list[Completion]:
        return await asyncio.gather(one.complete(prompt()), two.complete(prompt()))

    first, second = asyncio.run(ask())
    assert first == second


def test_how_the_model_sees_is_kept(tmp_path: Path) -> None:
    assert RecordingCompleter(Counter(), tmp_path / "kept", "m").vision == Counter.vision
    asyncio.run(RecordingCompleter(Counter(), tmp_path / "kept", "m").complete(prompt()))
    assert ReplayingCompleter(tmp_path / "kept", "m").vision == Counter.vision
    assert ReplayingCompleter(tmp_path / "kept", "another").vision is None


@pytest.mark.parametrize(
    "other",
    [prompt("y"), prompt(temperature=1.0), prompt(max_tokens=3), prompt(top_p=0.5)],
    ids=["text", "t", "max", "p"],
)
def test_another_prompt_or_sampling_is_not_there(tmp_path: Path, other: CompletionRequest) -> None:
    asyncio.run(RecordingCompleter(Counter(), tmp_path / "kept", "m").complete(prompt()))
    for request, identity in ((other, "m"), (prompt(), "another")):
        with pytest.raises(CompletionError, match="is kept"):
            asyncio.run(ReplayingCompleter(tmp_path / "kept", identity).complete(request))


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    kept = RecordingCompleter(Counter(), tmp_path / "kept", "m")
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        assert asyncio.run(kept.complete(prompt())).content == "1"
    assert asyncio.run(kept.complete(prompt("y"))).content == "2"


def test_at_temperature_0_a_seed_is_of_no_consequence(tmp_path: Path) -> None:
    inner = Counter()
    kept = RecordingCompleter(inner, tmp_path / "kept", "m")
    for request in (prompt(seed=1), prompt(seed=2), prompt(seed=1, temperature=0.5), prompt(seed=2, temperature=0.5)):
        asyncio.run(kept.complete(request))
    assert inner.asked == 3


def test_other_weights_under_the_same_name_need_another_folder(tmp_path: Path) -> None:
    asyncio.run(RecordingCompleter(Counter(), tmp_path / "kept", "m").complete(prompt()))
    other = Counter()
    other.identity = "counter@5678"
    with pytest.raises(BadValueError, match="another model named"):
        RecordingCompleter(other, tmp_path / "kept", "m")
    RecordingCompleter(other, tmp_path / "kept", "n")


def test_a_prompt_that_did_not_fit_is_asked_again_and_replayed(tmp_path: Path) -> None:
    class Full(Counter):
        full = True

        async def complete(self, request: CompletionRequest) -> Completion:
            await super().complete(request)
            return Completion(content="", finish="context_full") if self.full else Completion(content="room")

    inner = Full()
    kept = RecordingCompleter(inner, tmp_path / "kept", "m")
    assert asyncio.run(kept.complete(prompt())).finish == "context_full"
    assert asyncio.run(ReplayingCompleter(tmp_path / "kept", "m").complete(prompt())).finish == "context_full"
    inner.full = False
    assert asyncio.run(kept.complete(prompt())).content == "room" and inner.asked == 2
    assert asyncio.run(ReplayingCompleter(tmp_path / "kept", "m").complete(prompt())).content == "room"


def test_what_nobody_waits_for_is_given_up(tmp_path: Path) -> None:
    given_up: list[bool] = []

    class Slow(Counter):
        async def complete(self, request: CompletionRequest) -> Completion:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                given_up.append(True)
                raise
            raise AssertionError

    kept = RecordingCompleter(Slow(), tmp_path / "kept", "m")

    async def interrupted() -> None:
        waiting = [asyncio.create_task(kept.complete(prompt())) for _ in range(2)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await asyncio.sleep(0.01)
        assert not given_up, "another one waits"
        waiting[1].cancel()
        await asyncio.sleep(0.01)

    asyncio.run(interrupted())
    assert given_up == [True]
