"""Keeping secrets out of everything that is written or printed."""

from __future__ import annotations

import re

__all__ = ["redact"]

SECRET = re.compile(
    r"(?i)\b(?!(?:max|min|num|stop)_?\w*tokens?\b)([\w-]*(?:api[_-]?key|secret|token(?!s\b)|passw(?:or)?d|\bkey\b|\bauth)[\w-]*)"
    r"=(?:Bearer\s+)?[^,\s'\"]+"
)
"""Options whose values are secrets, by name; ``max_tokens`` and its like are not."""


def redact(text: str) -> str:
    """Return a spec or a command without the values of options that are secrets.

    Example:
        >>> redact("zero-shot:model=a,api_key=abc,max_tokens=9")
        'zero-shot:model=a,api_key=***,max_tokens=9'
    """
    text = re.sub(r"(?i)(\w+://)[^/@\s]+:[^/@\s]+@", r"\1***@", text)
    return SECRET.sub(r"\1=***", text)
