"""JSON as the standard has it, for text that a model wrote: no NaN, no repeated keys, no depth bombs, never an odd exception."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

__all__ = ["MAX_CHARS", "StrictJSONError", "encodable", "loads"]

MAX_CHARS = 100_000
"""Longest text that is looked at."""
STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
MAX_DEPTH = 16
"""Deepest nesting of lists and objects."""


class StrictJSONError(ValueError):
    """The text is not strict JSON; the message says why, in one line."""


def loads(text: str) -> Any:
    """Parse strict JSON.

    Raises:
        StrictJSONError: For anything else, whatever is wrong with it.
    """
    if len(text) > MAX_CHARS:
        raise StrictJSONError(f"longer than {MAX_CHARS} characters")
    depth = deepest = 0
    for character in STRING.sub("", text):
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise StrictJSONError(f"nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(text, object_pairs_hook=_no_repeats, parse_constant=_refuse)
    except StrictJSONError:
        raise
    except (ValueError, RecursionError) as error:
        raise StrictJSONError(str(error).splitlines()[0]) from None


def encodable(text: str) -> str:
    """Return a text with U+FFFD for half surrogates, which JSON can name but no request and no tokenizer can hold."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise StrictJSONError("a key is given twice")
    return made


def _refuse(constant: str) -> NoReturn:
    raise StrictJSONError(f"{constant} is not a JSON number")
