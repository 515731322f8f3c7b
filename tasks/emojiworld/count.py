"""Referring counting: how many objects of a category look or lie as described."""

from __future__ import annotations

from typing import ClassVar

from visenv.answers import AnswerKind, Target
from visenv.task import Profile

from ..profiles import PROFILES
from .check import SIDES, Query
from .queries import templates
from .rng import Rng
from .selection import Selection, build, names_for, noun_phrase
from .words import confusable
from .world import Draft, EmojiTask, pools, wording_of

__all__ = ["EmojiCount"]

SIZE_WH = (768, 768)
ZERO_SHARE = 0.19
MAX_COUNT = 64
KINDS = {"category": 0.28, "size": 0.18, "upside_down": 0.18, "grey": 0.10, "relation": 0.26}


class EmojiCount(EmojiTask):
    """Count the objects of a category that a phrase describes.

    ## Description
    One picture of 768 x 768 pixels. The phrase names a category, alone or with a size, a look or a side of another
    object ("how many apples are to the left of the car"). Counts are log-uniform from 1 to 64 on every level; 19 % of
    the answers are zero. Objects of the same category that do not fit the phrase, and others, are around.

    ## Action Space
    Calls of the toolset's tools; the answer is the objects found, a number, or that there is none.

    ## Observation Space
    A question or request for the number, and the picture.

    ## Starting State
    The instruction and the whole picture.

    ## Rewards
    Primary score: 1 - min(1, |count - truth| / max(1, truth)).

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
    ``rec8k/official``: MAE and RMSE; precision, recall and F1 of boxes where boxes are submitted.

    ## References
    Dai, Liu and Cheung, "Referring Expression Counting", CVPR 2024, for the task and the metrics.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "EmojiCount"
    kind: ClassVar[AnswerKind] = AnswerKind.COUNT
    max_turns: ClassVar[int] = 10
    profile: ClassVar[Profile] = PROFILES["rec8k/official"]

    def _draw(self, plan: Rng, rng: Rng, split: str, level: int) -> Draft | None:
        zero = plan.chance(ZERO_SHARE)
        fits = 0 if zero else int(plan.log_uniform(1, MAX_COUNT + 1))
        kind = plan.weighted({k: w for k, w in KINDS.items() if not (zero and k == "size")})
        pool = pools(split)
        attribute = (
            plan.choice(("small", "large")) if kind == "size" else kind if kind in ("upside_down", "grey") else None
        )
        name = names_for(plan, pool.targets, attribute)
        anchor = relation = None
        if kind == "relation":
            relation = plan.choice(tuple(SIDES))
            anchor = plan.choice([n for n in pool.others if n != name and n not in confusable()[name]])
        fails = 0 if kind == "category" else plan.integer(2, 6 + fits // 3) if not zero else plan.integer(2, 24)
        query = Query(kind=kind, categories=(name,), attribute=attribute, relation=relation, anchor=anchor)
        room_px = SIZE_WH[0] * SIZE_WH[1] * (0.4 if relation else 1.0)  # one side of the anchor, or all
        num_others = plan.integer(4, 8 + 4 * level) if not zero or kind != "category" else int(plan.log_uniform(6, 40))
        built = build(
            Selection(query=query, matching=fits, failing=fails),
            rng,
            split,
            level,
            size_wh=SIZE_WH,
            num_others=num_others,
            max_side_px=min(96.0, (0.16 * room_px / max(fits, fails, 1)) ** 0.5),
        )
        if built is None:
            return None
        layout, selected = built
        wording = wording_of(split)
        phrase = noun_phrase(query, rng, wording, plural=True)
        text = rng.choice(templates("count", wording)).format(noun=phrase)
        chosen = [layout.objects[i] for i in sorted(selected)]
        target = Target(
            kind=AnswerKind.COUNT,
            size_hw=SIZE_WH[::-1],
            labels=tuple(o.category for o in chosen),
            boxes_xyxy=tuple(o.target_box_xyxy for o in chosen),
        )
        return Draft(instruction=text, layouts=(layout,), target=target, query=query, meta={"num_targets": len(chosen)})
