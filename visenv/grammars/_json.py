"""Plain JSON: the whole reply is one object, for models without a form of their own and for guided decoding."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .. import strict_json
from ..errors import short
from ..tools import ToolCall, Toolset
from ._base import Grammar, Parsed, ParseError, checked_text, split_thought
from ._envelope import JSON_CODES, checked_call

__all__ = ["JSONGrammar"]

FENCED = re.compile(r"\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL)
REMEDY = 'Reply with one JSON object and nothing else: {"thought": "…", "name": …, "arguments": {…}}'


class JSONGrammar(Grammar):
    """``{"thought": …, "name": …, "arguments": {…}}`` and nothing around it, the thought optional.

    A closed think block may come first, and the object may stand in one fenced block, as many models write it.
    """

    name = "json"
    error_codes = ("too_long", "no_call", "text_around", *JSON_CODES)

    def example(self, toolset: Toolset) -> str:
        return '{"thought": "WHY", "name": "TOOL", "arguments": {"ARGUMENT": "VALUE"}}'

    def parse(self, reply: str | Mapping[str, Any], toolset: Toolset) -> Parsed:
        before, body = split_thought(checked_text(reply, REMEDY))
        fenced = FENCED.fullmatch(body)
        text = (fenced[1] if fenced else body).strip()
        if "{" not in text:
            raise ParseError("no_call", f"The reply holds no JSON object. {REMEDY}")
        if text[0] != "{" or text[-1] != "}":
            raise ParseError("text_around", f"Text stands around the object: {short(text)}. {REMEDY}")
        try:
            found = strict_json.loads(text)
        except strict_json.StrictJSONError as error:
            raise ParseError("bad_json", f"The reply is not valid JSON ({error}). {REMEDY}") from None
        thought = found.pop("thought", "") if isinstance(found, dict) else ""
        if not isinstance(thought, str):
            raise ParseError("bad_form", f'"thought" is {short(thought)}. Expected text. {REMEDY}')
        return Parsed(call=checked_call(found, "arguments", REMEDY), thought=(before + thought).strip())

    def render(self, call: ToolCall, toolset: Toolset, thought: str = "") -> str:
        written = {"thought": thought} if thought else {}
        text = json.dumps({**written, "name": call["name"], "arguments": call["arguments"]}, ensure_ascii=False)
        return text.replace("<", "\\u003c")  # no tag inside an argument

    def feedback_messages(
        self, text: str, images: list[dict[str, Any]], turn: int, *, answered_call: bool
    ) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "text", "text": text}, *images]}]
