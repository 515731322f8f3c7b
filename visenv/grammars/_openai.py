"""Native OpenAI tool calls: structured calls beside the text, tools sent beside the messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import strict_json
from ..errors import short
from ..tools import ToolCall, Toolset
from ._base import Grammar, Parsed, ParseError

__all__ = ["OpenAIGrammar"]


class OpenAIGrammar(Grammar):
    """One function call in the ``tool_calls`` of an assistant message.

    A reply is the message as a mapping, or the same as JSON text (the form in which records keep it).
    """

    name = "openai"
    sends_tools = True
    error_codes = ("bad_message", "no_call", "two_calls", "bad_form", "bad_json")

    def describe_tools(self, toolset: Toolset) -> str:
        return ""  # sent beside the messages

    def example(self, toolset: Toolset) -> str:
        return ""  # the server's template knows the form

    def parse(self, reply: str | Mapping[str, Any], toolset: Toolset) -> Parsed:
        if isinstance(reply, str):
            try:
                reply = strict_json.loads(reply)
            except strict_json.StrictJSONError as error:
                raise ParseError("bad_message", f"The reply is not a message in JSON ({error}). {_REMEDY}") from None
        if not isinstance(reply, Mapping) or not isinstance(reply.get("content"), (str, type(None))):
            raise ParseError("bad_message", f"The reply is {short(reply)}. Expected an assistant message. {_REMEDY}")
        calls = reply.get("tool_calls")
        if not calls:
            raise ParseError("no_call", f"The reply holds no tool call. {_REMEDY}")
        if not isinstance(calls, (list, tuple)):
            raise ParseError("bad_form", f"tool_calls is {short(calls)}. Expected a list. {_REMEDY}")
        if len(calls) > 1:
            raise ParseError("two_calls", f"The reply holds {len(calls)} tool calls. {_REMEDY}")
        function = calls[0].get("function") if isinstance(calls[0], Mapping) else None
        if (
            not isinstance(function, Mapping)
            or not isinstance(function.get("name"), str)
            or not isinstance(function.get("arguments"), str)
        ):
            raise ParseError(
                "bad_form", f"The call is {short(calls[0])}. Expected a function with arguments. {_REMEDY}"
            )
        try:
            arguments = strict_json.loads(function["arguments"])
        except strict_json.StrictJSONError as error:
            raise ParseError("bad_json", f"The arguments are not valid JSON ({error}). {_REMEDY}") from None
        if not isinstance(arguments, dict):
            raise ParseError("bad_form", f"The arguments are {short(arguments)}. Expected an object. {_REMEDY}")
        return Parsed(call={"name": function["name"], "arguments": arguments}, thought=reply.get("content") or "")

    def render(self, call: ToolCall, toolset: Toolset, thought: str = "") -> str:
        function = {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)}
        return json.dumps(
            {"content": thought or None, "tool_calls": [{"type": "function", "function": function}]}, ensure_ascii=False
        )

    def assistant_message(self, reply: str, turn: int, toolset: Toolset) -> dict[str, Any]:
        try:
            parsed = self.parse(reply, toolset)
        except ParseError:
            return {"role": "assistant", "content": _said(reply)}
        function = {
            "name": strict_json.encodable(parsed.call["name"]),
            "arguments": strict_json.encodable(json.dumps(parsed.call["arguments"], ensure_ascii=False)),
        }
        call = {"id": f"call_{turn}", "type": "function", "function": function}
        return {"role": "assistant", "content": strict_json.encodable(parsed.thought) or None, "tool_calls": [call]}

    def feedback_messages(
        self, text: str, images: list[dict[str, Any]], turn: int, *, answered_call: bool
    ) -> list[dict[str, Any]]:
        # Tool messages carry text only in this interface: images follow in a user message.
        if not answered_call:
            return [{"role": "user", "content": [{"type": "text", "text": text}, *images]}]
        messages: list[dict[str, Any]] = [{"role": "tool", "tool_call_id": f"call_{turn}", "content": text}]
        return messages + ([{"role": "user", "content": images}] if images else [])


def _said(reply: str) -> str:
    """Return what a message without one valid call says, for its JSON is no text that a model should learn to write."""
    try:
        message = strict_json.loads(reply)
        content, calls = message.get("content") or "", message.get("tool_calls") or ()
    except (strict_json.StrictJSONError, AttributeError):
        return reply
    if not isinstance(content, str):
        return reply
    count = len(calls) if isinstance(calls, list) else 1
    return "\n".join(
        filter(None, [content, f"[{count} function call{'s'[: count != 1]}, not carried out]" * bool(calls)])
    )


_REMEDY = "Make exactly one function call per turn."
