"""The backend vLLM against a stand-in for the package: what it is asked, and how its answers are read. vLLM itself is not run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from visenv import Image
from visenv.completions import Completion, CompletionError, CompletionRequest, Sampling, make_completer
from visenv.errors import BadValueError, MissingExtraError
from visenv.vision import make_vision

CALL = '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>'


class Engine:
    """Answers with the last text that it is sent, in capital letters."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.asked: list[dict[str, Any]] = []

    def chat(self, messages: list[Any], sampling_params: list[Any], *, tools: Any, use_tqdm: bool) -> list[Any]:
        self.asked.append({"messages": messages, "sampling": sampling_params, "tools": tools})
        texts = [chat[-1]["content"][-1]["text"] for chat in messages]
        if "long" in texts:
            raise ValueError("The prompt (total length 9000) is longer than the maximum model length of 8192.")
        if "bad" in texts:
            raise ValueError("no such thing")
        return [
            SimpleNamespace(
                prompt_token_ids=[1, 2, 3],
                outputs=[SimpleNamespace(text=CALL if tools else text.upper(), token_ids=[4, 5], finish_reason="length" if text == "cut" else "stop")],
            )
            for text in texts
        ]  # fmt: skip


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = ModuleType("vllm")
    stand_in.LLM = Engine  # type: ignore[attr-defined]
    stand_in.SamplingParams = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", stand_in)


def request(
    text: str, *, tools: Sequence[dict[str, Any]] = (), size_wh: tuple[int, int] = (70, 50), **sampling: Any
) -> CompletionRequest:
    image = {"type": "image", "image": Image(np.zeros((*size_wh[::-1], 3), np.uint8))}
    return CompletionRequest(
        messages=[{"role": "user", "content": [image, {"type": "text", "text": text}]}], tools=tools, sampling=Sampling(**sampling),
        vision=make_vision("qwen2.5-vl"),
    )  # fmt: skip


def complete(completer: Any, *requests: CompletionRequest) -> list[Completion | BaseException]:
    async def play() -> list[Completion | BaseException]:
        return await asyncio.gather(*map(completer.complete, requests), return_exceptions=True)

    return asyncio.run(play())


def test_prompts_go_out_as_vllm_takes_them(vllm: None) -> None:
    completer: Any = make_completer(
        "Qwen/Qwen2.5-VL-7B-Instruct", backend="vllm", batch_size=4, gpus=2, context=8192, revision="abc"
    )
    replies = complete(completer, request("a", temperature=0.5, seed=3, stop=("</x>",), max_tokens=7), request("cut"))
    assert [r.content for r in replies if isinstance(r, Completion)] == ["A", "CUT"]
    assert [(r.finish, r.prompt_tokens, r.completion_tokens) for r in replies if isinstance(r, Completion)] == [
        ("stop", 3, 2),
        ("length", 3, 2),
    ]
    (asked,) = completer._engine.asked
    first = vars(asked["sampling"][0])
    assert first == {
        "temperature": 0.5,
        "top_p": 1.0,
        "max_tokens": 7,
        "seed": 3,
        "stop": ["</x>"],
        "include_stop_str_in_output": True,
    }
    part = asked["messages"][0][0]["content"][0]
    assert part["type"] == "image_url" and part["image_url"]["url"].startswith("data:image/png;base64,")
    options = completer._engine.options
    assert (options["model"], options["tensor_parallel_size"], options["max_model_len"]) == (
        "Qwen/Qwen2.5-VL-7B-Instruct",
        2,
        8192,
    )
    assert options["trust_remote_code"] is False and options["generation_config"] == "vllm"
    assert completer.identity == "Qwen/Qwen2.5-VL-7B-Instruct@abc/vllm-auto"
    asyncio.run(completer.aclose())


def test_a_prompt_that_is_too_long_is_said_to_be_and_one_that_fails_stands_alone(vllm: None) -> None:
    completer = make_completer("m", backend="vllm", batch_size=4)
    full, bad, good = complete(completer, request("long"), request("bad"), request("good"))
    assert isinstance(full, Completion) and full.finish == "context_full"
    assert isinstance(bad, CompletionError) and "no such thing" in str(bad)
    assert isinstance(good, Completion) and good.content == "GOOD"


def test_native_calls_are_taken_out(vllm: None) -> None:
    completer = make_completer("m", backend="vllm")
    (reply,) = complete(completer, request("a", tools=[{"type": "function", "function": {"name": "look"}}]))
    assert isinstance(reply, Completion) and reply.content == ""
    assert [call["function"]["name"] for call in reply.tool_calls] == ["look"]


def test_bad_options_are_refused(vllm: None) -> None:
    for options in ({"gpus": 0}, {"context": -1}, {"images": "3"}, {"url": "http://x"}):
        with pytest.raises(BadValueError):
            make_completer("m", backend="vllm", **options)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"visenv\[vllm\]"):
        make_completer("m", backend="vllm")
