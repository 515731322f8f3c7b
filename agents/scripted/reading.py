"""Reading an instruction by rules: what is asked for, with which look, where."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Question", "Reading", "read_instruction", "read_question"]

LOOKS = {
    "upside_down": r"upside[- ]down|topsy[- ]turvy",
    "blurry": r"out[- ]of[- ]focus|blurr\w*|fuzzy",
    "grey": r"(?:in )?black[- ]and[- ]white|colou?rless|without colou?r|lost (?:its|their) colou?r|gr[ae]y",
    "small": r"small|smaller|little|tiny",
    "large": r"large|larger|big|bigger",
}
EXTREMES = {
    "leftmost": r"leftmost|(?:farthest|furthest) (?:to the )?left",
    "rightmost": r"rightmost|(?:farthest|furthest) (?:to the )?right",
    "topmost": r"topmost|highest(?: up)?",
    "bottommost": r"bottommost|lowest(?: down)?",
    "largest": r"largest|biggest",
    "smallest": r"smallest|tiniest",
}
DIRECT = r"(?P<direct>directly |immediately )?(?:to |on )?(?:the )?"
RELATIONS = (
    r"(?P<nearest>nearest to|closest to)",
    DIRECT + r"(?P<left>left)(?: side)? of",
    DIRECT + r"(?P<right>right)(?: side)? of",
    DIRECT + r"(?P<above>above|higher up than|higher than)",
    DIRECT + r"(?P<below>below|under|lower down than|lower than)",
)
CLAUSE = r"\b(?:that|which|whatever|what(?! is the (?:number|count)))\b"
"""What follows describes a thing without naming it."""
EMPTY = frozenset(
    "segment find please outline mark show me which what is lies are there the a an of all each every one only single it its "
    "select pick out give mask i mean you see can here in this picture how many count number and or draw box around detect "
    "locate where list boxes for them if anything kind that has been has been turned drawn looks appears shown tell shows work "
    ", object objects thing things item items something everything whatever to look then stands was someone asks need".split()
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What an instruction asks for."""

    noun: str
    """The phrase that names the kind of thing; empty when any kind will do, or when it is only described."""
    look: str | None = None
    """One of ``LOOKS``."""
    extreme: str | None = None
    """One of ``EXTREMES``."""
    relation: str | None = None
    """nearest, left, right, above, below, or one of the last four with ``directly_`` before it."""
    anchor: str | None = None
    """What the relation is to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question about several images with lettered options."""

    kind: str
    """total, most, fewest, only, common, odd, lacks, removed or added."""
    noun: str
    options: tuple[tuple[str, str], ...]
    """Letter and text."""


def read_instruction(text: str) -> Reading:
    """Read one instruction. Always gives a reading; what is not understood stays in the noun phrase."""
    text = " ".join(text.lower().split())
    extreme, text = _take(text, EXTREMES)
    relation, anchor = None, None
    look_for = re.match(r"look for (?P<anchor>.+?), then (?P<rest>.+)", text)
    if look_for:
        text = f"{look_for['rest'].rstrip(' .').removesuffix(' it')} {look_for['anchor']}"
    for pattern in RELATIONS if extreme in (None, "largest", "smallest") else ():
        match = re.search(rf"(?:^|\s){pattern} (?P<anchor>.+)", text)
        if match:
            relation = next(k for k in ("nearest", "left", "right", "above", "below") if match.groupdict().get(k))
            if match.groupdict().get("direct"):
                relation = f"directly_{relation}"
            anchor = re.split(r"[?.,;]|\s(?:are there|can you see|are in)\b", match["anchor"])[0].strip()
            text = text[: match.start()]
            break
    look, text = _take(text, LOOKS)
    words = re.findall(r"[a-z0-9'-]+|,", re.split(CLAUSE, text)[0])
    while words and words[0] in EMPTY:
        words = words[1:]
    while words and words[-1] in EMPTY:
        words = words[:-1]
    if not words and relation in ("left", "right", "above", "below"):
        relation = f"directly_{relation}"  # "what lies left of the car" means the next thing there
    return Reading(noun=" ".join(words), look=look, extreme=extreme, relation=relation, anchor=anchor)


def _take(text: str, patterns: dict[str, str]) -> tuple[str | None, str]:
    """Return the first pattern that occurs, and the text without it."""
    for name, pattern in patterns.items():
        match = re.search(rf"\b(?:{pattern})\b", text)
        if match:
            return name, " ".join((text[: match.start()] + " " + text[match.end() :]).split())
    return None, text


QUESTIONS = (
    ("most", r"most|more .* than in any other|greatest number|highest number"),
    ("fewest", r"fewest|fewer|lowest number|least"),
    ("removed", r"missing from the second|removed|vanished|gone"),
    ("added", r"missing from the first|added|turned up|new"),
    ("lacks", r"lacks?|misses|odd one out\?? .*every image except|every image except one"),
    ("odd", r"odd one out|something extra|none of the others"),
    ("common", r"in every image|in all the images\.|in common"),
    ("total", r"in all the images together|over all images|total|add up"),
    ("only", r"only|just one|contains one"),
)


def read_question(text: str) -> Question:
    """Read a question and its options, one ``A. text`` or ``(A) text`` a line."""
    options = tuple(re.findall(r"^\s*\(?([A-E])[).:]\s*(.+?)\s*$", text, re.MULTILINE))
    question = " ".join(re.split(r"^\s*\(?A[).:]", text, maxsplit=1, flags=re.MULTILINE)[0].lower().split())
    kind = next((k for k, pattern in QUESTIONS if re.search(rf"\b(?:{pattern})", question)), "only")
    if options and all(o[1].isdigit() for o in options):
        kind = "total"
    return Question(kind=kind, noun=question, options=options)
