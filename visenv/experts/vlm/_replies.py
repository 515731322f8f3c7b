"""Reading the points, boxes and lines that a vision-language model wrote.

The forms are those that models were trained to write. Nothing is guessed: a reply in words found nothing if it says so in one of a
few ways (:func:`says_none`), every other one is an error; a reply cut off at the limit of tokens keeps what is complete.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...errors import short
from ...strict_json import MAX_CHARS, StrictJSONError, loads
from .._protocol import MAX_DESCRIPTION

__all__ = [
    "ReplyError",
    "read_description",
    "read_items",
    "read_lines",
    "read_numbers",
    "read_point_tags",
    "read_point_triples",
    "says_none",
    "thought_through",
]

Pair = tuple[float, float]

LARGEST = 1e6
"""No coordinate is larger."""
TAG = re.compile(r"<(points?)((?:\s+\w+=\"[^\"<>]*\")+)\s*(?:/>|>([^<>]*)</\1>)")
OPENING = re.compile(r"<points?\b")
ATTRIBUTE = re.compile(r"(\w+)=\"([^\"<>]*)\"")
PERCENT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,6})?")
TRIPLES = re.compile(r"[0-9]{1,4}(?: [0-9]{1,4} [0-9]{1,4} [0-9]{1,4})*")
CUT_TRIPLES = re.compile(r"coords=\"([0-9 ]*)$")
FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)

LONGEST_NONE = 300
SCENE = r"(?:the|this) (?:image|picture|photo|photograph|scene)"
SEEN = r"(?:visible|present|found|seen|detected|shown)"
THING = r"[^.,;:!?<>\[\](){}1-9]+"
NONE = re.compile(
    "|".join((
        rf"(?:none|nothing|0)(?: {SEEN})?(?: in {SCENE})?",
        rf"there(?:'s| is| are) (?:none|nothing|no|not any|0|zero)(?: {THING})?",
        rf"there (?:is not|isn't|are not|aren't) (?:an?|any) {THING}",
        rf"no {THING}(?: {SEEN}| in {SCENE})(?: in {SCENE})?",
        rf"i (?:do not|don't|cannot|can't|did not|didn't|could not|couldn't) (?:see|find|detect|locate) (?:an?|any) {THING}",
        rf"{THING} (?:is not|isn't|are not|aren't) (?:{SEEN}|(?:{SEEN} )?in {SCENE})",
        rf"{SCENE} (?:(?:does not|doesn't) (?:contain|show|have)(?: any| an?)?|(?:contains|shows|has) no) {THING}",
    ))
)  # fmt: skip
"""Whole sentences, in small letters, that say that nothing was found."""
NOT_NONE = re.compile(
    r"\b(?:(?:no|any|an?) (?:image|picture|photo|photograph|attachment|doubt|way|idea|access)s?"
    r"|(?:image|picture|photo|photograph)s? (?:is|isn't|are|aren't)|but|however|except|although|though"
    r"|because|since|only|question|policy|policies|files?|attached|requests?|requested|provided)\b"
)
"""Such a sentence with these words says something else, as that there is no picture."""
REFUSAL = re.compile(
    r"As an AI\b|I(?:'m| am) (?:very )?sorry\b|(?:I'm sorry|Sorry|Unfortunately|I apologi[sz]e)\W+(?:but )?(?:I|the|this|there)\b"
    r"|(?:I(?:'m| am) )?(?:[Uu]nable|not able) to\b|The (?:text|writing|words)\b.{0,60}?\b(?:is|are) (?:too|not (?:legible|readable)|illegible|unreadable|unclear)\b|I (?:can't|cannot|can not|couldn't|could not) (?:read|see|help|assist|make|identify|provide|view)\b"
)
"""How a reply begins that is not the text in a picture but an excuse."""


class ReplyError(ValueError):
    """A reply is not of the form that was asked for; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class _Tag:
    name: str
    attributes: tuple[tuple[str, str], ...]
    whole: bool
    """Whether it is closed."""


def thought_through(text: str) -> str:
    r"""Return a reply without the thoughts that some models put in front of it.

    Raises:
        ReplyError: It is too long, or nothing but thoughts without an end.

    Example:
        >>> thought_through("<think>Is it [1, 2]?</think>\n[]")
        '[]'
    """
    if len(text) > MAX_CHARS:
        raise ReplyError(f"longer than {MAX_CHARS} characters")
    _, _, answer = text.rpartition("</think>")
    if "<think>" in answer:
        raise ReplyError("cut off in the middle of its thoughts; allow more with max_tokens=…")
    return answer.strip()


def read_point_tags(text: str, *, cut: bool = False) -> list[Pair]:
    """Read ``<point x="…" y="…">`` and ``<points x1="…" y1="…" x2=…>``, percent of width and height.

    Args:
        text: The reply.
        cut: Whether it ended at the limit of tokens: then the last tag may be incomplete.

    Raises:
        ReplyError: A tag of another form, or words without a tag that do not say that there is none.

    Example:
        >>> read_point_tags('<points x1="10.5" y1="20" x2="30" y2="40.0" alt="cats">cats</points>')
        [(10.5, 20.0), (30.0, 40.0)]
    """
    pairs: list[Pair] = []
    for tag in _tags(text, cut=cut):
        named = dict(tag.attributes)
        named.pop("alt", None)
        for number in range(1, 2 if tag.name == "point" else (len(named) + 1) // 2 + 1):
            keys = ("x", "y") if tag.name == "point" else (f"x{number}", f"y{number}")
            if not tag.whole and keys[1] not in named:
                named.clear()
                break
            pairs.append((_percent(named.pop(keys[0], "")), _percent(named.pop(keys[1], ""))))
        if named:
            raise ReplyError(f"a point with attributes {short(sorted(named))}")
    return pairs


def read_point_triples(text: str, *, cut: bool = False) -> list[Pair]:
    """Read ``<points coords="1 1 534 262 2 068 100">``: the picture's number, then number, x and y of each point, 0 to 1000.

    Args:
        text: The reply.
        cut: Whether it ended at the limit of tokens: then the last tag may be incomplete.

    Raises:
        ReplyError: A tag of another form, or words without a tag that do not say that there is none.

    Example:
        >>> read_point_triples('<points coords="1 1 534 262 2 068 100">cats</points>')
        [(534.0, 262.0), (68.0, 100.0)]
    """
    numbers: list[str] = []
    for tag in _tags(text, cut=cut):
        coords = dict(tag.attributes).get("coords")
        if tag.name != "points" or (coords is None and tag.whole):
            raise ReplyError("a tag of points without its coords")
        if coords is None:
            continue
        if not TRIPLES.fullmatch(coords):
            raise ReplyError(f"coords {short(coords)} that are not a number and triples")
        numbers += coords.split(" ")[1:]
    unclosed = CUT_TRIPLES.search(text) if cut else None
    if unclosed:
        kept = unclosed[1].split(" ")[1:-1]  # the last number may lack digits
        numbers += kept[: len(kept) // 3 * 3]
    return [(float(x), float(y)) for x, y in zip(numbers[1::3], numbers[2::3], strict=True)]


def read_items(text: str, *, cut: bool = False) -> list[dict[str, Any]]:
    r"""Read a JSON list of objects, or one object, alone or in a fenced block.

    Args:
        text: The reply.
        cut: Whether it ended at the limit of tokens: then what is after the last whole object is left out.

    Raises:
        ReplyError: Anything else.

    Example:
        >>> read_items('```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}]\n```')
        [{'bbox_2d': [1, 2, 3, 4], 'label': 'cat'}]
    """
    fenced = FENCE.findall(text)
    if len(fenced) > 1:
        raise ReplyError("several blocks of JSON")
    body = (fenced[0] if fenced else text).strip()
    if not body.startswith(("[", "{")):
        _need_none(text)
        return []
    if cut:
        body = f"{body[: body.rfind('}') + 1]}]" if body.startswith("[") else body
        body = "[]" if body == "]" else body
    try:
        found = loads(body)
    except StrictJSONError as error:
        raise ReplyError(f"not JSON: {error}") from None
    items = found if isinstance(found, list) else [found]
    if not all(isinstance(item, dict) for item in items):
        raise ReplyError("JSON that is not a list of objects")
    return items


def read_numbers(item: dict[str, Any], key: str, count: int) -> tuple[float, ...]:
    """Return the coordinates of an item.

    Raises:
        ReplyError: They are missing, or not so many numbers.

    Example:
        >>> read_numbers({"point_2d": [3, 4.5]}, "point_2d", 2)
        (3.0, 4.5)
    """
    values = item.get(key)
    if not isinstance(values, list) or len(values) != count:
        raise ReplyError(f"an object whose {key} is {short(values)}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= LARGEST:
            raise ReplyError(f"a coordinate {short(value)}")
    return tuple(map(float, values))


def read_lines(text: str, *, cut: bool = False) -> list[str]:
    r"""Return the lines of a reply; the word NONE alone, or a sentence that says that there is no text, stands for no text.

    Args:
        text: The reply.
        cut: Whether it ended at the limit of tokens: then the last line may be incomplete and is left out.

    Raises:
        ReplyError: It begins as an excuse does.

    Example:
        >>> read_lines("EXIT\n\n  GATE   7 "), read_lines("None."), read_lines("There is no text in the image.")
        (['EXIT', 'GATE 7'], [], [])
    """
    lines = [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
    alone = " ".join(lines)
    if alone.strip(" .").upper() == "NONE" or (re.search(r"\b(?:text|words|writing)\b", alone) and says_none(alone)):
        return []
    if REFUSAL.match(alone.replace("\u2019", "'")):
        raise ReplyError(f"an excuse: {short(alone)}")
    return lines[:-1] if cut else lines


def read_description(text: str, *, cut: bool = False) -> str:
    r"""Return what a reply says, on one line.

    Args:
        text: The reply.
        cut: Whether it ended at the limit of tokens.

    Raises:
        ReplyError: It is empty, cut off or too long.

    Example:
        >>> read_description("A cat\n  on a sofa.")
        'A cat on a sofa.'
    """
    said = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not said:
        raise ReplyError("empty")
    if cut or len(said) > MAX_DESCRIPTION:
        raise ReplyError(f"cut off, or longer than {MAX_DESCRIPTION} characters: {short(said)}")
    return said


def says_none(text: str) -> bool:
    """Whether a reply says, in a sentence and nothing else, that there is nothing of what was asked for; an empty one says so too.

    Example:
        >>> says_none("There are no cats in the image."), says_none("The cat is on the sofa."), says_none("I can't see an image.")
        (True, False, False)
    """
    plain = " ".join(text.split()).casefold().replace("\u2019", "'").strip(" .!\"'*")
    return not plain or (len(plain) <= LONGEST_NONE and bool(NONE.fullmatch(plain)) and not NOT_NONE.search(plain))


def _tags(text: str, *, cut: bool) -> list[_Tag]:
    """Return every tag of points; the last one of a reply that was cut off need not be whole."""
    found = []
    openings = [match.start() for match in OPENING.finditer(text)]
    for place in openings:
        match = TAG.match(text, place)
        if match is None and not (cut and place == openings[-1]):
            raise ReplyError(
                f"a tag of points that is not closed, or holds other than attributes: {short(text[place:])}"
            )
        name = "points" if text.startswith("<points", place) else "point"
        attributes = tuple(ATTRIBUTE.findall(match[2] if match else text[place:]))
        if len(dict(attributes)) != len(attributes):
            raise ReplyError("an attribute of a point is given twice")
        found.append(_Tag(name, attributes, match is not None))
    if not openings:
        _need_none(text)
    return found


def _percent(text: str) -> float:
    if not PERCENT.fullmatch(text):
        raise ReplyError(f"a coordinate {short(text)} where percent were expected")
    return float(text)


def _need_none(text: str) -> None:
    if not says_none(text):
        raise ReplyError(f"words of no known form: {short(text)}")
