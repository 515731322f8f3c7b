"""The finds of ``full``: objects with ids that stay, get masks and take clicks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from visenv.context import ToolContext, map_points
from visenv.errors import short
from visenv.memory import NamedImage
from visenv.objects import LISTED, NEUTRAL, DetectedObject
from visenv.tools import ToolResult
from visenv.toolsets._shared import pixel_in
from visenv.toolsets.full import SHOWN, _changed, _inside, _with_new

from ..recording import MAX_TEXT
from ._finds import Made, Objects, Shown, near, need, need_inside, need_masked, need_numbered

__all__ = ["detect", "refine", "segment", "segment_box", "segment_point"]


def detect(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check finds: boxes that are new, and known objects that took a better box or a name."""
    places = [context.image(name) for name in given["images"]]
    nothing = f"Nothing found for {given['phrase']!r} in {', '.join(given['images'])}."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    before = {o.id: o for o in context.objects}
    kept, new = table[: len(before)], table[len(before) :]
    need([o.id for o in kept] == list(before), "objects went that no call dropped")
    need_numbered(new, context)
    sources = {p.source for p in places}
    for o in new:
        need(o.mask is None and not o.points_xy and o.image in sources, f"object #{o.id} is no detection")
    changed = [o for o in kept if o != before[o.id]]
    for o in changed:
        known = before[o.id]
        need(o.label == known.label or known.label in NEUTRAL, f"object #{o.id} changed its name")
        same = replace(known, label=o.label) == o
        need(same or (known.mask is o.mask is None and known.image == o.image), f"object #{o.id} is no detection")
    told = _listed(text, table, context)
    listed_ids = {o.id for o in told.listed}
    known_count = sum(o.id in before for o in told.listed)
    if told.complete:
        need({o.id for o in (*new, *changed)} <= listed_ids, "objects changed that the agent was not told of")
    else:
        need(told.count - told.known == len(new), f"{len(new)} new objects; the agent was told otherwise")
        known_count = told.known
    known_text = f", {known_count} of them known before" if known_count else ""
    need(told.tail == f"{known_text}:", f"the agent was told {short(text)}")
    overlays = []
    for number, place in enumerate(places[:SHOWN]):
        here = [o for o in told.listed if o.image == place.source and _inside(o, place)]
        name = f"view{number or ''}"
        there = bool(here) if told.complete else f"{name}_{context.turn}" in shown
        if there or len(places) == 1:
            overlays.append(replace(context.overlay(place, here, "objects"), name=name))
    result = ToolResult(text=text, new_images=tuple(overlays), show=tuple(o.name for o in overlays), objects=table)
    return Made(result, drawn=told.complete)


def segment(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check that some of the chosen objects got a mask, and nothing else changed."""
    chosen = context.objects_by_id(given["objects"])
    nothing = "Nothing could be segmented in these boxes; the objects stay as they were."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    told = _listed(text, table, context)
    need(told.tail == " segmented:", f"the agent was told {short(text)}")
    after = {o.id: o for o in table}
    listed = {o.id for o in told.listed}
    if not told.complete:  # the rest of a long list is known by its changes alone
        listed |= {o.id for o in context.objects if after.get(o.id) != o}
    changed = [_segmented(o, after) for o in chosen if o.id in listed]
    need(len(changed) == told.count or not told.complete, f"the agent was told of {told.count} objects")
    made = _changed(context, changed, "segmented")
    return Made(made if told.complete else replace(made, text=text), drawn=told.complete)


def segment_box(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check one new object with a mask."""
    place = context.image(given["image"])
    context.box_in(place, *(given[name] for name in ("x1", "y1", "x2", "y2")))
    nothing = f"Nothing could be segmented in that box of {place.name}."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    return _one_more(context, place, given, table, "box", click=None)


def segment_point(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check one new object with a mask and a click."""
    place = context.image(given["image"])
    x, y = pixel_in(place, given["x"], given["y"])
    nothing = f"Nothing could be segmented at {context.write(place, x, y)} of {place.name}."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    return _one_more(context, place, given, table, "point", click=context.box_to_source(place, (x, y, x, y))[:2])


def refine(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check that one object got another mask and one more click."""
    place = context.image(given["image"])
    (known,) = context.objects_by_id([given["object"]])
    need(known.image == place.source, f"object #{known.id} is not in {place.name}")
    nothing = f"That click would leave nothing of #{known.id}; it stays as it was."
    if text == nothing:
        return Made(ToolResult(text=nothing))
    ((x, y),) = map_points([pixel_in(place, given["x"], given["y"])], place.to_source)
    after = {o.id: o for o in table}
    changed = _segmented(known, after, clicks=1)
    clicks = (*known.points_xy, (float(x), float(y)))
    positive = (*known.points_positive, given["sign"] == "positive")
    need(changed.points_positive == positive and near(changed.points_xy, clicks), "another click than the call's")
    return Made(_changed(context, [changed], f"refined by a {given['sign']} click"))


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
    need(head is not None, f"the agent was told {short(text)}")
    assert head is not None
    count = int(head[1])
    need((count == 1) == (head[2] == ""), f"the agent was told {short(text)}")
    by_id = {o.id: o for o in table}
    listed: dict[int, DetectedObject] = {}
    at = head.end()
    while len(listed) < min(count, LISTED):
        number = re.compile(r"#(\d{1,9}) ").match(text, at)
        o = by_id.get(int(number[1])) if number else None
        need(o is not None and o.id not in listed, f"the agent was told {short(text[at : at + 80])}")
        assert o is not None
        line = context.describe([o])
        end = "\n" if len(listed) + 1 < count else ""
        if len(text) > MAX_TEXT < at + len(line + end) and (line + end).startswith(text[at:MAX_TEXT]):
            return _told(count, head[3], listed, complete=False)  # cut when it was recorded
        need(text.startswith(line + end, at), f"{short(text[at : at + len(line)])} was told of object {short(line)}")
        listed[o.id] = o
        at += len(line + end)
    rest = re.fullmatch(r"… and (\d{1,9}) more, #(\d{1,9}) to #(\d{1,9})", text[at:])
    if count > LISTED:
        ids = {int(rest[2]), int(rest[3])} if rest is not None and int(rest[1]) == count - LISTED else {-1}
        need(ids <= by_id.keys() - listed.keys(), "another number of objects")
    else:
        need(at == len(text), f"the agent was told {short(text[at : at + 80])}")
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
    need(len(table) == len(context.objects) + 1, "not one object more")
    new = table[-1]
    need_masked(new, place, given.get("label", "target"))
    need_inside(new, place)
    clicks = () if click is None else (click,)
    need(near(new.points_xy, clicks) and all(new.points_positive), "another click than the call's")
    return Made(_with_new(context, [place], [new], what, distinct=True))


def _segmented(known: DetectedObject, after: Mapping[int, DetectedObject], *, clicks: int = 0) -> DetectedObject:
    """Return the object with its new mask; all else must have stayed."""
    o = after.get(known.id)
    need(o is not None and o.mask is not None and o.mask.area_px > 0, f"object #{known.id} has no mask")
    assert o is not None and o.mask is not None
    fixed = (o.image, o.label, o.score, len(o.points_xy)) == (
        known.image, known.label, known.score, len(known.points_xy) + clicks,
    )  # fmt: skip
    need(fixed and (clicks > 0 or o.points_xy == known.points_xy), f"object #{o.id} changed otherwise")
    need(tuple(o.box_xyxy) == o.mask.box_xyxy, f"object #{o.id} is not in its box")
    return o
