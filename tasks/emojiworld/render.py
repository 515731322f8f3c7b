"""Pixels: sprites turned and scaled, backgrounds, noise, compositing.

Everything is integer arithmetic, so a scene has the same pixels on every machine and in every library version; Pillow
only unpacks the atlas and enlarges smooth backgrounds. Sampling and blending work on "lanes": the four bytes of a pixel
spread over the 16-bit fields of one ``uint64``, so that one multiplication serves all of them and none overflows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage

from visenv.images import Pixels
from visenv.masks import Bool2D

from .rng import Rng

__all__ = [
    "LOOKS",
    "WORDS",
    "Look",
    "Patch",
    "Sprite",
    "background",
    "finish",
    "paint",
    "sign_patch",
    "sprite_patch",
    "sprites",
]

Lanes = npt.NDArray[np.uint64]
LOW, HALF = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0080008000800080)
CELL_PX = 128
PAD_PX = 2
SOFTENINGS = 3
GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
GLYPH_WH = (48, 64)
WORDS = (
    "EXIT",
    "OPEN",
    "SALE",
    "TAXI",
    "CAFE",
    "HOTEL",
    "BANK",
    "MENU",
    "PUSH",
    "PULL",
    "LOBBY",
    "GATE 7",
    "ROOM 12",
    "PARK",
    "METRO",
    "NORTH",
    "WELCOME",
    "CLOSED",
)
"""What signs say; none is the name of a category."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sprite:
    """How the picture of one category may be used."""

    index: int
    """Cell in the atlas."""
    upright: bool
    """Has a clear top, so that anybody sees when it is upside down."""
    mirror: bool
    """May be flipped from left to right: shows no letters, digits or dial."""
    width_px: int
    """Width of the art in its cell; the longer side is ``CELL_PX``."""
    height_px: int
    colourful_pct: int
    """Share of its pixels with a clear colour, in percent."""
    firm: bool
    """Keeps its outline when drawn out of focus; thin things do not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How hard a level's pictures are on the eye."""

    backgrounds: tuple[str, ...]
    noise: tuple[int, ...]
    """Noise amplitudes to choose from, grey levels."""
    blur_chance: float
    """How often the whole scene is softened."""


LOOKS: Mapping[int, Look] = {
    1: Look(backgrounds=("gradient", "blobs"), noise=(0,), blur_chance=0.0),
    2: Look(
        backgrounds=("gradient", "blobs", "stripes", "checks", "grain", "speckle"), noise=(2, 4, 6, 8), blur_chance=0.0
    ),
    3: Look(backgrounds=("blobs", "stripes", "checks", "grain", "speckle"), noise=(6, 8, 12, 16), blur_chance=0.35),
}
"""By level."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One drawn object."""

    lanes: Lanes
    """``(H, W)``, premultiplied."""
    clear: Lanes
    """255 minus the opacity, ``(H, W)``."""
    solid: Bool2D
    """The object's pixels: opacity of one half or more."""
    box: tuple[int, int, int, int]
    """Tight box of ``solid`` inside the patch, half-open."""
    area_px: int


def _data(name: str) -> bytes:
    return (files(__package__) / "data" / name).read_bytes()


@cache
def _atlas() -> npt.NDArray[np.uint8]:
    with (files(__package__) / "data" / "atlas.png").open("rb") as file, PilImage.open(file) as image:
        return np.asarray(image.convert("RGBA"))


def _premultiplied(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    out = rgba.astype(np.uint16)
    product = out[..., :3] * out[..., 3:] + 128
    out[..., :3] = (product + (product >> 8)) >> 8
    return out.astype(np.uint8)


def _cell(index: int) -> npt.NDArray[np.uint8]:
    atlas = _atlas()
    columns = atlas.shape[1] // CELL_PX
    y, x = index // columns * CELL_PX, index % columns * CELL_PX
    return atlas[y : y + CELL_PX, x : x + CELL_PX]


@cache
def sprites() -> Mapping[str, Sprite]:
    """Return every category's sprite by category name."""
    red, green, blue, alpha = (np.ascontiguousarray(_atlas()[..., k]) for k in range(4))
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    solid = _cells(alpha >= 128)
    area = np.maximum(solid.sum((0, 1)), 1)  # the last cells of the atlas are empty
    colourful = 100 * (solid & _cells(chroma > 60)).sum((0, 1)) // area
    small = _cells(_half(_half(alpha)))
    soft = np.pad(small, ((8, 8), (8, 8), (0, 0)))
    for _ in range(SOFTENINGS):
        soft = _soften(soft)
    firm = (soft >= 128).sum((0, 1)) * 100 >= 85 * (small >= 128).sum((0, 1))
    across, down = np.any(solid, axis=0), np.any(solid, axis=1)
    return {
        row["name"]: Sprite(
            index=k,
            upright=row["upright"],
            mirror=row["mirror"],
            width_px=int(np.ptp(np.flatnonzero(across[:, k]))) + 1,
            height_px=int(np.ptp(np.flatnonzero(down[:, k]))) + 1,
            colourful_pct=int(colourful[k]),
            firm=bool(firm[k]),
        )
        for k, row in enumerate(json.loads(_data("sprites.json")))
    }


def _cells(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cut a plane of the whole atlas, at any power-of-two size, into cells ``(side, side, cell)``."""
    side = plane.shape[1] // (_atlas().shape[1] // CELL_PX)
    cells = plane.reshape(-1, side, plane.shape[1] // side, side).transpose(1, 3, 0, 2)
    return cells.reshape(side, side, -1)


def _half(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    wide = image.astype(np.uint16)
    return ((wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2] + 2) >> 2).astype(np.uint8)


def _soften(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Blur with the 5-tap binomial filter along both axes; borders must be empty."""
    out = image.astype(np.uint16)
    for axis in (0, 1):
        near = np.roll(out, 1, axis) + np.roll(out, -1, axis)
        far = np.roll(out, 2, axis) + np.roll(out, -2, axis)
        out = (6 * out + 4 * near + far + 8) >> 4
    return out.astype(np.uint8)


def _lanes(rgba: npt.NDArray[np.uint8]) -> Lanes:
    """Spread bytes ``(H, W, 4)`` over lanes ``(H, W)``."""
    return rgba.astype(np.uint16).view(np.uint64)[..., 0]


def _padded(premultiplied: npt.NDArray[np.uint8], pad_px: int) -> Lanes:
    return _lanes(np.pad(premultiplied, ((pad_px, pad_px), (pad_px, pad_px), (0, 0))))


@cache
def _mip(index: int, side_px: int, blurry: bool, grey: bool) -> Lanes:
    """Return a sprite at a power-of-two size, premultiplied, with an empty border."""
    image = _premultiplied(_cell(index))
    if grey:
        r, g, b = (image[..., k].astype(np.uint16) for k in range(3))
        image[..., :3] = ((77 * r + 150 * g + 29 * b + 128) >> 8)[..., None]
    while image.shape[0] > side_px:
        image = _half(image)
    if not blurry:
        return _padded(image, PAD_PX)
    soft = np.pad(image, ((8, 8), (8, 8), (0, 0)))
    for _ in range(SOFTENINGS):
        soft = _soften(soft)
    return _lanes(soft)


def _transformed(source: Lanes, art_wh: tuple[float, float], scale: float, rotation_deg: float, flipped: bool) -> Patch:
    """Draw ``source`` about its centre, ``scale`` times as large and turned clockwise.

    Bilinear with positions in sixteenths of a source pixel: the four weights are integers that add up to 256.
    """
    turn = math.radians(rotation_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    width = math.ceil(scale * (abs(cos) * art_wh[0] + abs(sin) * art_wh[1])) + 2
    height = math.ceil(scale * (abs(sin) * art_wh[0] + abs(cos) * art_wh[1])) + 2
    a, b, d, e = (round(v / scale * 65536) for v in (cos, sin, -sin, cos))
    if flipped:
        a, b = -a, -b
    rows, columns = source.shape
    x = 2 * np.arange(width, dtype=np.int32) + (1 - width)  # twice the offset from the centre
    y = 2 * np.arange(height, dtype=np.int32) + (1 - height)
    u = (((a * x)[None] + (b * y + (columns - 1) * 65536)[:, None]) >> 13).astype(np.int16)  # in sixteenths
    v = (((d * x)[None] + (e * y + (rows - 1) * 65536)[:, None]) >> 13).astype(np.int16)
    for position, limit in ((u, 16 * (columns - 1) - 1), (v, 16 * (rows - 1) - 1)):
        np.maximum(position, 0, out=position)
        np.minimum(position, limit, out=position)
    at = ((v >> 4) * np.int16(columns) + (u >> 4)).astype(np.intp)  # sources have fewer than 2**15 pixels
    u &= 15
    v &= 15
    both = u * v
    lanes = source.take(at, mode="clip") * (256 - 16 * (u + v) + both).astype(np.uint64)
    for step, weight in ((1, 16 * u - both), (columns - 1, 16 * v - both), (1, both)):
        at += step
        lanes += source.take(at, mode="clip") * weight.astype(np.uint64)
    lanes += HALF
    lanes >>= np.uint64(8)
    lanes &= LOW
    alpha = lanes[..., None].view(np.uint16)[..., 3]
    solid = alpha >= 128
    ys, xs = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    box = (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1) if len(ys) else (0, 0, 0, 0)
    return Patch(lanes, 255 - alpha.astype(np.uint64), solid, box, int(np.count_nonzero(solid)))


def sprite_patch(
    name: str, size_px: int, rotation_deg: float, *, flipped: bool = False, blurry: bool = False, grey: bool = False
) -> Patch:
    """Draw a category's sprite.

    Args:
        name: The category.
        size_px: The longer side of the art before it is turned, 12 to 256.
        rotation_deg: Clockwise.
        flipped: Mirrored from left to right.
        blurry: Clearly out of focus, in proportion to its size.
        grey: Without colour.
    """
    sprite = sprites()[name]
    side = 32 if blurry else next(s for s in (16, 32, 64, 128) if s >= size_px or s == CELL_PX)
    source = _mip(sprite.index, side, blurry, grey)
    spread = (8 if blurry else 1) * side // 32
    art = tuple(v * side / CELL_PX + spread for v in (sprite.width_px, sprite.height_px))
    return _transformed(source, (art[0], art[1]), size_px / side, rotation_deg, flipped)


@cache
def _glyph(letter: str) -> npt.NDArray[np.uint8]:
    """Return the opacity of one letter, trimmed at its sides to a margin of 3 px; a space is a narrow gap."""
    width, height = GLYPH_WH
    if letter == " ":
        return np.zeros((height, 20), np.uint8)
    with (files(__package__) / "data" / "glyphs.png").open("rb") as file, PilImage.open(file) as image:
        row = np.asarray(image.convert("L"))
    cell = row[:, GLYPHS.index(letter) * width :][:, :width]
    inked = np.flatnonzero(cell.any(0))
    return cell[:, max(0, int(inked[0]) - 3) : int(inked[-1]) + 4]


@lru_cache(maxsize=256)
def _sign(text: str, ink: tuple[int, int, int], plate: tuple[int, int, int]) -> Lanes:
    letters = np.hstack([_glyph(c) for c in text]).astype(np.uint16)
    opacity = np.pad(letters, ((10, 10), (16, 16)))[..., None]
    mixed = (np.array(ink, np.uint16) * opacity + np.array(plate, np.uint16) * (255 - opacity) + 127) // 255
    rim = np.ones(mixed.shape[:2], bool)
    rim[5:-5, 5:-5] = False
    mixed[rim] = ink
    rgba = np.dstack([mixed, np.full(mixed.shape[:2], 255)]).astype(np.uint8)
    if rgba.shape[0] % 2 or rgba.shape[1] % 2:
        rgba = np.pad(rgba, ((0, rgba.shape[0] % 2), (0, rgba.shape[1] % 2), (0, 0)))
    return _padded(_half(rgba), PAD_PX)


def sign_patch(text: str, height_px: int, ink: tuple[int, int, int], plate: tuple[int, int, int]) -> Patch:
    """Draw a rectangular plate that says ``text``, 21 to 42 px high."""
    source = _sign(text, ink, plate)
    art = (source.shape[1] - 2 * PAD_PX, source.shape[0] - 2 * PAD_PX)
    return _transformed(source, art, height_px / art[1], 0, False)


def paint(canvas_hw4: npt.NDArray[np.uint8], patch: Patch, origin_xy: tuple[int, int]) -> None:
    """Draw ``patch`` over the canvas, ``uint8 (H, W, 4)``, in place; it must lie inside."""
    x, y = origin_xy
    height, width = patch.solid.shape
    below = canvas_hw4[y : y + height, x : x + width]
    lanes = _lanes(below)
    lanes *= patch.clear
    lanes += HALF
    lanes += (lanes >> np.uint64(8)) & LOW  # exact division by 255 with the next line
    lanes >>= np.uint64(8)
    lanes &= LOW
    lanes += patch.lanes
    below[:] = lanes[..., None].view(np.uint16)


@cache
def _bytes(count: int, seed: int) -> npt.NDArray[np.uint8]:
    raw = np.random.PCG64(seed).random_raw(count // 8)
    return raw.astype("<u8").view(np.uint8)


TILE_PX = 1024


@cache
def _noise(amplitude: int) -> npt.NDArray[np.int8]:
    """A tile of colour noise ``(H, W, 4)``: sums of four bytes, standard deviation ``amplitude``."""
    raw = _bytes(TILE_PX * TILE_PX * 4, 7).reshape(4, TILE_PX, TILE_PX).astype(np.int32).sum(0) - 510  # sigma 148
    tile = ((raw * amplitude + 74) // 148).astype(np.int8)
    return np.stack([tile, np.roll(tile, 311, 1), np.roll(tile, 577, 0), np.zeros_like(tile)], axis=2)


@cache
def _texture(kind: str) -> npt.NDArray[np.int16]:
    """A tile of background texture, about -64 to 64: streaks of wood grain, or specks of grass and gravel."""
    raw = _bytes(TILE_PX * TILE_PX, 11).reshape(TILE_PX, TILE_PX)
    shapes = {"grain": ((16, 256), (8, 512)), "speckle": ((128, 128), (512, 512))}[kind]
    total = np.zeros((TILE_PX, TILE_PX), np.int16)
    for k, (width, height) in enumerate(shapes):
        part = PilImage.fromarray(np.ascontiguousarray(raw[k * 37 :][:height, :width]))
        total += np.asarray(part.resize((TILE_PX, TILE_PX), PilImage.Resampling.BICUBIC)).astype(np.int16) - 128
    return total // 2


def _colour(rng: Rng, low: int, high: int) -> tuple[int, int, int]:
    return rng.integer(low, high), rng.integer(low, high), rng.integer(low, high)


def _smooth(rng: Rng, size_wh: tuple[int, int], cells_wh: tuple[int, int], spread: int) -> npt.NDArray[np.uint8]:
    """Colours at the nodes of a coarse grid, interpolated at a fraction of the resolution; ``size_wh`` divides by 4."""
    base = _colour(rng, 70, 215)
    grid = np.array(
        [
            [[*(min(255, max(0, v + rng.integer(-spread, spread))) for v in base), 0] for _ in range(cells_wh[0])]
            for _ in range(cells_wh[1])
        ],
        np.uint8,
    )
    how, step = (PilImage.Resampling.BILINEAR, 4) if max(cells_wh) == 2 else (PilImage.Resampling.BICUBIC, 2)
    width, height = size_wh[0] // step, size_wh[1] // step
    small = PilImage.frombytes("RGBX", cells_wh, grid.tobytes()).resize((width, height), how)
    wide = np.frombuffer(small.tobytes(), np.uint32).reshape(height, width).repeat(step, axis=1)
    out = np.empty((height, step, size_wh[0]), np.uint32)
    for row in range(step):
        out[:, row] = wide
    return out.view(np.uint8).reshape(size_wh[1], size_wh[0], 4)


def _tile(tile: npt.NDArray[Any], rng: Rng, size_wh: tuple[int, int]) -> npt.NDArray[Any]:
    """Cut a random piece out of a tile, continued by its mirror images when it is too small."""
    width, height = size_wh
    x, y = (rng.integer(0, max(0, TILE_PX - side)) for side in (width, height))
    right, down = max(0, width - TILE_PX), max(0, height - TILE_PX)
    if right or down:
        tile = np.pad(tile, ((0, down), (0, right), *[(0, 0)] * (tile.ndim - 2)), mode="symmetric")
    return tile[y : y + height, x : x + width]


def _shaded(base_hw4: npt.NDArray[np.uint8], shade_hw: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Make the picture lighter by ``shade_hw``, at most 64 levels either way."""
    out = base_hw4.astype(np.int16)
    out += shade_hw[..., None]
    np.maximum(out, 0, out=out)
    return np.minimum(out, 255, out=out).astype(np.uint8)


def background(kind: str, size_wh: tuple[int, int], rng: Rng, level: int) -> npt.NDArray[np.uint8]:
    """Paint a background of moderate contrast: gradient, blobs, stripes, checks, grain or speckle.

    Returns:
        ``uint8 (H, W, 4)``, the last byte without meaning.
    """
    width, height = size_wh
    if kind == "gradient":
        return _smooth(rng, size_wh, (2, 2), 45)
    if kind == "blobs":
        return _smooth(rng, size_wh, (rng.integer(4, 6), rng.integer(4, 6)), 40)
    base = _smooth(rng, size_wh, (2, 2), 18)
    if kind in ("grain", "speckle"):
        strength = rng.integer(5, 7) + level
        texture = _tile(_texture(kind), rng, size_wh)
        return _shaded(base, ((texture.T if width == height and rng.chance(0.5) else texture) * strength) >> 4)
    period, depth = rng.integer(24, 90), rng.integer(5, 9) + 4 * level
    x, y = np.arange(width) + rng.integer(0, 90), np.arange(height) + rng.integer(0, 90)
    if kind == "checks":
        phase = (x // period)[None] + (y // period)[:, None]
    else:
        slope_x, slope_y = rng.choice(((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2)))
        phase = (slope_x * x[None] + slope_y * (y[:, None] + 90 * height)) // period
    return _shaded(base, np.where(phase & 1, depth, -depth).astype(np.int16))


def finish(canvas_hw4: npt.NDArray[np.uint8], rng: Rng, level: int) -> Pixels:
    """Soften the whole scene and add noise, as the level has it; drop the fourth byte."""
    look = LOOKS[level]
    if rng.chance(look.blur_chance):
        wide = np.pad(canvas_hw4, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.uint16)
        wide = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
        canvas_hw4 = ((wide[:-2] + 2 * wide[1:-1] + wide[2:] + 8) >> 4).astype(np.uint8)
    amplitude = rng.choice(look.noise)
    height, width = canvas_hw4.shape[:2]
    if amplitude:
        noisy = canvas_hw4.astype(np.int16)
        noisy += _tile(_noise(amplitude), rng, (width, height))
        np.maximum(noisy, 0, out=noisy)
        np.minimum(noisy, 255, out=noisy)
        canvas_hw4 = noisy.astype(np.uint8)
    out: Pixels = np.asarray(cv2.cvtColor(canvas_hw4, cv2.COLOR_RGBA2RGB), np.uint8)  # copies bytes, no arithmetic
    return out
