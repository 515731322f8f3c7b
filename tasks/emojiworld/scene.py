"""Scenes: things laid out on a canvas without hiding each other too much, then drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from visenv.answers import Box
from visenv.images import Pixels
from visenv.masks import Bool2D, Mask

from .render import LOOKS, Patch, background, finish, paint, sign_patch, sprite_patch, sprites
from .rng import Rng

__all__ = ["LEVELS", "Layout", "Level", "Scene", "SceneObject", "Thing", "lay_out", "make_thing"]

IntBox = tuple[int, int, int, int]
MIN_SIDE_PX = 12
"""The shorter visible side of any object is at least this long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """How objects lie in the scenes of one difficulty."""

    max_turn_deg: int
    min_visible: float
    """Share of every object that stays uncovered; 1: boxes keep apart."""


LEVELS: Mapping[int, Level] = {
    1: Level(max_turn_deg=15, min_visible=1.0),
    2: Level(max_turn_deg=35, min_visible=0.7),
    3: Level(max_turn_deg=60, min_visible=0.4),
}
"""By level."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One object to place."""

    category: str
    """A category's name, or ``"sign"``."""
    size_px: int
    """The longer side of the art before it is turned; the height of a sign."""
    rotation_deg: int = 0
    """Clockwise; about 180 when upside down."""
    flipped: bool = False
    blurry: bool = False
    grey: bool = False
    upside_down: bool = False
    text: str | None = None
    """What a sign says."""
    region_xyxy: Box | None = None
    """Where its centre must lie, in pixels; anywhere by default."""
    required: bool = True
    """Without room for it there is no scene; otherwise it is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneObject:
    """One object of a scene. Boxes are half-open pixels of the scene."""

    category: str
    """A category's name, or ``"sign"``."""
    text: str | None
    visible_crop: Bool2D
    """What can be seen of it, cut to ``box_xyxy``."""
    box_xyxy: IntBox
    """Tight box of what can be seen."""
    full_box_xyxy: IntBox
    """Tight box with nothing in front."""
    full_area_px: int
    size_px: int
    rotation_deg: int
    flipped: bool
    blurry: bool
    grey: bool
    upside_down: bool

    @property
    def centre_xy(self) -> tuple[float, float]:
        """Centre of the full box."""
        x1, y1, x2, y2 = self.full_box_xyxy
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def target_box_xyxy(self) -> Box:
        """``box_xyxy`` in the form of a :class:`~visenv.answers.Target`."""
        x1, y1, x2, y2 = self.box_xyxy
        return float(x1), float(y1), float(x2), float(y2)

    @property
    def visible(self) -> float:
        """Share of the object that can be seen."""
        return int(np.count_nonzero(self.visible_crop)) / self.full_area_px

    def mask(self, size_hw: tuple[int, int]) -> Mask:
        """Return what can be seen of it as a mask of the scene."""
        return Mask.from_crop(self.visible_crop, self.box_xyxy[:2], size_hw)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A drawn scene."""

    pixels: Pixels
    objects: tuple[SceneObject, ...]
    """In painting order: later ones lie in front."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where everything lies, before any pixel is drawn."""

    size_wh: tuple[int, int]
    level: int
    objects: tuple[SceneObject, ...]
    patches: tuple[Patch, ...]
    origins_xy: tuple[tuple[int, int], ...]

    def render(self, rng: Rng) -> Scene:
        """Draw it; ``rng`` decides on the background and the noise."""
        kind = rng.choice(LOOKS[self.level].backgrounds)
        canvas = background(kind, self.size_wh, rng, self.level)
        for patch, origin in zip(self.patches, self.origins_xy, strict=True):
            paint(canvas, patch, origin)
        return Scene(pixels=finish(canvas, rng, self.level), objects=self.objects)


def make_thing(
    category: str,
    size_px: int,
    rng: Rng,
    level: int,
    *,
    looks: Collection[str] = (),
    required: bool = True,
    region_xyxy: Box | None = None,
) -> Thing:
    """Describe an object with the turn and the flip that the level allows.

    Args:
        category: Its name.
        size_px: The longer side of the art.
        rng: Source of the turn and the flip.
        level: Difficulty.
        looks: Any of ``upside_down``, ``blurry`` and ``grey``.
        required: See :class:`Thing`.
        region_xyxy: See :class:`Thing`.
    """
    upside_down = "upside_down" in looks
    turn = min(LEVELS[level].max_turn_deg, 25 if upside_down else 90)
    return Thing(
        category=category,
        size_px=size_px,
        rotation_deg=rng.integer(-turn, turn) + 180 * upside_down,
        flipped=rng.chance(0.5) and sprites()[category].mirror,
        blurry="blurry" in looks,
        grey="grey" in looks,
        upside_down=upside_down,
        region_xyxy=region_xyxy,
        required=required,
    )


def _patch(thing: Thing, rng: Rng) -> tuple[Thing, Patch]:
    """Draw a thing, a little larger if it would be too thin to see."""
    if thing.category == "sign":
        dark = rng.choice(((30, 60, 120), (20, 90, 50), (140, 25, 30), (40, 40, 45)))
        ink, plate = rng.choice((((245, 245, 240), dark), (dark, (245, 245, 240))))
        return thing, sign_patch(thing.text or "", thing.size_px, ink, plate)
    while True:
        patch = sprite_patch(
            thing.category,
            thing.size_px,
            thing.rotation_deg,
            flipped=thing.flipped,
            blurry=thing.blurry,
            grey=thing.grey,
        )
        shorter = min(patch.box[2] - patch.box[0], patch.box[3] - patch.box[1])
        if shorter >= MIN_SIDE_PX + 2 or thing.size_px > 200:
            return thing, patch
        thing = replace(thing, size_px=thing.size_px * (MIN_SIDE_PX + 2) // max(shorter, 4) + 1)


class _Packer:
    """Finds room for one patch after the other and knows who covers whom."""

    def __init__(self, size_wh: tuple[int, int], min_visible: float) -> None:
        self.width, self.height = size_wh
        self.min_visible = min_visible
        self.front: npt.NDArray[np.int16] = np.zeros((self.height, self.width), np.int16)
        self.areas = [0]
        self.seen = [0]
        self.boxes: npt.NDArray[np.int32] = np.zeros((512, 4), np.int32)

    def place(self, patch: Patch, region: Box | None, rng: Rng, tries: int) -> tuple[int, int] | None:
        """Return the corner of the patch, or ``None`` when there is no room."""
        height, width = patch.solid.shape
        left, top, right, bottom = 2, 2, self.width - width - 2, self.height - height - 2
        if region is not None:
            left, top = max(left, round(region[0] - width / 2)), max(top, round(region[1] - height / 2))
            right, bottom = min(right, round(region[2] - width / 2)), min(bottom, round(region[3] - height / 2))
        if right < left or bottom < top:
            return None
        for _ in range(tries):
            x, y = rng.integer(left, right), rng.integer(top, bottom)
            if self._fits(patch, x, y):
                return x, y
        return None

    def _fits(self, patch: Patch, x: int, y: int) -> bool:
        index = len(self.areas)
        x1, y1, x2, y2 = patch.box[0] + x, patch.box[1] + y, patch.box[2] + x, patch.box[3] + y
        boxes = self.boxes[1:index]
        gap = 5 if self.min_visible == 1 else 0
        near = (boxes[:, 0] < x2 + gap) & (boxes[:, 2] > x1 - gap) & (boxes[:, 1] < y2 + gap) & (boxes[:, 3] > y1 - gap)
        if near.any():
            if self.min_visible == 1:
                return False
            height, width = patch.solid.shape
            hidden = np.bincount(self.front[y : y + height, x : x + width][patch.solid], minlength=index)
            for k in np.flatnonzero(near) + 1:
                if hidden[k] and self.seen[k] - hidden[k] < self.min_visible * self.areas[k]:
                    return False
            for k in np.flatnonzero(near) + 1:
                self.seen[k] -= int(hidden[k])
        self.add(patch, x, y)
        return True

    def add(self, patch: Patch, x: int, y: int) -> None:
        index = len(self.areas)
        if index == len(self.boxes):
            self.boxes = np.concatenate([self.boxes, np.zeros_like(self.boxes)])
        self.boxes[index] = patch.box[0] + x, patch.box[1] + y, patch.box[2] + x, patch.box[3] + y
        height, width = patch.solid.shape
        self.front[y : y + height, x : x + width][patch.solid] = index
        self.areas.append(patch.area_px)
        self.seen.append(patch.area_px)


def lay_out(
    things: Sequence[Thing],
    *,
    size_wh: tuple[int, int],
    level: int,
    rng: Rng,
    min_visible: float | None = None,
    tries: int = 60,
) -> Layout | None:
    """Place things at random, in painting order, so that every one stays legible.

    Args:
        things: What to place, the rearmost first; signs go in front of all, so that they can be read.
        size_wh: Canvas in pixels.
        level: Difficulty; decides how much may be covered.
        rng: Source of positions.
        min_visible: Overrides the level's share of each object that must stay uncovered.
        tries: Positions tried for each thing.

    Returns:
        The layout, without the optional things that found no room; ``None`` when a required one did not.
    """
    packer = _Packer(size_wh, LEVELS[level].min_visible if min_visible is None else min_visible)
    placed: list[tuple[Thing, Patch, tuple[int, int]]] = []
    for wanted in sorted(things, key=lambda t: t.category == "sign"):
        thing, patch = _patch(wanted, rng)
        origin = packer.place(patch, thing.region_xyxy, rng, tries)
        if origin is not None:
            placed.append((thing, patch, origin))
        elif thing.required:
            return None
    objects = []
    for index, (thing, patch, (x, y)) in enumerate(placed, start=1):
        seen = _seen(packer.front, index, patch, x, y)
        if seen is None:
            return None  # a sliver: rare, so the whole scene is drawn anew
        box, crop = seen
        x1, y1, x2, y2 = patch.box
        objects.append(
            SceneObject(
                category=thing.category,
                text=thing.text,
                visible_crop=crop,
                box_xyxy=box,
                full_box_xyxy=(x1 + x, y1 + y, x2 + x, y2 + y),
                full_area_px=patch.area_px,
                size_px=thing.size_px,
                rotation_deg=thing.rotation_deg,
                flipped=thing.flipped,
                blurry=thing.blurry,
                grey=thing.grey,
                upside_down=thing.upside_down,
            )
        )
    return Layout(
        size_wh=size_wh,
        level=level,
        objects=tuple(objects),
        patches=tuple(p for _, p, _ in placed),
        origins_xy=tuple(o for _, _, o in placed),
    )


def _seen(front: npt.NDArray[np.int16], index: int, patch: Patch, x: int, y: int) -> tuple[IntBox, Bool2D] | None:
    """Return the tight box and the crop of what is visible, or ``None`` when it is too small."""
    x1, y1, x2, y2 = patch.box
    crop = front[y + y1 : y + y2, x + x1 : x + x2] == index
    ys, xs = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
    if not len(ys):
        return None
    top, bottom, left, right = int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1
    if min(bottom - top, right - left) < MIN_SIDE_PX:
        return None
    return (x + x1 + left, y + y1 + top, x + x1 + right, y + y1 + bottom), crop[top:bottom, left:right]
