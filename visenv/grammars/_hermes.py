"""Hermes calls: JSON inside ``<tool_call>`` tags, as Qwen2.5 and Qwen3 chat templates have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..tools import ToolCall, Toolset
from ._base import Grammar, Parsed
from ._envelope import ENVELOPE_CODES, JSON_CODES, call_from_json, json_in_tags, open_envelope, response_messages

__all__ = ["HermesGrammar"]

TAG = "tool_call"
REMEDY = f'End with one call: <{TAG}>{{"name": …, "arguments": {{…}}}}</{TAG}>'


class HermesGrammar(Grammar):
    """One ``<tool_call>{"name": …, "arguments": {…}}</tool_call>``, optionally after thinking or plain text.

    Text after the call is refused. Differs from VisHarness's parser in two points: text before the call need not be
    a closed think block, and unknown keys in the JSON are refused.
    """

    name = "hermes"
    stop = (f"</{TAG}>",)
    error_codes = (*ENVELOPE_CODES, *JSON_CODES)

    def example(self, toolset: Toolset) -> str:
        return json_in_tags({"name": "TOOL", "arguments": {"ARGUMENT": "VALUE"}}, TAG, "arguments")

    def parse(self, reply: str | Mapping[str, Any], toolset: Toolset) -> Parsed:
        thought, _, inside = open_envelope(reply, (TAG,), REMEDY)
        return Parsed(call=call_from_json(inside, "arguments", REMEDY), thought=thought)

    def render(self, call: ToolCall, toolset: Toolset, thought: str = "") -> str:
        return json_in_tags(call, TAG, "arguments", thought)

    def feedback_messages(
        self, text: str, images: list[dict[str, Any]], turn: int, *, answered_call: bool
    ) -> list[dict[str, Any]]:
        # The closing tag ends the message: Qwen3's template keeps earlier thinking only after such a message.
        return response_messages(text, images, "tool_response")
