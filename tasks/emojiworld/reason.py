"""Reasoning segmentation: the question never says what the target is called."""

from __future__ import annotations

import math
from typing import ClassVar

from visenv.answers import AnswerKind
from visenv.task import Profile

from ..profiles import PROFILES
from .check import ATTRIBUTES, DIRECTLY, AmbiguousError, Query, matching
from .queries import facts_of, shared_facts, templates
from .rng import Rng
from .scene import Layout, SceneObject, Thing, lay_out, make_thing
from .selection import names_for, suits
from .words import named
from .world import Draft, EmojiTask, extra_things, mask_draft, other_categories, pools, side_for, wording_of

__all__ = ["EmojiReason"]

SIZE_WH = (512, 512)
NUM_OBJECTS = {1: (5, 7), 2: (8, 12), 3: (12, 18)}


class EmojiReason(EmojiTask):
    """Segment what a question is about without being told its name.

    ## Description
    One picture of 512 x 512 pixels with 5-7, 8-12 or 12-18 objects (levels 1 to 3). A third of the questions ask for a
    use or property ("the object that keeps a swimmer afloat in rough water"), a third for a place relative to a named
    object or a sign ("what lies directly above the clock"), a third for a look that names no category ("the only thing
    that is upside down", "the largest object"). There is always a target; facts and looks have several now and then.

    ## Action Space
    Calls of the toolset's tools; the answer is masks, of which the union counts.

    ## Observation Space
    The question or request, and the picture.

    ## Starting State
    The instruction and the whole picture.

    ## Rewards
    Primary score: IoU of the union of the submitted masks with the union of the targets.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated
    at the turn limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an
    agent: ``kind`` of question, ``query`` (what the checker works out again), ``num_objects`` of each picture, ``num_targets``.
    Each sample is its own cluster.

    ## Arguments
    ``split``: train, val, test (held-out facts and wording), test_novel (also held-out target categories), experts.
    ``level``: 1, 2 or 3.

    ## Metrics
    ``reasonseg/lisa``: gIoU and cIoU.

    ## References
    Lai et al., "LISA: Reasoning Segmentation via Large Language Model", CVPR 2024, for the task and the metrics.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "EmojiReason"
    kind: ClassVar[AnswerKind] = AnswerKind.MASK
    max_turns: ClassVar[int] = 10
    profile: ClassVar[Profile] = PROFILES["reasonseg/lisa"]

    def _draw(self, plan: Rng, rng: Rng, split: str, level: int) -> Draft | None:
        kind = plan.choice(("fact", "relation", "attribute"))
        count = plan.integer(*NUM_OBJECTS[level])
        draw = {"fact": self._fact, "relation": self._relation, "attribute": self._attribute}[kind]
        return draw(plan, rng, split, level, count)

    def _fact(self, plan: Rng, rng: Rng, split: str, level: int, count: int) -> Draft | None:
        wording, pool = wording_of(split), pools(split)
        name = plan.choice(pool.targets)
        shared = shared_facts(name, wording)
        if shared and plan.chance(0.3):
            fact = plan.choice(shared)
            more = [n for n in sorted(fact.true) if n in pool.targets and n != name]
            names = [name, *plan.sample(more, plan.integer(0, min(2, len(more))))]
        else:
            fact = plan.choice(facts_of(name, wording))
            names = [name] * plan.choice((1, 1, 1, 1, 2, 3))
        side = side_for(SIZE_WH, count, level)
        things = [make_thing(n, round(side * rng.uniform(0.8, 1.1)), rng, level) for n in names]
        others = other_categories(
            rng, split, count - len(names), fact.true | fact.maybe, like=name if level > 1 else None
        )
        layout = self._lay_out(things, others, side, rng, level)
        if layout is None:
            return None
        query = Query(kind="fact", fact=fact.text)
        selected = matching(layout.objects, query)
        if len(selected) != len(names):
            return None
        form = "any" if len(names) > 1 or rng.chance(0.25) else "one"
        text = rng.choice(templates(f"reason.fact.{form}", wording)).format(fact=fact.text)
        return mask_draft(text, layout, selected, query)

    def _relation(self, plan: Rng, rng: Rng, split: str, level: int, count: int) -> Draft | None:
        wording, pool = wording_of(split), pools(split)
        relation = plan.choice(("nearest", "nearest", "nearest", *DIRECTLY))
        by_sign = level > 1 and plan.chance(0.3)
        side = side_for(SIZE_WH, count, level)
        candidates = list(pool.targets) if len(pool.targets) < len(pool.others) else []
        names = rng.sample(candidates, min(3, len(candidates)))
        others = other_categories(rng, split, count - len(names), names)
        layout = self._lay_out([], [*names, *others], side, rng, level, sign_chance=1.0 if by_sign else 0.15)
        if layout is None:
            return None
        objects = layout.objects
        for index in rng.shuffle(range(len(objects))):
            base = objects[index]
            if (base.category == "sign") != by_sign:
                continue
            guess = _guess(objects, index, relation)
            if guess is None or objects[guess].category not in pool.targets:
                continue
            query = Query(kind="relation", relation=relation, anchor=f"sign:{base.text}" if by_sign else base.category)
            try:
                selected = matching(objects, query)
            except AmbiguousError:
                continue
            if selected != {guess}:
                continue
            where = rng.choice(templates(f"where.{relation}", wording))
            anchor = f"the sign that says {base.text}" if by_sign else f"the {named(base.category, rng)}"
            text = rng.choice(templates("reason.relation", wording)).format(where=where, anchor=anchor)
            return mask_draft(text, layout, selected, query)
        return None

    def _attribute(self, plan: Rng, rng: Rng, split: str, level: int, count: int) -> Draft | None:
        wording, pool = wording_of(split), pools(split)
        attribute = plan.choice((*ATTRIBUTES, *ATTRIBUTES, "largest", "smallest"))
        own = attribute in ATTRIBUTES
        names = [
            names_for(plan, pool.targets, attribute if own else None)
            for _ in range(2 if own and plan.chance(0.2) else 1)
        ]
        side = min(90.0, side_for(SIZE_WH, count, level))
        scale = {"largest": 1.5, "smallest": 0.58}.get(attribute, 1.0)
        things = [
            make_thing(n, round(side * scale * rng.uniform(0.9, 1.1)), rng, level, looks=(attribute,) if own else ())
            for n in names
        ]
        others = other_categories(rng, split, 400, names)
        if attribute != "blurry":
            others = [n for n in others if suits(n, attribute)]  # no doubt about what has a top or a colour
        others = others[: count - len(names)]
        layout = self._lay_out(things, others, side, rng, level, plain=(attribute,), sizes=not own)
        if layout is None:
            return None
        query = Query(kind="attribute", attribute=attribute)
        selected = matching(layout.objects, query)
        if sorted(layout.objects[i].category for i in selected) != sorted(names):
            return None
        if own:
            form = "any" if len(names) > 1 or rng.chance(0.2) else "one"
            look = rng.choice(templates(f"is.{attribute}", wording))
            text = rng.choice(templates(f"reason.attribute.{form}", wording)).format(attribute=look)
        else:
            extreme = rng.choice(templates(f"extreme.{attribute}", wording))
            text = rng.choice(templates("reason.extreme", wording)).format(extreme=extreme)
        return mask_draft(text, layout, selected, query)

    @staticmethod
    def _lay_out(
        things: list[Thing],
        others: list[str],
        side: float,
        rng: Rng,
        level: int,
        *,
        plain: tuple[str, ...] = (),
        sizes: bool = False,
        sign_chance: float = 0.15,
    ) -> Layout | None:
        extras = extra_things(rng, others, side, level, size_wh=SIZE_WH, plain=plain, sign_chance=sign_chance)
        return lay_out(
            rng.shuffle([*things, *extras]),
            size_wh=SIZE_WH,
            level=level,
            rng=rng,
            min_visible=0.8 if sizes and level > 1 else None,
        )


def _guess(objects: tuple[SceneObject, ...], anchor: int, relation: str) -> int | None:
    """Return the object that a relation most likely means, by centres alone."""
    x, y = objects[anchor].centre_xy
    best: tuple[float, int] | None = None
    for i, obj in enumerate(objects):
        if i == anchor or obj.category == "sign":
            continue
        dx, dy = obj.centre_xy[0] - x, obj.centre_xy[1] - y
        if relation in DIRECTLY:
            step = DIRECTLY[relation]
            ahead, aside = dx * step[0] + dy * step[1], abs(dx * step[1] + dy * step[0])
            if ahead <= 0 or aside > 0.27 * ahead:
                continue
        best = min(filter(None, (best, (math.hypot(dx, dy), i))))
    return best[1] if best else None
