"""Generalised referring segmentation: an expression that means several objects, one, or none."""

from __future__ import annotations

from typing import ClassVar

from visenv.answers import AnswerKind
from visenv.task import Profile

from ..profiles import PROFILES
from .check import ATTRIBUTES, EXTREMES, SIDES, Query
from .queries import Wording, templates
from .rng import Rng
from .selection import Selection, build, names_for, noun_phrase
from .words import confusable, named, sentence
from .world import Draft, EmojiTask, mask_draft, pools, wording_of

__all__ = ["EmojiRef"]

SIZE_WH = (512, 512)
NUM_OBJECTS = {1: (5, 8), 2: (8, 12), 3: (12, 18)}
OUTCOMES = {"several": 0.40, "one": 0.38, "none": 0.22}
KINDS = {
    "several": {"category": 0.30, "attribute": 0.20, "relation": 0.20, "two": 0.30},
    "one": {"category": 0.20, "attribute": 0.25, "position": 0.25, "relation": 0.30},
    "none": {"category": 0.40, "attribute": 0.30, "relation": 0.20, "two": 0.10},
}


class EmojiRef(EmojiTask):
    """Segment everything that an expression refers to, or say that there is nothing of the kind.

    ## Description
    One picture of 512 x 512 pixels with 5-8, 8-12 or 12-18 objects (levels 1 to 3). Expressions name a category ("all
    the apples"), one with a look ("the small apple", "the upside-down apple"), with a place ("the leftmost apple", "the
    apples to the left of the car"), or two categories. 40 % mean several objects, 38 % one and 22 % none: the category
    is absent, or no instance looks or lies as described. Instances that do not fit make selecting them all costly.

    ## Action Space
    Calls of the toolset's tools; the answer is masks, or that nothing matches.

    ## Observation Space
    The expression, alone or in a request, and the picture.

    ## Starting State
    The instruction and the whole picture.

    ## Rewards
    Primary score: IoU of the union of the submitted masks with the union of the targets; 1 for a rightly declared
    "no target", 0 for any other answer when nothing matches.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated
    at the turn limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an
    agent: ``kind`` of question, ``query`` (what the checker works out again), ``num_objects`` of each picture, ``num_targets``,
    ``outcome`` (``several``, ``one`` or ``none``). Each sample is its own cluster.

    ## Arguments
    ``split``: train, val, test (held-out wording), test_novel (also held-out target categories), experts.
    ``level``: 1, 2 or 3.

    ## Metrics
    ``gres/native``: gIoU, cIoU, N-acc, T-acc and Pr@0.7, 0.8, 0.9 at native size.

    ## References
    Liu, Ding and Jiang, "GRES: Generalized Referring Expression Segmentation", CVPR 2023, for the task and the metrics.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "EmojiRef"
    kind: ClassVar[AnswerKind] = AnswerKind.MASK
    max_turns: ClassVar[int] = 10
    profile: ClassVar[Profile] = PROFILES["gres/native"]

    def _draw(self, plan: Rng, rng: Rng, split: str, level: int) -> Draft | None:
        outcome = plan.weighted(OUTCOMES)
        kind = plan.weighted(KINDS[outcome])
        total = plan.integer(*NUM_OBJECTS[level])
        selection = _selection(plan, kind, outcome, split, level)
        named_count = selection.matching + selection.failing + (selection.query.anchor is not None)
        built = build(selection, rng, split, level, size_wh=SIZE_WH, num_others=max(2, total - named_count))
        if built is None:
            return None
        layout, selected = built
        wording = wording_of(split)
        phrase = _phrase(
            selection.query, rng, wording, plural=outcome == "several" or (outcome == "none" and rng.chance(0.5))
        )
        text = sentence(rng.choice(templates("ref", wording)).format(phrase=phrase))
        return mask_draft(text, layout, selected, selection.query, outcome=outcome)


def _selection(plan: Rng, kind: str, outcome: str, split: str, level: int) -> Selection:
    """Decide what is asked and how many objects fit and do not fit."""
    pool = pools(split)
    fits = {"several": plan.integer(2, 3 + (level > 1)), "one": 1, "none": 0}[outcome]
    fails = plan.integer(1, 2 + (level > 1))
    attribute = relation = anchor = None
    if kind == "attribute":
        attribute = plan.choice(ATTRIBUTES if outcome == "none" else (*ATTRIBUTES, "small", "large"))
    elif kind == "position":
        relation = plan.choice(tuple(EXTREMES))
    elif kind == "relation":
        relation = plan.choice(("nearest", "nearest", *SIDES) if outcome == "one" else tuple(SIDES))
    first = names_for(plan, pool.targets, attribute)
    names: tuple[str, ...] = (first,)
    free = [n for n in pool.others if n != first and n not in confusable()[first]]
    if kind == "relation":
        anchor = plan.choice(free)
    if kind == "two":
        names = (first, plan.choice([n for n in pool.targets if n in free]))
    if kind in ("category", "two"):
        fails = 0
    query = Query(kind=kind, categories=names, attribute=attribute, relation=relation, anchor=anchor)
    return Selection(query=query, matching=fits, failing=fails)


def _phrase(query: Query, rng: Rng, wording: Wording, *, plural: bool) -> str:
    """Word the expression, article included."""
    if len(query.categories) == 2:
        return " and ".join(f"the {named(n, rng, plural=True)}" for n in query.categories)
    if query.relation in EXTREMES:
        return noun_phrase(query, rng, wording, plural=False)
    form = "plural" if plural else "singular"
    return rng.choice(templates(f"ref.{form}", wording)).format(noun=noun_phrase(query, rng, wording, plural=plural))
