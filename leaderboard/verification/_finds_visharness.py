"""The finds of ``visharness``: told as numbers, and objects only when they are merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from visenv.context import ToolContext
from visenv.tools import ToolResult

from ._finds import Made, Objects, Shown, need, need_inside, need_numbered

__all__ = ["merge", "searched"]


def searched(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check the finds that the pictures show: as many as the agent was told of. They are no objects before they are merged."""
    places = [context.image(name) for name in given["images"]]
    what = f"for {given['phrase']!r}" if "phrase" in given else "from points"
    if "phrase" not in given:
        for place in places:
            need(place.name in context.state.get("points", {}), f"{place.name} has no points")
    found: dict[str, Objects] = {}
    overlays = []
    for number, place in enumerate(places):
        name = f"visual{number or ''}"
        finds = shown.get(f"{name}_{context.turn}")
        need(finds is not None, f"no picture shows what was found on {place.name}")
        assert finds is not None
        need(
            [o.id for o in finds] == list(range(len(finds))),
            f"the finds on {place.name} have other numbers than they get",
        )
        for o in finds:
            right = o.mask is None and o.image == place.source and o.label == given.get("phrase", "target")
            need(right, f"a find on {place.name} is not what the call asked for")
            need_inside(o, place)
        found[place.name] = finds
        overlays.append(replace(context.overlay(place, finds, "boxes"), name=name))
    state = {**context.state, "found": {**context.state.get("found", {}), **found}}
    told = "\n".join(f"{name}: {len(finds)} objects {what}." for name, finds in found.items())
    return Made(ToolResult(text=told, new_images=tuple(overlays), show=tuple(o.name for o in overlays), state=state))


def merge(context: ToolContext, given: Mapping[str, Any], table: Objects, text: str, shown: Shown) -> Made:
    """Check that the merged objects are finds or joined of finds, and numbered anew. Their masks nobody was shown."""
    found: Mapping[str, Objects] = context.state.get("found", {})
    for name in given["images"]:
        context.image(name)
        need(bool(found.get(name)), f"nothing was found on {name}")
    finds = [o for name in given["images"] for o in found[name]]
    need(0 < len(table) <= len(finds), "another number of objects than the finds can give")
    need_numbered(table, context)
    kinds = {(o.image, o.label, o.score, o.points_xy) for o in finds}
    edges = [{(o.image, o.box_xyxy[side]) for o in finds} for side in range(4)]
    for o in table:
        masked = o.mask is not None and tuple(o.box_xyxy) == o.mask.box_xyxy and o.mask.area_px
        need(bool(masked) and (o.image, o.label, o.score, o.points_xy) in kinds, f"object #{o.id} was not merged")
        need(
            all((o.image, o.box_xyxy[side]) in edges[side] for side in range(4)),
            f"object #{o.id} lies where no find does",
        )
    return Made(ToolResult(text=f"Final result: {len(table)} objects.", objects=table))
