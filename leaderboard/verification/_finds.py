"""What experts found, checked against what the agent was told of it: for each tool that asks an expert for objects.

Each function returns the result that the tool gives when the experts find the recorded objects, or raises
:class:`FindsError` where no finds give them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from visenv.context import ToolContext, map_points
from visenv.errors import short
from visenv.memory import NamedImage
from visenv.objects import LISTED, NEUTRAL, DetectedObject
from visenv.tools import ToolResult
from visenv.toolsets._shared import pixel_in
from visenv.toolsets.full import SHOWN, _changed, _inside, _with_new

from ..recording import MAX_TEXT

__all__ = ["DERIVED", "FindsError", "Made"]

Objects = tuple[DetectedObject, ...]
CLICK_TOLERANCE = 1e-6


class FindsError(Exception):
    """The recorded objects are not what the tool could have made, or not what the agent was told."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a call gave."""

    result: ToolResult
    drawn: bool = True
    """Whether its pictures are those of the episode."""


Derive = Callable[[ToolContext, Mapping[str, Any], Objects, str, Sequence[str]], Made]
"""From the state before a call, its arguments, the objects after it, what was said and shown to what the call gave."""


def detect(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Sequence[str]) -> Made:
    """Check finds: boxes that are new, and known objects that took a better box or a name."""
    places = [context.image(name) for name in given["images"]]
    nothing = f"Nothing found for {given['phrase']!r} in {', '.join(given['images'])}."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    before = {o.id: o for o in context.objects}
    kept, new = table[: len(before)], table[len(before) :]
    _need([o.id for o in kept] == list(before), "objects went that no call dropped")
    _need_numbered(new, context)
    sources = {p.source for p in places}
    for o in new:
        _need(o.mask is None and not o.points_xy and o.image in sources, f"object #{o.id} is no detection")
    changed = [o for o in kept if o != before[o.id]]
    for o in changed:
        known = before[o.id]
        _need(o.label == known.label or known.label in NEUTRAL, f"object #{o.id} changed its name")
        same = replace(known, label=o.label) == o
        _need(same or (known.mask is o.mask is None and known.image == o.image), f"object #{o.id} is no detection")
    told = _listed(text, table, context)
    listed_ids = {o.id for o in told.listed}
    known_count = sum(o.id in before for o in told.listed)
    if told.complete:
        _need({o.id for o in (*new, *changed)} <= listed_ids, "objects changed that the agent was not told of")
    else:
        _need(told.count - told.known == len(new), f"{len(new)} new objects; the agent was told otherwise")
        known_count = told.known
    known_text = f", {known_count} of them known before" if known_count else ""
    _need(told.tail == f"{known_text}:", f"the agent was told {short(text)}")
    overlays = []
    for number, place in enumerate(places[:SHOWN]):
        here = [o for o in told.listed if o.image == place.source and _inside(o, place)]
        name = f"view{number or ''}"
        there = bool(here) if told.complete else f"{name}_{context.turn}" in shown
        if there or len(places) == 1:
            overlays.append(replace(context.overlay(place, here, "objects"), name=name))
    result = ToolResult(text=text, new_images=tuple(overlays), show=tuple(o.name for o in overlays), objects=table)
    return Made(result, drawn=told.complete)


def segment(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Sequence[str]) -> Made:
    """Check that some of the chosen objects got a mask, and nothing else changed."""
    chosen = context.objects_by_id(given["objects"])
    nothing = "Nothing could be segmented in these boxes; the objects stay as they were."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    told = _listed(text, table, context)
    _need(told.tail == " segmented:", f"the agent was told {short(text)}")
    after = {o.id: o for o in table}
    listed = {o.id for o in told.listed}
    if not told.complete:  # the rest of a long list is known by its changes alone
        listed |= {o.id for o in context.objects if after.get(o.id) != o}
    changed = [_segmented(o, after) for o in chosen if o.id in listed]
    _need(len(changed) == told.count or not told.complete, f"the agent was told of {told.count} objects")
    made = _changed(context, changed, "segmented")
    return Made(made if told.complete else replace(made, text=text), drawn=told.complete)


def segment_box(
    context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Sequence[str]
) -> Made:
    """Check one new object with a mask."""
    place = context.image(given["image"])
    context.box_in(place, *(given[name] for name in ("x1", "y1", "x2", "y2")))
    nothing = f"Nothing could be segmented in that box of {place.name}."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    return _one_more(context, place, given, table, "box", click=None)


def segment_point(
    context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Sequence[str]
) -> Made:
    """Check one new object with a mask and a click."""
    place = context.image(given["image"])
    nothing = f"Nothing could be segmented at ({given['x']}, {given['y']}) of {place.name}."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    x, y = pixel_in(place, given["x"], given["y"])
    return _one_more(context, place, given, table, "point", click=context.box_to_source(place, (x, y, x, y))[:2])


def refine(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Sequence[str]) -> Made:
    """Check that one object got another mask and one more click."""
    place = context.image(given["image"])
    (known,) = context.objects_by_id([given["object"]])
    _need(known.image == place.source, f"object #{known.id} is not in {place.name}")
    nothing = f"That click would leave nothing of #{known.id}; it stays as it was."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    ((x, y),) = map_points([pixel_in(place, given["x"], given["y"])], place.to_source)
    after = {o.id: o for o in table}
    changed = _segmented(known, after, clicks=1)
    clicks = (*known.points_xy, (float(x), float(y)))
    positive = (*known.points_positive, given["sign"] == "positive")
    _need(changed.points_positive == positive and _near(changed.points_xy, clicks), "another click than the call's")
    return Made(_changed(context, [changed], f"refined by a {given['sign']} click"))


def searched(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Sequence[str]) -> Made:
    """Check how many finds the agent was told of; they are no objects before they are merged."""
    places = [context.image(name) for name in given["images"]]
    what = f"for {given['phrase']!r}" if "phrase" in given else "from points"
    if "phrase" not in given:
        for place in places:
            _need(place.name in context.state.get("points", {}), f"{place.name} has no points")
    counts = {}
    rest = text
    for number, place in enumerate(places):
        line = re.match(rf"{re.escape(place.name)}: (\d{{1,9}}) objects {re.escape(what)}\.", rest)
        end = "\n" if number < len(places) - 1 else ""
        _need(line is not None and rest[line.end() :].startswith(end), f"the agent was told {short(text)}")
        assert line is not None
        counts[place.name] = int(line[1])
        rest = rest[line.end() + len(end) :]
    overlays = [
        replace(context.overlay(place, [], "boxes"), name=f"visual{number or ''}")
        for number, place in enumerate(places)
    ]
    state = {**context.state, "found": {**context.state.get("found", {}), **counts}}
    return Made(
        ToolResult(text=text, new_images=tuple(overlays), show=tuple(o.name for o in overlays), state=state),
        drawn=False,
    )


def merge(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Sequence[str]) -> Made:
    """Check that the merged objects are no more than was found, and numbered anew."""
    found: Mapping[str, int] = context.state.get("found", {})
    for name in given["images"]:
        context.image(name)
        _need(bool(found.get(name)), f"nothing was found on {name}")
    sources = {context.images[name].source for name in given["images"]}
    _need(len(table) <= sum(found[name] for name in given["images"]), "more objects than were found")
    _need_numbered(table, context)
    for o in table:
        masked = o.mask is not None and tuple(o.box_xyxy) == o.mask.box_xyxy and o.mask.area_px
        _need(bool(masked) and o.image in sources, f"object #{o.id} was not merged")
    return Made(ToolResult(text=f"Final result: {len(table)} objects.", objects=table))


DERIVED: dict[str, Derive] = {
    "MergeBoxMask": merge,
    "PhraseToBoxMask": searched,
    "PointToBoxMask": searched,
    "detect": detect,
    "refine": refine,
    "segment": segment,
    "segment_box": segment_box,
    "segment_point": segment_point,
}
"""By name of the tool."""


@dataclass(frozen=True, slots=True)
class _Told:
    count: int
    tail: str
    """What follows the number of objects in the first line."""
    listed: tuple[DetectedObject, ...]
    complete: bool
    known: int


def _listed(text: str, table: Objects, context: ToolContext) -> _Told:
    """Read a list of objects as tools write it; every line must be that of the recorded object."""
    head = re.match(r"(\d{1,9}) object(s?)([^:\n]*:)\n", text)
    _need(head is not None, f"the agent was told {short(text)}")
    assert head is not None
    count = int(head[1])
    _need((count == 1) == (head[2] == ""), f"the agent was told {short(text)}")
    by_id = {o.id: o for o in table}
    listed: dict[int, DetectedObject] = {}
    at = head.end()
    while len(listed) < min(count, LISTED):
        number = re.compile(r"#(\d{1,9}) ").match(text, at)
        o = by_id.get(int(number[1])) if number else None
        _need(o is not None and o.id not in listed, f"the agent was told {short(text[at : at + 80])}")
        assert o is not None
        line = context.describe([o])
        end = "\n" if len(listed) + 1 < count else ""
        if len(text) > MAX_TEXT < at + len(line + end) and (line + end).startswith(text[at:MAX_TEXT]):
            return _told(count, head[3], listed, complete=False)  # cut when it was recorded
        _need(text.startswith(line + end, at), f"{short(text[at : at + len(line)])} was told of object {short(line)}")
        listed[o.id] = o
        at += len(line + end)
    rest = re.fullmatch(r"… and (\d{1,9}) more, #(\d{1,9}) to #(\d{1,9})", text[at:])
    if count > LISTED:
        ids = {int(rest[2]), int(rest[3])} if rest is not None and int(rest[1]) == count - LISTED else {-1}
        _need(ids <= by_id.keys() - listed.keys(), "another number of objects")
    else:
        _need(at == len(text), f"the agent was told {short(text[at : at + 80])}")
    return _told(count, head[3], listed, complete=count <= LISTED)


def _told(count: int, tail: str, listed: Mapping[int, DetectedObject], *, complete: bool) -> _Told:
    known = re.fullmatch(r", (\d{1,9}) of them known before:", tail)
    return _Told(count, tail, tuple(listed.values()), complete, int(known[1]) if known else 0)


def _one_more(
    context: ToolContext,
    place: NamedImage,
    given: Mapping[str, Any],
    table: Objects,
    what: str,
    *,
    click: tuple[float, float] | None,
) -> Made:
    _need(len(table) == len(context.objects) + 1, "not one object more")
    new = table[-1]
    right = new.image == place.source and new.label == given.get("label", "target")
    _need(right and new.mask is not None and new.mask.area_px > 0, f"object #{new.id} is not what the call asked for")
    clicks = () if click is None else (click,)
    _need(_near(new.points_xy, clicks) and all(new.points_positive), "another click than the call's")
    _need(new.mask is not None and tuple(new.box_xyxy) == new.mask.box_xyxy, f"object #{new.id} is not in its box")
    return Made(_with_new(context, [place], [new], what, distinct=True))


def _segmented(known: DetectedObject, after: Mapping[int, DetectedObject], *, clicks: int = 0) -> DetectedObject:
    """Return the object with its new mask; all else must have stayed."""
    o = after.get(known.id)
    _need(o is not None and o.mask is not None and o.mask.area_px > 0, f"object #{known.id} has no mask")
    assert o is not None and o.mask is not None
    fixed = (o.image, o.label, o.score, len(o.points_xy)) == (
        known.image, known.label, known.score, len(known.points_xy) + clicks,
    )  # fmt: skip
    _need(fixed and (clicks > 0 or o.points_xy == known.points_xy), f"object #{o.id} changed otherwise")
    _need(tuple(o.box_xyxy) == o.mask.box_xyxy, f"object #{o.id} is not in its box")
    return o


def _need_numbered(new: Sequence[DetectedObject], context: ToolContext) -> None:
    first = context.next_object_id
    _need([o.id for o in new] == list(range(first, first + len(new))), "objects have other numbers than they get")


def _near(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> bool:
    return len(some) == len(others) and bool(
        np.allclose(np.reshape(some, (-1, 2)), np.reshape(others, (-1, 2)), rtol=0, atol=CLICK_TOLERANCE)
    )


def _need(right: bool, otherwise: str) -> None:
    if not right:
        raise FindsError(otherwise)
