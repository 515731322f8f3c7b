"""Questions over several images, with five options."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from visenv.answers import AnswerKind, Target
from visenv.images import Image
from visenv.task import Profile, Sample

from ..profiles import PROFILES
from .check import Query, right_options
from .queries import templates
from .render import sprites
from .rng import Rng
from .scene import Layout, Thing, lay_out, make_thing
from .words import article, confusable, named, sentence
from .world import Draft, EmojiTask, other_categories, pools, side_for, wording_of

__all__ = ["EmojiMulti"]

SIZE_WH = (384, 384)
LETTERS = "ABCDE"
ORDINALS = ("the first image", "the second image", "the third image", "the fourth image", "the fifth image")
NUM_OBJECTS = {1: (4, 5), 2: (6, 8), 3: (8, 11)}
KINDS = ("most", "fewest", "only", "total", "common", "odd_lacks", "odd_extra", "removed", "added")
OF_IMAGES = ("most", "fewest", "only", "odd_lacks", "odd_extra")
"""Questions whose options are the five images."""
REPEAT_EVERY = 4
"""Every fourth sample is the one before it with its images, or its options, in another order."""

Option = int | str


class EmojiMulti(EmojiTask):
    """Answer a question about two to five images by the letter of an option.

    ## Description
    Two to five pictures of 384 x 384 pixels and five options: which image has the most, the fewest or the only objects
    of a category, how many there are in all, what appears in every image, which image is the odd one out, and what was
    removed or added from the first image to the second. Every fourth sample repeats the one before it in another order
    (same ``cluster``), so that an answer that hangs on the order shows. The right letter is uniform.

    ## Action Space
    Calls of the toolset's tools; the answer is the letter of an option, A to E.

    ## Observation Space
    The question with five options, one a line, and the pictures in their order.

    ## Starting State
    The instruction with its options, and all images.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    Terminated when a letter is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated
    at the turn limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an
    agent: ``kind`` of question, ``query`` (what the checker works out again), ``num_objects`` of each picture, ``num_images``,
    ``question``, ``options``, ``reordered`` (for a repeated sample). A sample and its repetition are one cluster.

    ## Arguments
    ``split``: train, val, test (held-out wording), test_novel (also held-out target categories), experts.
    ``level``: 1, 2 or 3.

    ## Metrics
    ``multiqa/accuracy``: share of right letters.

    ## References
    After the task types of BLINK (Fu et al., ECCV 2024) and MuirBench (Wang et al., 2024).

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "EmojiMulti"
    kind: ClassVar[AnswerKind] = AnswerKind.CHOICE
    max_turns: ClassVar[int] = 8
    profile: ClassVar[Profile] = PROFILES["multiqa/accuracy"]

    def _sample(self, split: str, level: int, index: int) -> Sample:
        repeats = index % REPEAT_EVERY == REPEAT_EVERY - 1
        source = index - 1 if repeats else index
        draft = self._drafted(split, level, source)
        images = self._images(draft, split, level, source)
        if repeats:
            draft, images = _reordered(draft, images, self._rng(split, level, index, "order"))
        return self._finished(draft, split, level, index, cluster=self._id(split, level, source), images=images)

    def _draw(self, plan: Rng, rng: Rng, split: str, level: int) -> Draft | None:
        kind = plan.choice(KINDS)
        wording = wording_of(split)
        name = plan.choice(pools(split).targets)
        place = plan.integer(0, 4)
        number = {"removed": 2, "added": 2, "common": plan.integer(2, 4), "total": plan.integer(2, 4)}.get(kind, 5)
        size = plan.integer(*NUM_OBJECTS[level])
        cast = _cast(kind, name, place, number, size, plan, rng, split, level)
        layouts = (
            [_layout(row, rng, level) for row in cast] if kind not in ("removed", "added") else _pair(cast, rng, level)
        )
        if any(layout is None for layout in layouts):
            return None
        done: tuple[Layout, ...] = tuple(layout for layout in layouts if layout is not None)
        named_kinds = ("most", "fewest", "only", "total")
        query = Query(kind=kind, categories=(name,) if kind in named_kinds else ())
        options = _options(kind, name, place, cast, plan, rng)
        right = right_options([layout.objects for layout in done], query, options)
        if len(right) != 1:
            return None
        (best,) = right
        noun = named(name, rng)
        question = rng.choice(templates(f"multi.{kind}", wording)).format(
            nouns=named(name, rng, plural=True), a_noun=article(noun)
        )
        return _draft(sentence(question), done, query, options, best)


def _cast(
    kind: str, name: str, place: int, number: int, size: int, plan: Rng, rng: Rng, split: str, level: int
) -> list[list[str]]:
    """Return the categories of every image; ``name`` is what is asked about, ``place`` the image that stands out."""
    others = other_categories(rng, split, 40, {name} | confusable()[name], like=name if level == 3 else None)
    if kind in ("most", "fewest", "total"):
        counts = _counts(kind, place, number, plan, level)
        decoy, rest = others[0], others[1:]  # being many does not tell what is asked for
        return [[*[name] * c, *[decoy] * rng.integer(0, 4), *rng.sample(rest, max(1, size - c - 2))] for c in counts]
    if kind == "only":
        return [[*rng.sample(others, size - (i == place)), *[name] * (i == place)] for i in range(number)]
    if kind == "common":
        decoys, rest = others[:4], others[4:]
        rows = [[name] for _ in range(number)]
        for decoy in decoys:  # each in some image, never in all
            for i in rng.sample(range(number), rng.integer(1, number - 1)):
                rows[i].append(decoy)
        return [[*row, *rng.sample(rest, max(0, size - len(row)))] for row in rows]
    if kind == "odd_lacks":  # fillers are all different, so nothing else is shared
        rows, at = [], 0
        for i in range(number):
            take = min(size, 7) - (i != place)
            rows.append([*others[at : at + take], *[name] * (i != place)])
            at += take
        return rows
    if kind == "odd_extra":
        same = others[: size - 1]
        return [[*same, *([name] if i == place else [rng.choice(same)])] for i in range(number)]
    full = [name, *others[: max(size, 6) - 1]]
    return [full, full[1:]] if kind == "removed" else [full[1:], full]


def _counts(kind: str, place: int, number: int, plan: Rng, level: int) -> list[int]:
    """Return how many objects each image shows, so that one stands out or the total is known."""
    if kind == "total":
        return [plan.integer(0 if i else 3, 3 + level // 2) + (i == 0) for i in range(number)]
    top = plan.integer(3, 4 + level)
    if kind == "most":
        return [top if i == place else plan.integer(0, top - 1) for i in range(number)]
    low = plan.integer(0, 2)
    return [low if i == place else plan.integer(low + 1, low + 2 + level) for i in range(number)]


def _options(kind: str, name: str, place: int, cast: list[list[str]], plan: Rng, rng: Rng) -> list[Option]:
    """Return five options; the right one is at ``place`` where the order is free."""
    if kind in OF_IMAGES:
        return list(range(5))
    if kind == "total":
        total = sum(row.count(name) for row in cast)
        return [total - place + k for k in range(5)]
    if kind == "common":
        wrong = [
            n for n in sorted({n for row in cast for n in row} - {name}) if sum(n in row for row in cast) < len(cast)
        ]
    else:
        wrong = sorted(set(cast[0]) & set(cast[1]))
    # sorted above, so that the draw does not depend on the order of a set
    picked: list[Option] = list(rng.sample(wrong, 4))
    return [*picked[:place], name, *picked[place:]]


def _layout(names: list[str], rng: Rng, level: int) -> Layout | None:
    side = min(92.0, side_for(SIZE_WH, len(names), level))
    things = [
        make_thing(
            n,
            round(side * rng.uniform(0.75, 1.1)),
            rng,
            level,
            looks=("upside_down",) if level > 1 and sprites()[n].upright and rng.chance(0.05) else (),
        )
        for n in names
    ]
    return lay_out(rng.shuffle(things), size_wh=SIZE_WH, level=level, rng=rng, min_visible=None if level == 1 else 0.7)


def _pair(cast: list[list[str]], rng: Rng, level: int) -> list[Layout | None]:
    """Lay out two images that differ in one object; on level 1 the rest keeps its place, above that only its look."""
    full, part = sorted(cast, key=len, reverse=True)
    (gone,) = set(full) - set(part)
    base = _layout(full, rng, level)
    if base is None:
        return [None, None]
    rest = [o for o in base.objects if o.category != gone]
    things = [
        Thing(
            category=o.category,
            size_px=o.size_px,
            rotation_deg=o.rotation_deg,
            flipped=o.flipped,
            upside_down=o.upside_down,
            region_xyxy=(*o.centre_xy, *o.centre_xy) if level == 1 else None,
        )
        for o in rest
    ]
    other = lay_out(things, size_wh=SIZE_WH, level=level, rng=rng, min_visible=None if level == 1 else 0.7)
    return [base, other] if cast[0] is full else [other, base]


def _draft(question: str, layouts: tuple[Layout, ...], query: Query, options: list[Option], best: int) -> Draft:
    shown = [ORDINALS[o] if query.kind in OF_IMAGES and isinstance(o, int) else str(o) for o in options]
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, shown, strict=True))
    target = Target(kind=AnswerKind.CHOICE, size_hw=SIZE_WH[::-1], choice=LETTERS[best])
    return Draft(
        instruction=f"{question}\n{lines}",
        layouts=layouts,
        target=target,
        query=query,
        meta={"options": options, "question": question, "num_images": len(layouts)},
    )


def _reordered(draft: Draft, images: tuple[Image, ...], rng: Rng) -> tuple[Draft, tuple[Image, ...]]:
    """Return the same question with its images in another order, or its options where the order of images matters."""
    options: list[Option] = list(draft.meta["options"])
    best = LETTERS.index(draft.target.choice or "")
    if draft.query.kind in OF_IMAGES:
        order = _changed_order(rng, len(images))
        new = _draft(
            draft.meta["question"], tuple(draft.layouts[i] for i in order), draft.query, options, order.index(best)
        )
        images = tuple(images[i] for i in order)
    else:
        if draft.query.kind in ("common", "total"):
            order = _changed_order(rng, len(images))
            images = tuple(images[i] for i in order)
            draft = replace(draft, layouts=tuple(draft.layouts[i] for i in order))
        mixed = options if draft.query.kind == "total" else [options[i] for i in _changed_order(rng, len(options))]
        new = _draft(draft.meta["question"], draft.layouts, draft.query, mixed, mixed.index(options[best]))
    return replace(new, meta={**new.meta, "reordered": True}), images


def _changed_order(rng: Rng, number: int) -> list[int]:
    """Return an order that is not the given one."""
    order = list(range(number))
    while number > 1 and order == list(range(number)):
        order = rng.shuffle(range(number))
    return order
