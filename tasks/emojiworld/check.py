"""What a query selects, worked out from a finished scene and the tables alone.

The generator knows what it meant to draw; this module does not, and never trusts it. Wherever a person could hesitate,
:class:`AmbiguousError` is raised and the generator draws again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from .queries import fact_by_text
from .render import sprites
from .scene import SceneObject
from .words import confusable

__all__ = ["ATTRIBUTES", "DIRECTLY", "EXTREMES", "SIDES", "AmbiguousError", "Query", "matching", "right_options"]

SIDES = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
"""Relations to an anchor that any number of objects can have."""
DIRECTLY = {f"directly_{side}": step for side, step in SIDES.items()}
"""Relations to an anchor that at most one object has."""
EXTREMES = {"leftmost": (-1, 0), "rightmost": (1, 0), "topmost": (0, -1), "bottommost": (0, 1)}
ATTRIBUTES = ("upside_down", "blurry", "grey")
"""Attributes that an object has by itself."""
COLOURFUL_PCT = 25
"""A sprite with this share of coloured pixels clearly has colour."""


class AmbiguousError(Exception):
    """The scene does not settle the query beyond doubt. Caught by the generator, which draws again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What is asked for, in a form that a program can check."""

    kind: str
    """Group for analysis: fact, attribute, relation, …; for several images, the question."""
    categories: tuple[str, ...] = ()
    """Only objects of these; of any category when empty."""
    fact: str | None = None
    attribute: str | None = None
    """upside_down, blurry, grey, small, large (of its category), smallest, largest (of all)."""
    relation: str | None = None
    anchor: str | None = None
    """A category of which the scene holds one, or ``"sign:TEXT"``."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "categories": list(self.categories)}


def _demand(condition: bool, why: str) -> None:
    if not condition:
        raise AmbiguousError(why)


def matching(objects: Sequence[SceneObject], query: Query) -> frozenset[int]:
    """Return the indices of the objects that the query selects.

    Raises:
        AmbiguousError: A person could disagree.
    """
    present = {o.category for o in objects} - {"sign"}
    for name in query.categories:
        _demand(not (confusable()[name] - set(query.categories)) & present, f"something could be taken for {name}")
    chosen = [i for i, o in enumerate(objects) if o.category != "sign"]
    if query.categories:
        chosen = [i for i in chosen if objects[i].category in query.categories]
    if query.fact is not None:
        fact = fact_by_text(query.fact)
        _demand(not fact.maybe & present, "the fact may hold for something else")
        chosen = [i for i in chosen if objects[i].category in fact.true]
    anchor = None if query.anchor is None else _anchor(objects, query.anchor)
    if not query.categories and query.fact is None:  # a sign is an object too, as far as a person can see
        _demand(all(o.category != "sign" or i == anchor for i, o in enumerate(objects)), "a sign could be meant")
    chosen = [i for i in chosen if i != anchor]
    if query.attribute is not None:
        chosen = _with_attribute(objects, chosen, query.attribute)
    if query.relation in EXTREMES:
        return frozenset(_extreme(objects, chosen, EXTREMES[query.relation]))
    if query.relation is not None:
        _demand(anchor is not None, "a relation needs an anchor")
        assert anchor is not None
        chosen = _related(objects, chosen, query.relation, anchor)
    return frozenset(chosen)


def _anchor(objects: Sequence[SceneObject], anchor: str) -> int:
    if anchor.startswith("sign:"):
        found = [i for i, o in enumerate(objects) if o.text == anchor[5:]]
    else:
        found = [i for i, o in enumerate(objects) if o.category == anchor]
        _demand(not confusable()[anchor] & {o.category for o in objects}, f"something could be taken for {anchor}")
    _demand(len(found) == 1, "there must be one anchor")
    return found[0]


def _with_attribute(objects: Sequence[SceneObject], among: list[int], attribute: str) -> list[int]:
    """Select by an object's own look or by its size among the others."""
    if attribute == "upside_down":
        turns = {i: abs((objects[i].rotation_deg + 180) % 360 - 180) for i in among}
        _demand(all(sprites()[objects[i].category].upright for i in among), "something has no clear top")
        _demand(all(t <= 65 or t >= 150 for t in turns.values()), "something lies on its side")
        return [i for i in among if turns[i] >= 150]
    if attribute == "blurry":
        _demand(all(max(_span(objects[i])) >= 30 for i in among), "too small to tell sharp from blurred")
        return [i for i in among if objects[i].blurry]
    if attribute == "grey":
        _demand(all(sprites()[objects[i].category].colourful_pct >= COLOURFUL_PCT for i in among), "greyish by nature")
        return [i for i in among if objects[i].grey]
    _demand(len(among) >= 2, "sizes need something to compare with")
    _demand(all(objects[i].visible >= 0.6 for i in among), "too much is hidden to compare sizes")
    if attribute in ("smallest", "largest"):
        sign = 1 if attribute == "smallest" else -1
        first, second = sorted(among, key=lambda i: sign * objects[i].full_area_px)[:2]
        areas = objects[first].full_area_px, objects[second].full_area_px
        _demand(max(areas) >= 1.4 * min(areas), "areas too close")
        lengths = sorted((sign * max(_span(objects[i])), i) for i in among)
        _demand(lengths[0][1] == first, "areas and lengths disagree")
        _demand(
            max(map(abs, (lengths[0][0], lengths[1][0]))) >= 1.2 * min(map(abs, (lengths[0][0], lengths[1][0]))),
            "lengths too close",
        )
        return [first]
    order = sorted(among, key=lambda i: objects[i].size_px)
    sizes = [objects[i].size_px for i in order]
    ratios = [b / a for a, b in pairwise(sizes)]
    cut = max(range(len(ratios)), key=ratios.__getitem__)
    _demand(ratios[cut] >= 1.45, "no clear gap between small and large")
    _demand(sizes[cut] <= 1.3 * sizes[0] and sizes[-1] <= 1.3 * sizes[cut + 1], "sizes vary within a group")
    return order[: cut + 1] if attribute == "small" else order[cut + 1 :]


def _span(obj: SceneObject) -> tuple[int, int]:
    x1, y1, x2, y2 = obj.full_box_xyxy
    return x2 - x1, y2 - y1


def _gap(a: SceneObject, b: SceneObject) -> float:
    """Distance between two full boxes, 0 when they touch."""
    ax1, ay1, ax2, ay2 = a.full_box_xyxy
    bx1, by1, bx2, by2 = b.full_box_xyxy
    return math.hypot(max(bx1 - ax2, ax1 - bx2, 0), max(by1 - ay2, ay1 - by2, 0))


def _extreme(objects: Sequence[SceneObject], among: list[int], step: tuple[int, int]) -> list[int]:
    """Select the object farthest in a direction, by its centre and by its edge."""
    if not among:
        return []
    _demand(len(among) >= 2, "one object is not the farthest of several")
    by_centre = sorted(among, key=lambda i: -_along(objects[i].centre_xy, step))
    edge = {
        i: max(_along(c, step) for c in (objects[i].full_box_xyxy[:2], objects[i].full_box_xyxy[2:])) for i in among
    }
    first, second = by_centre[:2]
    lead = _along(objects[first].centre_xy, step) - _along(objects[second].centre_xy, step)
    _demand(lead >= 14, "two are about equally far")
    _demand(all(edge[first] >= edge[i] + 4 for i in among if i != first), "edges disagree with centres")
    return [first]


def _along(point: Sequence[float], step: tuple[int, int]) -> float:
    return point[0] * step[0] + point[1] * step[1]


def _related(objects: Sequence[SceneObject], among: list[int], relation: str, anchor: int) -> list[int]:
    if not among:
        return []
    base = objects[anchor]
    if relation == "nearest":
        _demand(len(among) >= 2, "one object is not the nearest of several")
        far = sorted((math.dist(objects[i].centre_xy, base.centre_xy), i) for i in among)
        gaps = sorted((_gap(objects[i], base), i) for i in among)
        _demand(far[1][0] >= 1.25 * far[0][0] + 4, "two are about equally near")
        _demand(gaps[0][1] == far[0][1] and gaps[1][0] >= gaps[0][0] + 8, "edges disagree with centres")
        return [far[0][1]]
    if relation in DIRECTLY:
        return _directly(objects, among, DIRECTLY[relation], base)
    step = SIDES[relation]
    edge = max(_along(corner, step) for corner in (base.full_box_xyxy[:2], base.full_box_xyxy[2:]))
    middle = _along(base.centre_xy, step)
    positions = {i: _along(objects[i].centre_xy, step) for i in among}
    _demand(all(p >= edge + 5 or p <= middle for p in positions.values()), "not clearly on one side")
    return [i for i in among if positions[i] >= edge + 5]


def _directly(objects: Sequence[SceneObject], among: list[int], step: tuple[int, int], base: SceneObject) -> list[int]:
    """Select the next object straight in a direction; others off that line or much farther away."""
    across = (step[1], step[0])
    reach = []
    for i in among:
        offset = (objects[i].centre_xy[0] - base.centre_xy[0], objects[i].centre_xy[1] - base.centre_xy[1])
        ahead, aside = _along(offset, step), abs(_along(offset, across))
        if ahead > 0 and aside <= 0.84 * ahead:  # within 40 degrees
            reach.append((ahead, aside, i))
    reach.sort()
    if not reach:
        raise AmbiguousError("nothing lies there")
    ahead, aside, first = reach[0]
    _demand(aside <= 0.27 * ahead, "not straight enough")  # within 15 degrees
    _demand(all(other >= 1.7 * ahead for other, _, _ in reach[1:]), "another one competes")
    near = _facing(objects[first], base, step)
    beside = [i for i in among if i != first and _in_band(objects[i], base, across)]
    for i in beside:
        other = _facing(objects[i], base, step)
        ahead = _along(objects[i].centre_xy, step) > _along(base.centre_xy, step)
        _demand(not ahead or other > near + 10, "a nearer one lies in the same band")
    return [first]


def _facing(obj: SceneObject, base: SceneObject, step: tuple[int, int]) -> float:
    """Distance from the base's far edge to the object's near edge in a direction; negative when they overlap."""
    far = max(_along(c, step) for c in (base.full_box_xyxy[:2], base.full_box_xyxy[2:]))
    return min(_along(c, step) for c in (obj.full_box_xyxy[:2], obj.full_box_xyxy[2:])) - far


def _in_band(obj: SceneObject, base: SceneObject, across: tuple[int, int]) -> bool:
    """Whether an object overlaps the strip that the base sweeps by more than three tenths of the narrower one."""
    k = 0 if across[0] else 1
    low, high = (
        max(obj.full_box_xyxy[k], base.full_box_xyxy[k]),
        min(obj.full_box_xyxy[k + 2], base.full_box_xyxy[k + 2]),
    )
    widths = (o.full_box_xyxy[k + 2] - o.full_box_xyxy[k] for o in (obj, base))
    return high - low > 0.3 * min(widths)


def right_options(
    scenes: Sequence[Sequence[SceneObject]], query: Query, options: Sequence[int | str]
) -> frozenset[int]:
    """Return which options answer a question about several images.

    Args:
        scenes: The objects of each image.
        query: ``kind`` is the question; ``categories`` what it names.
        options: Image numbers from 0, counts, or category names, as the question has it.

    Raises:
        AmbiguousError: A person could disagree.
    """
    counts = [Counter(o.category for o in objects if o.category != "sign") for objects in scenes]
    present = [set(c) for c in counts]
    everywhere = set().union(*present)
    words = {*query.categories, *(o for o in options if isinstance(o, str))}
    for name in words:
        _demand(not confusable()[name] & (everywhere | words), f"something could be taken for {name}")
    if query.kind in ("most", "fewest", "only", "total"):
        numbers = [c[query.categories[0]] for c in counts]
        if query.kind == "total":
            return frozenset(k for k, o in enumerate(options) if o == sum(numbers))
        wanted = min(numbers) if query.kind == "fewest" else max(numbers)
        images = {i for i, n in enumerate(numbers) if n == wanted}
        _demand(query.kind != "only" or sorted(numbers)[-2] == 0, "in more than one image")
    elif query.kind in ("odd_lacks", "odd_extra"):
        size = len(scenes)
        share = size - 1 if query.kind == "odd_lacks" else 1
        odd = {name for name in everywhere if sum(name in p for p in present) == share}
        images = {i for i in range(size) if any((name in present[i]) == (share == 1) for name in odd)}
        other = {name for name in everywhere if sum(name in p for p in present) not in (share, size)}
        _demand(query.kind == "odd_lacks" or not other, "more than one difference")
    else:
        wanted_names = {
            "common": set.intersection(*present),
            "removed": present[0] - present[-1],
            "added": present[-1] - present[0],
        }[query.kind]
        _demand(len(wanted_names) == 1, "more than one is right")
        return frozenset(k for k, o in enumerate(options) if o in wanted_names)
    _demand(len(images) == 1, "two images are equal")
    return frozenset(k for k, o in enumerate(options) if o in images)
