"""The XML form of calls that newer Qwen models write: ``<function=NAME>`` with a ``<parameter=KEY>`` for each argument."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .. import strict_json
from ..errors import short
from ..tools import ToolCall, Toolset
from ._base import Grammar, Parsed, ParseError
from ._envelope import ENVELOPE_CODES, open_envelope, response_messages

__all__ = ["QwenXMLGrammar"]

TAG = "tool_call"
NAME = r"[^<>=\s]{1,64}"
FUNCTION = re.compile(rf"\s*<function=({NAME})>(.*)</function>\s*", re.DOTALL)
PARAMETER = re.compile(rf"\s*<parameter=({NAME})>(.*?)</parameter>\s*", re.DOTALL)
MARKUP = re.compile(r"</?(?:function|parameter|tool_call|think)\b", re.IGNORECASE)
REMEDY = f"End with one call: <{TAG}><function=NAME><parameter=KEY>VALUE</parameter></function></{TAG}>"


class QwenXMLGrammar(Grammar):
    """``<tool_call><function=NAME><parameter=KEY>VALUE</parameter>…</function></tool_call>``, after thinking or plain text.

    Text arguments are written as they are, on a line of their own, or as a JSON string; all others as JSON. A text that could be
    misread (markup, quotes around it, space at its ends) must be a JSON string; :meth:`render` does so. VisHarness's parser of this form
    guesses from the value and can express neither numbers nor a call without arguments; here the tool's schema decides.
    """

    name = "qwen-xml"
    stop = (f"</{TAG}>",)
    error_codes = (*ENVELOPE_CODES, "bad_form", "bad_markup", "bad_value", "repeated_parameter")

    def example(self, toolset: Toolset) -> str:
        return (
            f"<{TAG}>\n<function=TOOL>\n<parameter=ARGUMENT_1>\nVALUE_1\n</parameter>\n"
            f"<parameter=ARGUMENT_2>\nVALUE_2\n</parameter>\n</function>\n</{TAG}>"
        )

    def parse(self, reply: str | Mapping[str, Any], toolset: Toolset) -> Parsed:
        thought, _, inside = open_envelope(reply, (TAG,), REMEDY)
        function = FUNCTION.fullmatch(inside)
        if function is None:
            raise ParseError("bad_form", f"The call is {short(inside.strip())}. Expected one function. {REMEDY}")
        name, body = function.groups()
        texts = _text_arguments(name, toolset)
        arguments: dict[str, Any] = {}
        at = 0
        while body[at:].strip():
            parameter = PARAMETER.match(body, at)
            if parameter is None:
                raise ParseError("bad_form", f"{short(body[at:].strip())} is no parameter. {REMEDY}")
            key, value = parameter.groups()
            if key in arguments:
                raise ParseError("repeated_parameter", f"The parameter {short(key)} is given twice. {REMEDY}")
            arguments[key] = _read(key, value, is_text=texts.get(key, True))
            at = parameter.end()
        return Parsed(call={"name": name, "arguments": arguments}, thought=thought)

    def render(self, call: ToolCall, toolset: Toolset, thought: str = "") -> str:
        texts = _text_arguments(call["name"], toolset)
        parameters = "".join(
            f"<parameter={key}>\n{_write(value, is_text=texts.get(key, True))}\n</parameter>\n"
            for key, value in call["arguments"].items()
        )
        body = f"<{TAG}>\n<function={call['name']}>\n{parameters}</function>\n</{TAG}>"
        return (f"{thought}\n" if thought else "") + body

    def feedback_messages(
        self, text: str, images: list[dict[str, Any]], turn: int, *, answered_call: bool
    ) -> list[dict[str, Any]]:
        return response_messages(text, images, "tool_response")


def _text_arguments(tool: str, toolset: Toolset) -> dict[str, bool]:
    """Say of each argument of a tool whether it is text."""
    if tool not in toolset:
        return {}
    return {key: schema["type"] == "string" for key, schema in toolset[tool].schema["properties"].items()}


def _read(key: str, value: str, *, is_text: bool) -> Any:
    text = value.strip()
    if MARKUP.search(text) and not _is_json_string(text):
        raise ParseError(
            "bad_markup", f"The value of {short(key)} holds markup: {short(text)}. Write it as a JSON string. {REMEDY}"
        )
    if is_text and not _is_json_string(text):
        return text
    try:
        return strict_json.loads(text)
    except strict_json.StrictJSONError as error:
        raise ParseError(
            "bad_value", f"The value of {short(key)} is {short(text)}. Expected JSON ({error}). {REMEDY}"
        ) from None


def _write(value: Any, *, is_text: bool) -> str:
    if (
        is_text
        and isinstance(value, str)
        and value
        and value == value.strip()
        and not MARKUP.search(value)
        and not _is_json_string(value)
    ):
        return value
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _is_json_string(text: str) -> bool:
    if not (len(text) > 1 and text[0] == text[-1] == '"'):
        return False
    try:
        return isinstance(strict_json.loads(text), str)
    except strict_json.StrictJSONError:
        return False
