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
        return await asyncio.gather(*(kept.complete(prompt()) for _ in range(20)), kept.complete(prompt(seed=1)))

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
    "other", [prompt("y"), prompt(temperature=1.0), prompt(max_tokens=3), prompt(top_p=0.5)], ids=["text", "t", "max", "p"]
)
def test_another_prompt_or_sampling_is_not_there(tmp_path: Path, other: CompletionRequest) -> None:
    asyncio.run(RecordingCompleter(Counter(), tmp_path / "kept", "m").complete(prompt()))
    for request, identity in ((other, "m"), (prompt(), "another")):
        with pytest.raises(CompletionError, match="is kept"):
            asyncio.run(ReplayingCompleter(tmp_path / "kept", identity).complete(request))


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(CompletionError, match="cannot be kept"):
        asyncio.run(RecordingCompleter(Counter(), tmp_path / "kept", "m").complete(prompt()))
