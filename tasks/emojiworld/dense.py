"""Dense detection: hundreds of small objects, a box for each one of the named categories."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from visenv.answers import AnswerKind, Box, Target
from visenv.task import Profile

from ..profiles import PROFILES
from ..profiles.dense200_rexomni import row_without_labels
from .check import Query, matching
from .queries import templates
from .rng import Rng
from .scene import lay_out, make_thing
from .words import confusable, joined, named
from .world import Draft, EmojiTask, other_categories, pools, wording_of

__all__ = ["EmojiDense"]

SIDE_PX = {1: 1024, 2: 1536, 3: 2048}
NUM_OBJECTS = {1: (100, 150), 2: (150, 250), 3: (250, 400)}
NUM_CATEGORIES = (8, 14)
OBJECT_PX = {1: (20, 56), 2: (18, 50), 3: (16, 44)}
HEAPED = {1: 0.0, 2: 0.5, 3: 0.6}
"""Share of the objects that lie in heaps of about ``HEAP_SIZE``, covering each other in part."""
HEAP_SIZE = 12
HEAP_RADIUS_PX = 70
MIN_VISIBLE = {1: None, 2: 0.65, 3: 0.45}


class EmojiDense(EmojiTask):
    """Put a box around each of many small objects.

    ## Description
    One picture of 1024, 1536 or 2048 pixels a side with 100-150, 150-250 or 250-400 objects (levels 1 to 3) of 16
    to 56 pixels, from 8 to 14 categories. From level 2 on, many lie in heaps and cover each other in part. One to
    three categories are asked for.

    ## Action Space
    Calls of the toolset's tools; the answer is a box for each object found.

    ## Observation Space
    A request that names the one to three categories, and the picture.

    ## Starting State
    The instruction and the whole picture.

    ## Rewards
    Primary score: F1, averaged over the IoU thresholds 0.5, 0.55, … 0.95.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated
    at the turn limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an
    agent: ``kind`` of question, ``query`` (what the checker works out again), ``num_objects`` of each picture, ``num_targets``.
    Each sample is its own cluster.

    ## Arguments
    ``split``: train, val, test (held-out wording), test_novel (also held-out target categories), experts.
    ``level``: 1, 2 or 3.

    ## Metrics
    ``dense200/rexomni``: F1 at IoU 0.5 and 0.95 and its mean over 0.5, 0.55, … 0.95. Labels of submitted objects are not
    looked at: all of them answer the instruction.

    ## References
    Jiang et al., "Detect Anything via Next Point Prediction" (Rex-Omni), 2025, for Dense200 and its metric.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "EmojiDense"
    kind: ClassVar[AnswerKind] = AnswerKind.BOXES
    max_turns: ClassVar[int] = 20
    profile: ClassVar[Profile] = replace(PROFILES["dense200/rexomni"], row=row_without_labels)

    def _draw(self, plan: Rng, rng: Rng, split: str, level: int) -> Draft | None:
        wording, pool = wording_of(split), pools(split)
        asked: list[str] = []
        for name in plan.shuffle(pool.targets)[: plan.integer(1, 3)]:
            if not any(name in confusable()[other] for other in asked):
                asked.append(name)
        banned = set(asked).union(*(confusable()[n] for n in asked))
        others = other_categories(
            rng, split, plan.integer(*NUM_CATEGORIES) - len(asked), banned, like=asked[0] if level > 1 else None
        )
        weights = {name: rng.uniform(0.5, 2.0) for name in [*asked, *others]}
        low, high = OBJECT_PX[level]
        side = SIDE_PX[level]
        heaps = _heaps(rng, side, level)
        things = []
        for k in range(plan.integer(*NUM_OBJECTS[level])):
            name = asked[k] if k < len(asked) else rng.weighted(weights)
            looks = ("grey",) if level == 3 and name in others and rng.chance(0.05) else ()
            region = rng.choice(heaps) if rng.chance(HEAPED[level]) else None
            size = rng.integer(low, high)
            things.append(make_thing(name, size, rng, level, looks=looks, required=k < len(asked), region_xyxy=region))
        layout = lay_out(
            rng.shuffle(things), size_wh=(side, side), level=level, rng=rng, min_visible=MIN_VISIBLE[level]
        )
        if layout is None or len(layout.objects) < NUM_OBJECTS[level][0]:
            return None
        query = Query(kind="dense", categories=tuple(asked))
        selected = sorted(matching(layout.objects, query))
        if selected != [i for i, o in enumerate(layout.objects) if o.category in asked]:
            return None
        chosen = [layout.objects[i] for i in selected]
        target = Target(
            kind=AnswerKind.BOXES,
            size_hw=(side, side),
            labels=tuple(o.category for o in chosen),
            boxes_xyxy=tuple(o.target_box_xyxy for o in chosen),
        )
        singular = [named(n, rng, synonyms=False) for n in asked]
        text = rng.choice(templates("dense", wording)).format(
            every=joined([singular[0], *(f"every {n}" for n in singular[1:])]),
            each=joined([singular[0], *(f"each {n}" for n in singular[1:])]),
            plurals=joined([named(n, rng, plural=True, synonyms=False) for n in asked]),
        )
        return Draft(instruction=text, layouts=(layout,), target=target, query=query, meta={"num_targets": len(chosen)})


def _heaps(rng: Rng, side_px: int, level: int) -> list[Box]:
    """Return where heaps lie, as regions for the centres of their objects."""
    number = max(1, round(HEAPED[level] * NUM_OBJECTS[level][1] / HEAP_SIZE))
    low, high = HEAP_RADIUS_PX, side_px - HEAP_RADIUS_PX
    centres = [(rng.integer(low, high), rng.integer(low, high)) for _ in range(number)]
    r = HEAP_RADIUS_PX
    return [(float(x - r), float(y - r), float(x + r), float(y + r)) for x, y in centres]
