"""Calls in an envelope of tags: exactly one, whole, last in the reply."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .. import strict_json
from ..errors import short
from ..tools import ToolCall
from ._base import ParseError, checked_text, split_thought

__all__ = [
    "ENVELOPE_CODES",
    "JSON_CODES",
    "call_from_json",
    "checked_call",
    "json_in_tags",
    "open_envelope",
    "response_messages",
]

ENVELOPE_CODES = ("too_long", "no_call", "stray_tag", "unclosed", "two_calls", "text_after")
JSON_CODES = ("bad_json", "bad_form")


@functools.cache
def _taglike(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"<\s{{0,4}}/?\s{{0,4}}(?:{'|'.join(names)})\s{{0,4}}/?\s{{0,4}}>", re.IGNORECASE)


def open_envelope(reply: object, names: tuple[str, ...], remedy: str) -> tuple[str, str, str]:
    """Return what stands before a reply's one envelope, the name of its tag and what is inside.

    Thoughts up to the last ``</think>`` are not looked at. Anything like a tag of these names, misspelt or not, counts.

    Args:
        reply: What the model wrote.
        names: The tags that may hold a call.
        remedy: Ends every message.

    Raises:
        ParseError: One of ``ENVELOPE_CODES``.
    """
    thought, body = split_thought(checked_text(reply, remedy))
    tags = _taglike(names).findall(body)
    if not tags:
        raise ParseError("no_call", f"The reply holds no tool call. {remedy}")
    opening = {f"<{name}>": name for name in names}
    name = opening.get(tags[0])
    odd = next((t for t in tags if t not in opening and t not in {f"</{n}>" for n in names}), None)
    if odd is not None or name is None:
        raise ParseError("stray_tag", f"The reply holds a misplaced or misspelt tag {short(odd or tags[0])}. {remedy}")
    if f"</{name}>" not in tags:
        raise ParseError("unclosed", f"The tool call is not closed. {remedy}")
    if len(tags) > 2:
        raise ParseError("two_calls", f"The reply holds more than one tool call. {remedy}")
    before, _, rest = body.partition(f"<{name}>")
    inside, _, after = rest.partition(f"</{name}>")
    if after.strip():
        raise ParseError("text_after", f"Text follows the tool call: {short(after.strip())}. {remedy}")
    return (thought + before).strip(), name, inside


def call_from_json(text: str, key: str, remedy: str) -> ToolCall:
    """Return the call of a JSON object with exactly the keys ``name`` and ``key``, which holds the arguments.

    Raises:
        ParseError: One of ``JSON_CODES``.
    """
    try:
        found = strict_json.loads(text)
    except strict_json.StrictJSONError as error:
        raise ParseError("bad_json", f"The tool call is not valid JSON ({error}). {remedy}") from None
    return checked_call(found, key, remedy)


def checked_call(found: Any, key: str, remedy: str) -> ToolCall:
    """Return ``found`` as a call if it has the form of one.

    Raises:
        ParseError: ``bad_form``.
    """
    if (
        not isinstance(found, dict)
        or set(found) != {"name", key}
        or not isinstance(found["name"], str)
        or not isinstance(found[key], dict)
    ):
        raise ParseError(
            "bad_form", f'The call is {short(found)}. Expected exactly the keys "name" (text) and "{key}". {remedy}'
        )
    return {"name": found["name"], "arguments": found[key]}


def json_in_tags(call: ToolCall, tag: str, key: str, thought: str = "") -> str:
    """Write a call as JSON inside tags, no tag inside an argument."""
    body = json.dumps({"name": call["name"], key: call["arguments"]}, ensure_ascii=False).replace("<", "\\u003c")
    return (f"{thought}\n" if thought else "") + f"<{tag}>\n{body}\n</{tag}>"


def response_messages(text: str, images: Sequence[Mapping[str, Any]], tag: str) -> list[dict[str, Any]]:
    """Return a user message with a tool's result inside tags, pictures included."""
    opening = {"type": "text", "text": f"<{tag}>\n{text}\n"}
    return [{"role": "user", "content": [opening, *images, {"type": "text", "text": f"</{tag}>"}]}]
