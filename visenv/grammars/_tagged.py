"""Calls as JSON inside tags of a paper's own, in the style of RSAgent and of SAM 3 Agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..errors import short
from ..tools import ToolCall, Toolset
from ._base import Grammar, Parsed, ParseError
from ._envelope import ENVELOPE_CODES, JSON_CODES, call_from_json, json_in_tags, open_envelope, response_messages

__all__ = ["RSAgentGrammar", "SAM3AgentGrammar"]


class RSAgentGrammar(Grammar):
    """Tools that look and refine in ``<action>``, the final one in ``<answer>``; both hold ``{"name": …, "arguments": {…}}``.

    In the style of RSAgent (arXiv 2512.24023), whose grammar is not published; two tags after its open relatives,
    IBISAgent for one. A final call in ``<action>`` or another in ``<answer>`` is refused, so that a model learns to mean its end.
    """

    name = "rsagent"
    stop = ("</action>", "</answer>")
    error_codes = (*ENVELOPE_CODES, *JSON_CODES, "wrong_tag")
    remedy: ClassVar[str] = (
        'End with <action>{"name": …, "arguments": {…}}</action>, or with the final call in <answer>…</answer>.'
    )

    def example(self, toolset: Toolset) -> str:
        call = {"name": "TOOL", "arguments": {"ARGUMENT": "VALUE"}}
        return f"{json_in_tags(call, 'action', 'arguments')}\n\n{json_in_tags({**call, 'name': 'FINAL_TOOL'}, 'answer', 'arguments')}"

    def parse(self, reply: str | Mapping[str, Any], toolset: Toolset) -> Parsed:
        thought, tag, inside = open_envelope(reply, ("action", "answer"), self.remedy)
        call = call_from_json(inside, "arguments", self.remedy)
        if call["name"] in toolset and tag != self._tag(call, toolset):
            raise ParseError(
                "wrong_tag",
                f"{short(call['name'])} stands in <{tag}>. Expected <{self._tag(call, toolset)}>. {self.remedy}",
            )
        return Parsed(call=call, thought=thought)

    def render(self, call: ToolCall, toolset: Toolset, thought: str = "") -> str:
        return json_in_tags(call, self._tag(call, toolset), "arguments", thought)

    def feedback_messages(
        self, text: str, images: list[dict[str, Any]], turn: int, *, answered_call: bool
    ) -> list[dict[str, Any]]:
        return response_messages(text, images, "observation")

    @staticmethod
    def _tag(call: ToolCall, toolset: Toolset) -> str:
        return "answer" if call["name"] in toolset and toolset[call["name"]].answers is not None else "action"


class SAM3AgentGrammar(Grammar):
    """One ``<tool>{"name": …, "parameters": {…}}</tool>`` after thinking.

    In the style of SAM 3 Agent (facebookresearch/sam3), whose runs end at a malformed call; here it is an observation.
    """

    name = "sam3agent"
    stop = ("</tool>",)
    error_codes = (*ENVELOPE_CODES, *JSON_CODES)
    remedy: ClassVar[str] = 'End with one call: <tool>{"name": …, "parameters": {…}}</tool>'

    def example(self, toolset: Toolset) -> str:
        return json_in_tags({"name": "TOOL", "arguments": {"PARAMETER": "VALUE"}}, "tool", "parameters")

    def parse(self, reply: str | Mapping[str, Any], toolset: Toolset) -> Parsed:
        thought, _, inside = open_envelope(reply, ("tool",), self.remedy)
        return Parsed(call=call_from_json(inside, "parameters", self.remedy), thought=thought)

    def render(self, call: ToolCall, toolset: Toolset, thought: str = "") -> str:
        return json_in_tags(call, "tool", "parameters", thought)

    def feedback_messages(
        self, text: str, images: list[dict[str, Any]], turn: int, *, answered_call: bool
    ) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "text", "text": text}, *images]}]
