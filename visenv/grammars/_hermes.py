"""Hermes calls: JSON inside ``<tool_call>`` tags, as Qwen2.5 and Qwen3 chat templates have them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .. import strict_json
from ..errors import short
from ..tools import ToolCall, Toolset
from ._base import Grammar, Parsed, ParseError

__all__ = ["HermesGrammar"]

OPEN, CLOSE = "<tool_call>", "</tool_call>"
TAGLIKE = re.compile(r"<\s{0,4}/?\s{0,4}tool_call\s{0,4}/?\s{0,4}>", re.IGNORECASE)


class HermesGrammar(Grammar):
    """One ``<tool_call>{"name": …, "arguments": {…}}</tool_call>``, optionally after thinking or plain text.

    Text after the call is refused. Differs from VisHarness's parser in two points: text before the call need not be
    a closed think block, and unknown keys in the JSON are refused.
    """

    name = "hermes"
    stop = (CLOSE,)
    error_codes = ("too_long", "no_call", "stray_tag", "unclosed", "two_calls", "text_after", "bad_json", "bad_form")

    def system_prompt(self, toolset: Toolset) -> str:
        tools = "\n".join(json.dumps(t.to_openai(), ensure_ascii=False) for t in toolset.tools)
        example = self.render({"name": "TOOL", "arguments": {"ARGUMENT": "VALUE"}})
        return (
            "# Tools\n\nYou work by calling tools, one call per turn. Their signatures:\n"
            f"<tools>\n{tools}\n</tools>\n\n"
            f"End every turn with exactly one call in this form, and nothing after it:\n{example}"
            + (f"\n\n{toolset.guidance}" if toolset.guidance else "")
        )

    def parse(self, reply: str | Mapping[str, Any]) -> Parsed:
        if not isinstance(reply, str):
            raise ParseError("no_call", f"The reply is {short(reply)}. Expected text. {self._remedy()}")
        if len(reply) > strict_json.MAX_CHARS:
            raise ParseError(
                "too_long", f"The reply has {len(reply)} characters. Expected at most {strict_json.MAX_CHARS}."
            )
        thought, marker, _ = reply.rpartition("</think>")
        body = reply[len(thought) + len(marker) :]
        tags = TAGLIKE.findall(body)
        if not tags:
            raise ParseError("no_call", f"The reply holds no tool call. {self._remedy()}")
        if any(t not in (OPEN, CLOSE) for t in tags) or tags[0] != OPEN:
            raise ParseError(
                "stray_tag", f"The reply holds a misplaced or misspelt tag {short(tags[0])}. {self._remedy()}"
            )
        if CLOSE not in tags:
            raise ParseError("unclosed", f"The tool call is not closed. {self._remedy()}")
        if len(tags) > 2:
            raise ParseError("two_calls", f"The reply holds more than one tool call. {self._remedy()}")
        before, _, rest = body.partition(OPEN)
        inside, _, after = rest.partition(CLOSE)
        if after.strip():
            raise ParseError("text_after", f"Text follows the tool call: {short(after.strip())}. {self._remedy()}")
        try:
            call = strict_json.loads(inside)
        except strict_json.StrictJSONError as error:
            raise ParseError("bad_json", f"The tool call is not valid JSON ({error}). {self._remedy()}") from None
        return Parsed(call=_checked(call, self._remedy()), thought=(thought + marker + before).strip())

    def render(self, call: ToolCall, thought: str = "") -> str:
        body = json.dumps({"name": call["name"], "arguments": call["arguments"]}, ensure_ascii=False)
        body = body.replace("<", "\\u003c")  # no tag inside an argument
        return (f"{thought}\n" if thought else "") + f"{OPEN}\n{body}\n{CLOSE}"

    def assistant_message(self, reply: str, turn: int) -> dict[str, Any]:
        return {"role": "assistant", "content": [{"type": "text", "text": reply}]}

    def feedback_messages(
        self, text: str, images: list[dict[str, Any]], turn: int, *, answered_call: bool
    ) -> list[dict[str, Any]]:
        # The closing tag ends the message: Qwen3's template keeps earlier thinking only after such a message.
        opening = {"type": "text", "text": f"<tool_response>\n{text}\n"}
        return [{"role": "user", "content": [opening, *images, {"type": "text", "text": "</tool_response>"}]}]

    def _remedy(self) -> str:
        return f'End with one call: {OPEN}{{"name": …, "arguments": {{…}}}}{CLOSE}'


def _checked(call: Any, remedy: str) -> ToolCall:
    """Return ``call`` if it has the form of a call.

    Raises:
        ParseError: ``bad_form``.
    """
    if (
        not isinstance(call, dict)
        or set(call) != {"name", "arguments"}
        or not isinstance(call["name"], str)
        or not isinstance(call["arguments"], dict)
    ):
        raise ParseError(
            "bad_form", f'The call is {short(call)}. Expected exactly the keys "name" (text) and "arguments". {remedy}'
        )
    return call
