"""Data as classic scripts: a page opened from disk may not fetch files, but it may add a script.

A shard calls one function with its name and JSON text. The text is escaped so that no content can end the string, the
script or the page, and is parsed as JSON, so that no key has a meaning in JavaScript.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

__all__ = ["NAME", "named_shard", "parse_shard", "shard", "text_hash"]

NAME = r"[0-9a-f]{24}"
"""The form of every name made of a hash."""
ESCAPES = {"\\": "\\\\", "'": "\\u0027", "<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_ESCAPED = re.compile(r"[\\'<>&]")
_UNESCAPED = re.compile(r"\\\\|\\u00([0-9a-f]{2})")
_SHARD = re.compile(rf"visenvShard\('({NAME})','(.*)'\);\n")


def shard(data: Any) -> tuple[str, bytes]:
    """Return the name (by content) and the script of some data; numbers that are not finite become ``null``."""
    text = _dump(data)
    name = text_hash(text)
    return name, named_shard(name, text)


def named_shard(name: str, data: Any) -> bytes:
    """Return the script that hands over ``data`` (JSON text, if it is text) under a name of the form :data:`NAME`."""
    text = data if isinstance(data, str) else _dump(data)
    return f"visenvShard('{name}','{_ESCAPED.sub(lambda m: ESCAPES[m[0]], text)}');\n".encode("ascii")


def parse_shard(script: bytes) -> Any:
    """Return the data of a script from this module.

    Raises:
        ValueError: It is none, or was cut off.

    Example:
        >>> parse_shard(shard({"a": "</script>"})[1])
        {'a': '</script>'}
    """
    found = _SHARD.fullmatch(script.decode("ascii"))
    if found is None:
        raise ValueError("not a shard")
    return json.loads(_UNESCAPED.sub(lambda m: "\\" if m[1] is None else chr(int(m[1], 16)), found[2]))


def text_hash(*parts: str) -> str:
    """Return a file name's worth of hash of some texts, half surrogates included."""
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()[:24]


def _dump(data: Any) -> str:
    try:
        return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except ValueError:  # somebody's record holds a number that JSON has no word for
        return json.dumps(_finite(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {k: _finite(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(v) for v in data]
    return data
