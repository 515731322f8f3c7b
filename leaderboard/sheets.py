"""Contact sheets: samples with their truth drawn in, side by side, for people who look at data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from visenv.answers import AnswerKind
from visenv.task import Sample

from .lettering import Lettering
from .truth import Colour, colours_of, draw_truth, say_truth

__all__ = ["Unmade", "columns_for", "draw_sheet"]

MARGIN_PX = 12
GAP_PX = 4
"""Between the pictures of one sample."""
PLAIN = Lettering(14)
SMALL = Lettering(11)
HEADING = Lettering(18)
BLACK: Colour = (20, 20, 20)
GREY: Colour = (110, 110, 110)
TRUTH: Colour = (0, 110, 60)
WRONG: Colour = (190, 0, 0)
MOST_ENLARGED = 4.0
"""How far a small picture is enlarged."""
MAX_LINES = 14


@dataclass(frozen=True, slots=True)
class Unmade:
    """A sample that cannot be shown."""

    id: str
    why: str


def columns_for(samples: Sequence[Sample | Unmade]) -> int:
    """Return how many samples go side by side: fewer of those with many objects or several pictures."""
    made = [s for s in samples if isinstance(s, Sample)]
    wide = any(len(s.images) > 1 or s.target.num_objects > 30 for s in made)
    return min(len(samples), 2 if wide or len(samples) == 4 else 3)


def draw_sheet(samples: Sequence[Sample | Unmade], *, title: str = "", columns: int, tile_px: int) -> PilImage.Image:
    """Draw samples in rows, each with its truth drawn in and its instruction and truth in words below.

    Args:
        samples: What to show.
        title: The line above; none if empty.
        columns: Samples side by side.
        tile_px: Width of each.
    """
    colours = colours_of(sample.target for sample in samples if isinstance(sample, Sample))
    tiles = [_tile(sample, tile_px, colours) for sample in samples]
    rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    top = MARGIN_PX + (HEADING.line_px + MARGIN_PX if title else 0)
    size_wh = (MARGIN_PX + columns * (tile_px + MARGIN_PX), top + sum(heights) + MARGIN_PX * len(rows))
    sheet = PilImage.new("RGB", size_wh, "white")
    if title:
        shown = HEADING.wrap(title, size_wh[0] - 2 * MARGIN_PX, max_lines=1)[0]
        HEADING.write(ImageDraw.Draw(sheet), (MARGIN_PX, MARGIN_PX), shown, BLACK)
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (MARGIN_PX + column * (tile_px + MARGIN_PX), top))
        top += height + MARGIN_PX
    return sheet


def _tile(sample: Sample | Unmade, width: int, colours: Mapping[str, Colour]) -> PilImage.Image:
    if isinstance(sample, Unmade):
        picture = PilImage.new("RGB", (width, width // 3), (225, 225, 225))
        return _captioned(picture, sample.id, [("This sample cannot be made.", WRONG)], sample.why, width)
    sizes = _sizes([image.size_wh for image in sample.images], width)
    shown = [
        PilImage.fromarray(image.pixels).resize(size_wh, PilImage.Resampling.LANCZOS, reducing_gap=3.0)
        for image, size_wh in zip(sample.images, chain.from_iterable(sizes), strict=True)
    ]
    if sample.target.kind is not AnswerKind.CHOICE:  # the truth is in pixels of the first picture
        canvas = np.array(shown[0])
        draw_truth(canvas, sample.target, colours)
        shown[0] = PilImage.fromarray(canvas)
    truth = [(text, colour or TRUTH) for text, colour in say_truth(sample.target, colours)]
    return _captioned(_strip(shown, sizes, width), sample.id, truth, sample.instruction, width)


def _captioned(
    picture: PilImage.Image, name: str, truth: Sequence[tuple[str, Colour]], text: str, width: int
) -> PilImage.Image:
    """Return a tile: a picture, below it its name, a text and the truth."""
    lines = PLAIN.wrap(text, width, max_lines=MAX_LINES)
    flow = _flowed(truth, width)
    height = picture.height + GAP_PX + SMALL.line_px + (len(lines) + len(flow)) * PLAIN.line_px
    tile = PilImage.new("RGB", (width, height + GAP_PX), "white")
    tile.paste(picture, (0, 0))
    draw = ImageDraw.Draw(tile)
    y = picture.height + GAP_PX
    SMALL.write(draw, (0, y), SMALL.wrap(name, width, max_lines=1)[0], GREY)
    y += SMALL.line_px
    for line in lines:
        PLAIN.write(draw, (0, y), line, BLACK)
        y += PLAIN.line_px
    for parts in flow:
        x = 0
        for part, colour in parts:
            x = PLAIN.write(draw, (x, y), part, colour) + PLAIN.size_px
        y += PLAIN.line_px
    return tile


def _flowed(parts: Sequence[tuple[str, Colour]], width: int) -> list[list[tuple[str, Colour]]]:
    """Put coloured parts into lines of a width."""
    lines: list[list[tuple[str, Colour]]] = []
    x = width
    for text, colour in parts:
        for piece in PLAIN.wrap(text, width, max_lines=MAX_LINES):
            needed = PLAIN.width(piece) + PLAIN.size_px
            if x + needed > width + PLAIN.size_px or not lines:
                lines.append([])
                x = 0
            lines[-1].append((piece, colour))
            x += needed
    return lines


def _sizes(sizes_wh: Sequence[tuple[int, int]], width: int) -> list[list[tuple[int, int]]]:
    """Return the sizes in which the pictures of one sample are shown, in rows, all of one height, in their own proportions."""
    number = len(sizes_wh)
    across = number if number <= 4 else math.ceil(number / 2 if number <= 8 else math.sqrt(2 * number))
    rows = [sizes_wh[at : at + across] for at in range(0, number, across)]
    highest = width * (1.1 if number == 1 else 0.5)
    room = [(width - GAP_PX * (len(row) - 1)) / sum(wide / high for wide, high in row) for row in rows]
    height = min(highest, *room, *(MOST_ENLARGED * high for _, high in sizes_wh))
    return [[(max(1, int(height * wide / high)), max(1, int(height))) for wide, high in row] for row in rows]


def _strip(
    pictures: Sequence[PilImage.Image], sizes: Sequence[Sequence[tuple[int, int]]], width: int
) -> PilImage.Image:
    """Return pictures in rows; of several, each has the name that the agent sees."""
    left = iter(enumerate(pictures))
    high = sizes[0][0][1]
    strip = PilImage.new("RGB", (width, (high + GAP_PX) * len(sizes) - GAP_PX), "white")
    for line, row in enumerate(sizes):
        x = 0
        for _ in row:
            place, picture = next(left)
            strip.paste(
                picture if len(pictures) == 1 else _tagged(picture, f"img_{place}"), (x, line * (high + GAP_PX))
            )
            x += picture.width + GAP_PX
    return strip


def _tagged(picture: PilImage.Image, name: str) -> PilImage.Image:
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, SMALL.width(name) + 5, SMALL.line_px + 1), fill=BLACK)
    SMALL.write(draw, (3, 1), name, (255, 255, 255))
    return picture
