"""The small language of names with options, ``NAME:key=value,key=value``, used for agents, experts and memory."""

from __future__ import annotations

from .errors import bad_value

__all__ = ["OptionValue", "parse_spec", "split_specs"]

OptionValue = str | int | float | bool


def parse_spec(spec: str) -> tuple[str, dict[str, OptionValue]]:
    """Split ``NAME:key=value,…`` into the name and its options.

    Values that read as integers, numbers, ``true`` or ``false`` become those; all else stays text. A bare word
    ``NAME:word`` means ``word=true``.

    Raises:
        BadValueError: An option is given twice or has no name.

    Example:
        >>> parse_spec("zero-shot:model=tiny,temperature=0.5,think")
        ('zero-shot', {'model': 'tiny', 'temperature': 0.5, 'think': True})
    """
    name, _, rest = spec.partition(":")
    options: dict[str, OptionValue] = {}
    for part in filter(None, rest.split(",")):
        key, equals, text = part.partition("=")
        if not key.isidentifier() or key in options:
            raise bad_value("option", part, expected="key=value with each key once", remedy=f"Found in {spec!r}.")
        options[key] = _value(text) if equals else True
    return name.strip(), options


def split_specs(text: str) -> list[str]:
    """Split a comma-separated list of names with options.

    A comma followed by ``key=`` continues the options of the name before it.

    Example:
        >>> split_specs("random,zero-shot:model=a,endpoint=b,oracle")
        ['random', 'zero-shot:model=a,endpoint=b', 'oracle']
    """
    parts: list[str] = []
    for part in text.split(","):
        key = part.split(":", 1)[0]
        if parts and "=" in key and ":" in parts[-1]:
            parts[-1] += f",{part}"
        elif part.strip():
            parts.append(part.strip())
    return parts


def _value(text: str) -> OptionValue:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
