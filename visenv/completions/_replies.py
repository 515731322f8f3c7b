"""What an endpoint sent, read strictly: whole replies, replies in pieces, and refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import short
from ..strict_json import MAX_CHARS
from ._protocol import Completion, CompletionError, Finish, TemporaryCompletionError

__all__ = ["StreamedReply", "cut_at_stop", "read_reply", "says_context_full", "seconds_of"]

LONGEST_WAIT_S = 120.0
"""Most that a server can ask us to wait."""
MAX_CALLS = 64
ENDS = frozenset(
    {None, "stop", "length", "tool_calls", "function_call", "eos", "eos_token", "stop_sequence", "end_turn"}
)
"""Why a model ends. Of other reasons, as ``error`` or ``abort``, the reply is not all that it would have said."""
TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|max(?:imum)?[ _]model[ _]len(?:gth)?|context (?:is )?(?:length |size |window )?"
    r"(?:too long|exceed)|exceeds? the (?:available |maximum |model'?s? )*context|longer than the (?:maximum|model'?s? context)"
    r"|token count[^.]{0,40}exceeds the maximum number of tokens|(?:prompt|input) is too long|tokens` \+ `max_new_tokens` must be",
    re.IGNORECASE,
)
"""How servers say that a prompt does not fit: OpenAI's code, and the words of vLLM, SGLang, llama.cpp, Ollama, Gemini and TGI."""


def read_reply(body: object, *, where: str) -> Completion:
    """Read the body of a whole reply.

    Raises:
        TemporaryCompletionError: It broke off.
        CompletionError: It is not of the form of the API, or was withheld.
    """
    try:
        choice = body["choices"][0]  # type: ignore[index]
        message, finish = choice["message"], choice.get("finish_reason")
        content, calls = message.get("content"), message.get("tool_calls")
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        usage = body.get("usage")  # type: ignore[attr-defined]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise CompletionError(f"{where} answered {short(body)}, which holds no reply.") from None
    completion = _completion(content, thoughts, calls or (), finish, usage, where)
    # vLLM says which stop string it was; a model that ended by itself left nothing out.
    left_out = completion.finish == "stop" and isinstance(choice.get("stop_reason", ""), str)
    return replace(completion, stop_left_out=left_out)


class StreamedReply:
    """A reply that comes in pieces."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._content: list[str] = []
        self._thoughts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish: object = None
        self._stop_reason: object = ""
        self._usage: object = None
        self._length = 0

    def add(self, chunk: object) -> bool:
        """Take a piece; return whether more are wanted, which is not so once the text is longer than any that is read.

        Raises:
            CompletionError: It is not of the form of the API.
        """
        try:
            self._usage = chunk.get("usage") or self._usage  # type: ignore[attr-defined]
            for choice in chunk.get("choices") or ():  # type: ignore[attr-defined]
                delta = choice.get("delta") or {}
                self._finish = choice.get("finish_reason") or self._finish
                self._stop_reason = choice.get("stop_reason", self._stop_reason)
                self._text(self._content, delta.get("content"))
                self._text(self._thoughts, delta.get("reasoning_content") or delta.get("reasoning"))
                for call in delta.get("tool_calls") or ():
                    self._call(call)
        except (KeyError, IndexError, TypeError, AttributeError):
            raise CompletionError(f"{self._where} sent {short(chunk)}, which is no piece of a reply.") from None
        return self._length <= MAX_CHARS

    def whole(self) -> Completion:
        """Return the reply.

        Raises:
            TemporaryCompletionError: It broke off.
            CompletionError: It was withheld.
        """
        if self._length > MAX_CHARS:
            self._finish = "length"
        elif self._finish is None:
            raise TemporaryCompletionError(f"{self._where} broke off in the middle of a reply.")
        calls = [self._calls[k] for k in sorted(self._calls)]
        completion = _completion(
            "".join(self._content), "".join(self._thoughts), calls, self._finish, self._usage, self._where
        )
        return replace(completion, stop_left_out=completion.finish == "stop" and isinstance(self._stop_reason, str))

    def _text(self, parts: list[str], text: object) -> None:
        if text is None:
            return
        if not isinstance(text, str):
            raise TypeError
        parts.append(text)
        self._length += len(text)

    def _call(self, piece: Mapping[str, Any]) -> None:
        place = piece["index"]
        if not isinstance(place, int) or not 0 <= place < MAX_CALLS:
            raise TypeError
        call = self._calls.setdefault(place, {"type": "function", "function": {"name": "", "arguments": ""}})
        for name, text in (piece.get("function") or {}).items():
            if name in ("name", "arguments") and text is not None:
                call["function"][name] += text
                self._length += len(text)


def cut_at_stop(completion: Completion, stop: Sequence[str]) -> Completion:
    """Return a reply as it would have ended at the first stop string, which it keeps; as it is, if it holds none.

    What a model thinks before, which some servers send apart, is no end: there it may draft a call.
    """
    text = completion.content
    begin = max(0, text.find("</think>")) if text.lstrip().startswith("<think>") else 0
    ends = [text.find(one, begin) + len(one) for one in stop if one in text[begin:]]
    if (
        stop
    ):  # the strings close a call: of calls that a server took out of the text, the first would have been the last
        completion = replace(completion, tool_calls=completion.tool_calls[:1])
    if not ends:
        return completion
    return replace(completion, content=text[: min(ends)], finish="stop", stop_left_out=False)


def says_context_full(status: int, message: str) -> bool:
    """Whether a refusal means that the prompt, or the prompt and the reply, are longer than the model takes."""
    return status in (400, 413, 422) and TOO_LONG.search(message) is not None


def seconds_of(retry_after: str | None) -> float | None:
    """Return what the header ``Retry-After`` asks for, if it is a plain number."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return min(seconds, LONGEST_WAIT_S) if seconds >= 0 else None


def _completion(
    content: object, thoughts: object, calls: object, finish: object, usage: object, where: str
) -> Completion:
    if finish == "content_filter":
        raise CompletionError(f"{where} withheld the reply: its content filter did not let it through.")
    if finish not in ENDS:
        raise TemporaryCompletionError(
            f"{where} ended the reply with {short(finish)}, which is no end of a model's own."
        )
    if not isinstance(content, str | None) or not isinstance(thoughts, str | None):
        raise CompletionError(f"{where} answered with the content {short(content)}, expected text.")
    if not isinstance(calls, list | tuple) or not all(isinstance(call, dict) for call in calls):
        raise CompletionError(f"{where} answered with the tool calls {short(calls)}, expected a list of objects.")
    text = (f"<think>{thoughts}</think>" if thoughts else "") + (content or "")
    ended: Finish = "length" if finish == "length" else "stop"
    counted = usage if isinstance(usage, dict) else {}
    return Completion(
        content=text, tool_calls=tuple(map(_without_id, calls[:MAX_CALLS])), finish=ended,
        prompt_tokens=_count(counted.get("prompt_tokens")), completion_tokens=_count(counted.get("completion_tokens")),
    )  # fmt: skip


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None


def _without_id(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call without what the server makes up for it, and in one order: records of equal replies are equal."""
    kept = {key: call[key] for key in ("type", "function") if key in call}
    function = kept.get("function")
    if isinstance(function, dict):
        kept["function"] = {key: function[key] for key in ("name", "arguments") if key in function}
    return kept
