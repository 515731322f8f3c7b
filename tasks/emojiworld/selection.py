"""Scenes for questions that pick some objects of a named category: referring and counting build on the same pieces."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from visenv.answers import Box

from .check import COLOURFUL_PCT, EXTREMES, SIDES, Query, matching
from .queries import Wording, templates
from .render import sprites
from .rng import Rng
from .scene import Layout, Thing, lay_out, make_thing
from .words import confusable, named
from .world import extra_things, other_categories, side_for

__all__ = ["Selection", "build", "names_for", "noun_phrase", "suits"]

MAX_CROWD = 40
"""Most objects of a category that is not asked for."""
LIMIT = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)}
"""Axis and direction of a side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """How many objects of a category to draw, and which of them a query shall select."""

    query: Query
    matching: int
    """Objects that the query selects."""
    failing: int
    """Objects of the same category that it does not."""


def suits(name: str, attribute: str | None) -> bool:
    """Whether the attribute can be seen on this category."""
    sprite = sprites()[name]
    if attribute == "upside_down":
        return sprite.upright
    if attribute == "blurry":
        return sprite.firm
    return attribute != "grey" or sprite.colourful_pct >= COLOURFUL_PCT


def build(
    selection: Selection,
    rng: Rng,
    split: str,
    level: int,
    *,
    size_wh: tuple[int, int],
    num_others: int,
    max_side_px: float = 130.0,
) -> tuple[Layout, frozenset[int]] | None:
    """Draw the scene of a selection and have it checked.

    Returns:
        The layout and the selected objects, or ``None`` when there was no room or the query selects something else.

    Raises:
        AmbiguousError: A person could disagree on the selection.
    """
    query = selection.query
    names = {*query.categories, *([query.anchor] if query.anchor else [])}
    banned = names.union(*(confusable()[n] for n in names))
    others = other_categories(rng, split, num_others, banned, like=query.categories[0] if level > 1 else None)
    others = _with_crowds(others, rng, most=max(3, 2 * (selection.matching + selection.failing)))
    total = selection.matching + selection.failing + len(others) + (query.anchor is not None)
    side = min(max_side_px, side_for(size_wh, max(total, 5), level))
    core = _named_things(selection, side, rng, level, size_wh)
    extras = extra_things(rng, others, side, level, size_wh=size_wh)
    things = rng.shuffle([*core, *extras])
    needs_sizes = query.attribute in ("small", "large")
    layout = lay_out(
        things, size_wh=size_wh, level=level, rng=rng, min_visible=0.75 if needs_sizes and level > 1 else None
    )
    if layout is None:
        return None
    selected = matching(layout.objects, query)
    return (layout, selected) if len(selected) == selection.matching else None


def _with_crowds(names: list[str], rng: Rng, *, most: int) -> list[str]:
    """Show a few of the other categories several times, so that being many does not tell what is asked for."""
    crowds = [[name] * (int(rng.log_uniform(2, min(most, MAX_CROWD) + 1)) - 1) for name in names[: rng.integer(1, 3)]]
    return [*names, *(name for crowd in crowds for name in crowd)]


def _named_things(selection: Selection, side: float, rng: Rng, level: int, size_wh: tuple[int, int]) -> list[Thing]:
    """Describe the objects of the named categories and the anchor."""
    query, fits, fails = selection.query, selection.matching, selection.failing

    def size() -> int:
        return round(side * rng.uniform(0.8, 1.1))

    def make(
        count: int,
        *,
        name: str = query.categories[0],
        region: Box | None = None,
        size_px: int = 0,
        look: str | None = None,
    ) -> list[Thing]:
        looks = (look,) if look else ()
        sizes = [round(size_px * rng.uniform(0.92, 1.08)) if size_px else size() for _ in range(count)]
        return [make_thing(name, px, rng, level, looks=looks, region_xyxy=region) for px in sizes]

    if query.relation in SIDES:
        assert query.anchor is not None
        anchor_px = size()
        inside, outside, middle = _regions(query.relation, anchor_px, size_wh)
        return [
            *make(1, name=query.anchor, region=middle, size_px=anchor_px),
            *make(fits, region=inside),
            *make(fails, region=outside),
        ]
    if query.relation is not None:
        anchors = [] if query.anchor is None else make(1, name=query.anchor)
        return [*anchors, *make(fits + fails)]
    if query.attribute in ("small", "large"):
        small, large = round(side * 0.72), round(side * 1.25)
        mine, theirs = (small, large) if query.attribute == "small" else (large, small)
        return [*make(fits, size_px=mine), *make(fails, size_px=theirs)]
    if query.attribute is not None:
        return [*make(fits, look=query.attribute), *make(fails)]
    if len(query.categories) == 2 and fits:
        first = rng.integer(1, fits - 1)
        return [*make(first), *make(fits - first, name=query.categories[1])]
    return make(fits)


def _regions(side: str, anchor_px: int, size_wh: tuple[int, int]) -> tuple[Box, Box, Box]:
    """Return where matching objects, the rest, and the anchor have their centres."""
    axis, direction = LIMIT[side]
    length = size_wh[axis]
    near, far = (0.46 * length, 0.54 * length)
    reach = anchor_px * 0.72 + 8  # half its box when turned
    span = (0.0, near - reach) if direction < 0 else (far + reach, float(length))
    rest = (far, float(length)) if direction < 0 else (0.0, near)

    def box(low: float, high: float) -> Box:
        return (low, 0.0, high, float(size_wh[1])) if axis == 0 else (0.0, low, float(size_wh[0]), high)

    return box(*span), box(*rest), box(near, far)


def noun_phrase(query: Query, rng: Rng, wording: Wording, *, plural: bool) -> str:
    """Return "upside-down apples", "apples to the left of the car" or, with its article, "the leftmost apple"."""
    noun = named(query.categories[0], rng, plural=plural)
    if query.relation in EXTREMES:
        return rng.choice(templates(f"where.{query.relation}", wording)).format(noun=noun)
    if query.attribute is not None:
        noun = f"{rng.choice(templates(f'adjective.{query.attribute}', wording))} {noun}"
    if query.relation is not None:
        where = rng.choice(templates(f"where.{query.relation}", wording))
        noun = f"{noun} {where} the {named(query.anchor or '', rng)}"
    return noun


def names_for(plan: Rng, candidates: Collection[str], attribute: str | None) -> str:
    """Draw a target category on which the attribute can be seen."""
    return plan.choice([n for n in candidates if suits(n, attribute)])
