"""Native tool calls of models that run without a server: what a server would take out of their text."""

from __future__ import annotations

import json
import re
from typing import Any

from ..strict_json import StrictJSONError, loads

__all__ = ["split_calls"]

CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def split_calls(text: str) -> tuple[str, tuple[dict[str, Any], ...]]:
    r"""Take the calls out of a reply that has them as JSON in ``<tool_call>`` tags, as Qwen and other families write them.

    Args:
        text: What the model wrote.

    Returns:
        What is left, and the calls as an OpenAI-compatible server sends them. A reply of which one call is malformed is left
        whole, without calls; so is what a model only thinks of, before ``</think>``.

    Example:
        >>> split_calls('There.\n<tool_call>\n{"name": "submit", "arguments": {}}\n</tool_call>')
        ('There.', ({'type': 'function', 'function': {'name': 'submit', 'arguments': '{}'}},))
    """
    thought, marker, body = text.rpartition("</think>")
    calls = []
    for inside in CALL.findall(body):
        try:
            found = loads(inside)
        except StrictJSONError:
            return text, ()
        if (
            not isinstance(found, dict)
            or not isinstance(found.get("name"), str)
            or not isinstance(found.get("arguments"), dict)
        ):
            return text, ()
        arguments = json.dumps(found["arguments"], ensure_ascii=False)
        calls.append({"type": "function", "function": {"name": found["name"], "arguments": arguments}})
    if not calls:
        return text, ()
    return (thought + marker + CALL.sub("", body)).strip(), tuple(calls)
