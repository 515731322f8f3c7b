"""Keeping secrets out of everything that is written or printed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

__all__ = ["find_secrets", "hide_values", "redact"]

OPTION = re.compile(
    r"(?i)\b(?!(?:max|min|num|stop)_?\w*tokens?\b)"
    r"([\w-]*(?:api[_-]?key|secret|token(?!s\b)|passw(?:or)?d|passphrase|\bpwd\b|_pwd\b|credential|\bkey\b|\bauth)[\w-]*)"
    r"=('[^']*'|\"[^\"]*\"|(?:Bearer\s+)?[^,\s'\"]+)"
)
"""Options whose values are secrets, by name; ``max_tokens`` and its like are not."""
LOGIN = re.compile(r"(\w+://)([^/\s]+)@")
"""A login in an address; a password may hold an ``@`` of its own."""
VARIABLE = re.compile(
    r"(?i)(api_?key|access_?key|secret|token(?!izer)|passw|passphrase|_pwd$|credential|_key$|^key$|_auth$)"
)
"""Environment variables whose values are secrets, by name."""
KEY_VARIABLE = re.compile(r"\bkey_env=([^,\s'\"]+)")
"""An option that names the variable which holds a key."""
SHORTEST = 8
"""Values below this length are words rather than secrets."""


def find_secrets(texts: Iterable[str] = ()) -> tuple[str, ...]:
    """Return every secret known: what environment variables hold, and the values of options in the texts given.

    Values of fewer than 8 characters are words rather than secrets, and left out.

    Example:
        >>> "sk-12345678" in find_secrets(["zero-shot:model=a,api_key=sk-12345678"])
        True
    """
    found = [value for name, value in os.environ.items() if VARIABLE.search(name)]
    found += [os.environ.get(match.group(1), "") for text in texts for match in KEY_VARIABLE.finditer(text)]
    found += [match.group(2).strip("'\"") for text in texts for match in OPTION.finditer(text)]
    for text in (*os.environ.values(), *texts):
        for login in LOGIN.finditer(text):
            user, _, password = login.group(2).partition(":")
            found.append(password or user)
    return tuple(sorted({value for value in found if len(value) >= SHORTEST}, key=len, reverse=True))


def hide_values(text: str, secrets: Iterable[str]) -> str:
    """Return a text with ``***`` for each of the secrets, wherever they stand in it.

    Example:
        >>> hide_values("401 for key sk-12345678", ["sk-12345678"])
        '401 for key ***'
    """
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def redact(text: str, secrets: Iterable[str] | None = None) -> str:
    """Return a text without what is secret: values of options by name, logins in addresses, and known secrets.

    Args:
        text: A spec, a command, or a message of whatever origin.
        secrets: Those known; by default what the environment holds.

    Example:
        >>> redact("zero-shot:model=a,api_key=abc,max_tokens=9")
        'zero-shot:model=a,api_key=***,max_tokens=9'
    """
    text = hide_values(text, find_secrets() if secrets is None else secrets)
    return OPTION.sub(r"\1=***", LOGIN.sub(r"\1***@", text))
