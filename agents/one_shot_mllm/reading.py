"""Reading the reply: boxes in the coordinates that the model writes, or the letter of an option."""

from __future__ import annotations

import re
from string import ascii_uppercase

from visenv.coordinates import Coordinates
from visenv.experts.vlm import ReplyError, read_items, read_numbers, thought_through

__all__ = ["Box1000", "read_boxes", "read_letter", "read_options"]

Box1000 = tuple[int, int, int, int]
"""``x1, y1, x2, y2``, 0-1000 of the image."""
LONGEST_LABEL = 80
ALONE = re.compile(r"\(?([A-Za-z])\)?[.:]?")
LINE = re.compile(r"^(?:\(([A-Z])\)|([A-Z])[).:])\s", re.MULTILINE)
OPTION = re.compile(r"^\(?([A-Z])[).:]", re.MULTILINE)
SAID = r"\b(?i:answer|option|choice)(?:\sis)?\s?:?\s?[(\"'\[]?([A-Z])[)\"'\]]{0,2}"
LISTED = r",(?! ?(?:(?:or|and) )?\(?[A-Z]\)?(?:[.,;]|$| (?:or|and)\b))"
"""A comma after which no other letter is listed."""
NAMED = re.compile(rf"{SAID}(?:[.;:!](?!\w)|{LISTED}|$)", re.MULTILINE)
"""A letter that words name, in text with single spaces; "A cat" and "I cannot" name none."""
DOUBT = re.compile(rf"{SAID},? or\b")


def read_boxes(
    reply: str, *, coordinates: Coordinates, size_wh: tuple[int, int], cut: bool = False
) -> list[tuple[Box1000, str]]:
    """Return the boxes of a JSON list, each with its label; they are cut off at the image's edges, and empty ones left out.

    Args:
        reply: What the model wrote.
        coordinates: How it writes places.
        size_wh: The image's width and height.
        cut: Whether the reply ended at its limit: then the last box may be incomplete.

    Raises:
        ReplyError: It is no such list and no sentence that says that there is nothing, or none of its boxes holds anything.

    Example:
        >>> from visenv.coordinates import make_coordinates
        >>> read_boxes('[{"bbox_2d": [64, 48, 320, 480], "label": "cat"}]', coordinates=make_coordinates("pixels"), size_wh=(640, 480))
        [((100, 100, 500, 1000), 'cat')]
    """
    ends = [coordinates.from_share(1.0, side) for side in coordinates.seen_wh(size_wh)] * 2
    text = thought_through(reply)
    if not text:  # which is no word on what is there
        raise ReplyError("empty")
    found, items = [], read_items(text, cut=cut)
    for item in items:
        values = zip(read_numbers(item, "bbox_2d", 4), ends, strict=True)
        x1, y1, x2, y2 = (min(1.0, max(0.0, value / end)) for value, end in values)
        if x1 < x2 and y1 < y2:
            (left, right), (top, bottom) = _span(x1, x2), _span(y1, y2)
            found.append(((left, top, right, bottom), _label(item.get("label"))))
    if not found and (items or cut):
        raise ReplyError("without one whole box")
    return found


def read_letter(reply: str, *, options: str = ascii_uppercase, cut: bool = False) -> str:
    """Return the letter of an option, which stands alone, at the beginning or, as all that is said, after a word such as "answer".

    Args:
        reply: What the model wrote.
        options: The letters there are.
        cut: Whether the reply ended at its limit: then only a letter alone counts, as "A" may begin a sentence.

    Raises:
        ReplyError: There is none, or not one of the options, or several.

    Example:
        >>> read_letter("b"), read_letter("(B) a cat"), read_letter("So the answer is C.")
        ('B', 'B', 'C')
    """
    text = _single_spaced(thought_through(reply).replace("*", ""))
    alone = ALONE.fullmatch(text)
    if alone:
        said = {alone[1].upper()}
    elif cut:
        raise ReplyError("cut off; allow more with max_tokens=…")
    else:
        lines = {bracketed or bare for bracketed, bare in LINE.findall(text)}
        # Several are the options once more.
        said = set(NAMED.findall(text)) | (lines if LINE.match(text) and len(lines) == 1 else set())
    if len(said) != 1 or not said <= set(options) or DOUBT.search(text):
        raise ReplyError("without the letter of one option")
    return str(said.pop())


def read_options(instruction: str) -> str:
    r"""Return the letters of the options that a question lists, one a line from A on; the alphabet where it lists none.

    Example:
        >>> read_options("Which is larger?\n(A) the cat\n(B) the dog")
        'AB'
    """
    found = set(OPTION.findall(_single_spaced(instruction)))
    number = next((k for k, letter in enumerate(ascii_uppercase) if letter not in found), len(ascii_uppercase))
    return ascii_uppercase[:number] if number > 1 else ascii_uppercase


def _single_spaced(text: str) -> str:
    """Return the lines that are not empty with single spaces: patterns may take time quadratic in a run of white space."""
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def _span(low: float, high: float) -> tuple[int, int]:
    """Return shares as thousandths of which the second is larger."""
    begin = min(999, round(low * 1000))
    return begin, max(begin + 1, round(high * 1000))


def _label(given: object) -> str:
    words = " ".join(given.encode("utf-8", "ignore").decode().split()) if isinstance(given, str) else ""
    return words[:LONGEST_LABEL].strip() or "target"
