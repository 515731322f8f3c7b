"""The small language of names with options, ``NAME:key=value,key=value``, used for agents, experts, tasks and memory."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import bad_value, short

__all__ = ["OptionValue", "name_of", "parse_spec", "read_value", "split_options", "split_specs", "write_spec"]

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
    name, texts = split_options(spec)
    return name, {key: read_value(text) for key, text in texts.items()}


def split_options(spec: str) -> tuple[str, dict[str, str | None]]:
    """Split ``NAME:key=value,…`` into the name and its options as they are written; a bare word has ``None``.

    Raises:
        BadValueError: An option is given twice or has no name.

    Example:
        >>> split_options("COCO:mode=count,images=2017")
        ('COCO', {'mode': 'count', 'images': '2017'})
    """
    _, _, rest = spec.partition(":")
    options: dict[str, str | None] = {}
    for part in filter(None, rest.split(",")):
        key, equals, text = part.partition("=")
        key = key.strip()
        if not key.isidentifier() or key in options:
            raise bad_value("option", part, expected="key=value with each key once", remedy=f"Found in {short(spec)}.")
        options[key] = text if equals else None
    return name_of(spec), options


def name_of(spec: str) -> str:
    """Return the name of a spec, without its options."""
    return spec.partition(":")[0].strip()


def read_value(text: str | None) -> OptionValue:
    """Return what an option's text means: a number or a truth value if it reads as one, ``True`` for a bare word."""
    if text is None or text in ("true", "false"):
        return text != "false"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def write_spec(name: str, options: Mapping[str, OptionValue]) -> str:
    """Return ``NAME:key=value,…``, options in the order of their names.

    Example:
        >>> write_spec("COCO", {"mode": "count", "images": "2017"})
        'COCO:images=2017,mode=count'
    """
    texts = [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in sorted(options.items())
    ]
    return f"{name}:{','.join(texts)}" if texts else name


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
