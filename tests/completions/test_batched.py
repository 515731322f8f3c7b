"""Prompts answered together in a thread: batches, failures that stay with their prompt, memory that runs out, the end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import pytest

from visenv.completions import Completion, CompletionError, CompletionRequest
from visenv.completions._batched import BatchedCompleter
from visenv.completions._calls import split_calls


class Model(BatchedCompleter):
    """Says what it was told, and notes in what company."""

    def __init__(
        self, *, batch_size: int = 4, gather_s: float = 0.2, fault: Callable[[list[str]], None] | None = None
    ) -> None:
        self.batches: list[list[str]] = []
        self.released = threading.Event()
        self._fault = fault
        super().__init__(identity="model", batch_size=batch_size, gather_s=gather_s)

    def _kind(self, request: CompletionRequest) -> Hashable:
        return bool(request.tools)

    def _answer(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        texts = [str(r.messages[0]["content"]) for r in requests]
        self.batches.append(texts)
        if self._fault is not None:
            self._fault(texts)
        return [Completion(content=text) for text in texts]

    def _release(self) -> None:
        self.released.set()


def ask(*texts: str, tools: Sequence[dict[str, Any]] = ()) -> list[CompletionRequest]:
    return [CompletionRequest(messages=[{"role": "user", "content": text}], tools=tools) for text in texts]


def together(model: Model, requests: Sequence[CompletionRequest]) -> list[Completion | BaseException]:
    async def play() -> list[Completion | BaseException]:
        return await asyncio.gather(*map(model.complete, requests), return_exceptions=True)

    return asyncio.run(play())


def said(answers: Sequence[Completion | BaseException]) -> list[str]:
    return [a.content if isinstance(a, Completion) else type(a).__name__ for a in answers]


def test_prompts_go_out_together_by_kind_and_come_back_to_who_asked() -> None:
    model = Model()
    requests = [*ask("a", "b"), *ask("c", tools=[{"name": "t"}]), *ask("d", "e", "f")]
    assert said(together(model, requests)) == list("abcdef")
    assert sorted(map(len, model.batches)) == [1, 1, 4] and all(
        "c" not in batch or batch == ["c"] for batch in model.batches
    )


def test_one_alone_waits_for_company_once_and_then_no_more() -> None:
    model = Model(gather_s=0.3)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        together(model, ask("a"))
        seconds.append(time.perf_counter() - began)
    assert seconds[0] >= 0.3 > seconds[1]


def test_a_failure_stays_with_its_prompt() -> None:
    def fault(texts: list[str]) -> None:
        if "bad" in texts:
            raise ValueError("no such token")

    model = Model(fault=fault)
    answers = together(model, ask("a", "bad", "c", "d"))
    assert said(answers) == ["a", "CompletionError", "c", "d"]
    assert "model failed: ValueError: no such token" in str(answers[1])
    assert said(together(model, ask("e"))) == ["e"], "the thread goes on"


def test_where_memory_runs_out_batches_become_smaller_and_stay_so() -> None:
    def fault(texts: list[str]) -> None:
        if len(texts) > 2:
            raise MemoryError

    model = Model(fault=fault)
    assert said(together(model, ask(*"abcd"))) == list("abcd")
    assert [len(batch) for batch in model.batches] == [4, 2, 2]
    assert said(together(model, ask(*"efgh"))) == list("efgh")
    assert [len(batch) for batch in model.batches[3:]] == [2, 2], "what did not fit is not tried again at once"


def test_one_prompt_that_fits_nowhere_leaves_batches_as_they_are() -> None:
    def fault(texts: list[str]) -> None:
        if "huge" in texts:
            raise MemoryError

    model = Model(fault=fault)
    assert said(together(model, ask("a", "huge", "c", "d"))) == ["a", "CompletionError", "c", "d"]
    together(model, ask(*"efgh"))
    assert len(model.batches[-1]) == 4


def test_whoever_has_given_up_is_not_answered() -> None:
    model = Model(batch_size=2, gather_s=0.3)

    async def play() -> str:
        lost = asyncio.create_task(model.complete(ask("lost")[0]))
        await asyncio.sleep(0.05)
        lost.cancel()
        await asyncio.sleep(0.02)
        return (await model.complete(ask("kept")[0])).content

    assert asyncio.run(play()) == "kept" and model.batches == [["kept"]]


def test_closing_refuses_what_waits_and_lets_go_of_the_model() -> None:
    began, go_on = threading.Event(), threading.Event()

    def fault(texts: list[str]) -> None:
        began.set()
        assert go_on.wait(10)

    model = Model(batch_size=1, fault=fault)

    async def play() -> list[Completion | BaseException]:
        first, second = (asyncio.create_task(model.complete(one)) for one in ask("first", "second"))
        await asyncio.to_thread(began.wait, 10)
        closing = asyncio.create_task(model.aclose())
        await asyncio.sleep(0.05)
        go_on.set()
        await closing
        return await asyncio.gather(first, second, return_exceptions=True)

    assert said(asyncio.run(play())) == ["first", "CompletionError"]
    assert model.released.wait(10)
    with pytest.raises(CompletionError, match="closed"):
        asyncio.run(model.complete(ask("late")[0]))


CALL = '<tool_call>\n{"name": "view", "arguments": {"images": ["img_0"]}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "content", "names"),
    [
        (f"So.\n{CALL}", "So.", ["view"]),
        (f"{CALL}\n{CALL}", "", ["view", "view"]),
        (f"<think>{CALL}?</think>No.", f"<think>{CALL}?</think>No.", []),
        (f"<think>Hm.</think>{CALL}", "<think>Hm.</think>", ["view"]),
        (f"{CALL}<tool_call>{{}}</tool_call>", f"{CALL}<tool_call>{{}}</tool_call>", []),
        ("<tool_call>{</tool_call>", "<tool_call>{</tool_call>", []),
        ('<tool_call>{"name": "view", "arguments": "{}"}</tool_call>', '<tool_call>{"name": "view", "arguments": "{}"}</tool_call>', []),
        (CALL[:-3], CALL[:-3], []),
    ],
)  # fmt: skip
def test_native_calls_are_taken_out_of_a_reply_whole_or_not_at_all(text: str, content: str, names: list[str]) -> None:
    left, calls = split_calls(text)
    assert (left, [call["function"]["name"] for call in calls]) == (content, names)
    assert all(call["function"]["arguments"] == '{"images": ["img_0"]}' for call in calls)
