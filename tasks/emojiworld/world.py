"""What the five families share: splits, categories by split, and drawing again until a question is beyond doubt."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from visenv.answers import AnswerKind, Target
from visenv.errors import bad_value, unknown_name
from visenv.experts.embedded.names import categories, category
from visenv.images import Image
from visenv.task import Profile, Sample

from .check import AmbiguousError, Query
from .queries import Wording
from .render import WORDS, sprites
from .rng import Rng
from .scene import Layout, Scene, Thing, make_thing

__all__ = [
    "SPLITS",
    "Draft",
    "EmojiTask",
    "Pools",
    "extra_things",
    "mask_draft",
    "other_categories",
    "pools",
    "side_for",
    "wording_of",
]

SPLITS = ("train", "val", "test", "test_novel", "experts")
EVALUATION_SAMPLES = 500
"""Samples per level in ``val``, ``test`` and ``test_novel``."""
TRIES_PER_PLAN, MAX_TRIES = 60, 3000


@dataclass(frozen=True, kw_only=True, slots=True)
class Pools:
    """Which categories a split may show."""

    targets: tuple[str, ...]
    others: tuple[str, ...]
    """Whatever else is in the picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """One question with its layouts, before any pixel is drawn."""

    instruction: str
    layouts: tuple[Layout, ...]
    target: Target
    query: Query
    meta: Mapping[str, Any] = field(default_factory=dict)


@cache
def pools(split: str) -> Pools:
    """Return the categories of a split: novel ones are targets in ``test_novel`` and nowhere before."""
    every = tuple(c.name for c in categories())
    known = tuple(c.name for c in categories() if not c.novel)
    novel = tuple(c.name for c in categories() if c.novel)
    if split == "experts":
        return Pools(targets=every, others=every)
    if split == "test_novel":
        return Pools(targets=novel, others=every)
    return Pools(targets=known, others=known)


def wording_of(split: str) -> Wording:
    """Return which phrasings and facts a split uses."""
    return "test" if split.startswith("test") else "train"


def other_categories(
    rng: Rng, split: str, count: int, banned: Collection[str], *, like: str | None = None
) -> list[str]:
    """Draw different categories to surround the targets.

    Args:
        rng: Source.
        split: Decides on the pool.
        count: How many.
        banned: Never these.
        like: Half of them are of this category's supercategory, as far as there are any.
    """
    free = rng.shuffle([name for name in pools(split).others if name not in banned])
    if like is None:
        return free[:count]
    group = category(like).supercategory
    akin = [name for name in free if category(name).supercategory == group][: count // 2]
    return rng.shuffle([*akin, *[name for name in free if name not in akin][: count - len(akin)]])


def side_for(size_wh: tuple[int, int], count: int, level: int) -> float:
    """Return a typical object's longer side in pixels when ``count`` share the canvas."""
    cover = {1: 0.27, 2: 0.30, 3: 0.24}[level]
    return min(130.0, math.sqrt(cover * size_wh[0] * size_wh[1] / count))


def extra_things(
    rng: Rng,
    names: Collection[str],
    side_px: float,
    level: int,
    *,
    size_wh: tuple[int, int],
    plain: Collection[str] = (),
    sign_chance: float = 0.15,
) -> list[Thing]:
    """Describe distractors, one for each name; from level 2 on some have a striking look, and some scenes hold a sign.

    Args:
        rng: Source.
        names: Their categories.
        side_px: Typical size.
        level: Difficulty.
        size_wh: Canvas.
        plain: Looks (``upside_down``, ``blurry``, ``grey``) that none of them may have.
        sign_chance: How often there is a sign.
    """
    out = []
    for name in names:
        drawn = {
            "grey": level == 3 and rng.chance(0.12),
            "blurry": level > 1 and sprites()[name].firm and rng.chance(0.08),
            "upside_down": level > 1 and sprites()[name].upright and rng.chance(0.06),
        }
        size = round(side_px * rng.uniform(0.75, 1.15))
        looks = [k for k, on in drawn.items() if on and k not in plain]
        out.append(make_thing(name, size, rng, level, looks=looks, required=False))
    if level > 1 and rng.chance(sign_chance):
        out.append(
            Thing(
                category="sign", size_px=rng.integer(24, 38) * size_wh[0] // 512, text=rng.choice(WORDS), required=False
            )
        )
    return out


class EmojiTask(ABC):
    """Base of the five families: a sample is a pure function of (version, family, split, level, index)."""

    name: ClassVar[str]
    version: ClassVar[str] = "0"
    kind: ClassVar[AnswerKind]
    max_turns: ClassVar[int]
    splits: ClassVar[tuple[str, ...]] = SPLITS
    levels: ClassVar[tuple[int, ...]] = (1, 2, 3)
    profile: ClassVar[Profile]

    def num_samples(self, split: str, level: int) -> int | None:
        """Return 500 for the evaluation splits, ``None`` (no end) for ``train`` and ``experts``."""
        if split not in self.splits:
            raise unknown_name("split", split, self.splits, remedy=f"{self.name} has {', '.join(self.splits)}.")
        if level not in self.levels:
            raise unknown_name("level", str(level), map(str, self.levels), remedy=f"{self.name} has 1, 2 and 3.")
        return None if split in ("train", "experts") else EVALUATION_SAMPLES

    def sample(self, split: str, level: int, index: int) -> Sample:
        """Return one sample; see :class:`visenv.task.Task`."""
        end = self.num_samples(split, level)
        if not isinstance(index, int) or index < 0 or (end is not None and index >= end):
            raise bad_value("index", index, expected=f"an integer from 0 to {'any' if end is None else end - 1}")
        return self._sample(split, level, index)

    def _sample(self, split: str, level: int, index: int) -> Sample:
        draft = self._drafted(split, level, index)
        return self._finished(
            draft,
            split,
            level,
            index,
            cluster=self._id(split, level, index),
            images=self._images(draft, split, level, index),
        )

    def _id(self, split: str, level: int, index: int) -> str:
        return f"{self.name}/{split}/{level}/{index}"

    def _rng(self, split: str, level: int, index: int, *more: object) -> Rng:
        return Rng.of(f"emojiworld-v{self.version}", self.name, split, level, index, *more)

    def _drafted(self, split: str, level: int, index: int) -> Draft:
        """Draw until a question is beyond doubt.

        What kind of question it is comes from ``plan``, which starts anew with every try, so rejected draws do not
        shift the shares of kinds and answers.
        """
        rng = self._rng(split, level, index)
        for attempt in range(MAX_TRIES):
            plan = self._rng(split, level, index, "plan", attempt // TRIES_PER_PLAN)
            try:
                draft = self._draw(plan, rng.spawn(), split, level)
            except AmbiguousError:
                continue
            if draft is not None:
                return draft
        raise RuntimeError(f"no unambiguous scene for {self._id(split, level, index)}")  # a bug: tests cover thousands

    def scenes(self, split: str, level: int, index: int) -> tuple[Scene, ...]:
        """Return the pictures of a sample with everything that is in them, asked for or not: the truth for measuring experts."""
        return self._scenes(self._drafted(split, level, index), split, level, index)

    def _scenes(self, draft: Draft, split: str, level: int, index: int) -> tuple[Scene, ...]:
        return tuple(layout.render(self._rng(split, level, index, "look", i)) for i, layout in enumerate(draft.layouts))

    def _images(self, draft: Draft, split: str, level: int, index: int) -> tuple[Image, ...]:
        return tuple(Image(scene.pixels) for scene in self._scenes(draft, split, level, index))

    def _finished(
        self, draft: Draft, split: str, level: int, index: int, *, cluster: str, images: tuple[Image, ...]
    ) -> Sample:
        meta = {
            "kind": draft.query.kind,
            "query": draft.query.to_json(),
            "num_objects": [len(layout.objects) for layout in draft.layouts],
            **draft.meta,
        }
        return Sample(
            id=self._id(split, level, index),
            task=self.name,
            split=split,
            level=level,
            index=index,
            instruction=draft.instruction,
            images=images,
            target=draft.target,
            cluster=cluster,
            meta=meta,
        )

    @abstractmethod
    def _draw(self, plan: Rng, rng: Rng, split: str, level: int) -> Draft | None:
        """Try one question; ``None`` or :class:`AmbiguousError` when the draw is no good.

        Args:
            plan: Decides what is asked; the same draws in every try.
            rng: Decides everything else; new in every try.
            split: The split.
            level: The level.
        """


def mask_draft(instruction: str, layout: Layout, selected: Collection[int], query: Query, **meta: Any) -> Draft:
    """Return a question whose answer is the masks of some objects of one scene."""
    size_hw = layout.size_wh[::-1]
    chosen = [layout.objects[i] for i in sorted(selected)]
    target = Target(
        kind=AnswerKind.MASK,
        size_hw=size_hw,
        masks=tuple(o.mask(size_hw) for o in chosen),
        boxes_xyxy=tuple(o.target_box_xyxy for o in chosen),
        labels=tuple(o.category for o in chosen),
    )
    return Draft(
        instruction=instruction,
        layouts=(layout,),
        target=target,
        query=query,
        meta={"num_targets": len(chosen), **meta},
    )
