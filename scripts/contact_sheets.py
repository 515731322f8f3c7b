"""Draw sheets of EmojiWorld samples with their instructions and outlined targets, for the docs and for the eye.

    python scripts/contact_sheets.py --out docs/images/sheets

One JPEG per family and level.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from visenv.tasks.emojiworld.count import EmojiCount
from visenv.tasks.emojiworld.dense import EmojiDense
from visenv.tasks.emojiworld.multi import EmojiMulti
from visenv.tasks.emojiworld.reason import EmojiReason
from visenv.tasks.emojiworld.ref import EmojiRef

from visenv.task import Sample, Task

TEXT_PX, LINE_PX, MARGIN_PX = 15, 19, 8
OUTLINE = (255, 0, 200)


def outlined(sample: Sample) -> Image.Image:
    """Return the sample's first picture with its targets outlined."""
    pixels = np.array(sample.images[0].pixels)
    for mask in sample.target.masks:
        dense = np.pad(mask.to_dense(), 2)
        grown = np.zeros_like(dense)
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                grown |= np.roll(dense, (dy, dx), (0, 1))
        pixels[(grown & ~dense)[2:-2, 2:-2]] = OUTLINE
    image = Image.fromarray(pixels)
    if not sample.target.masks:
        draw = ImageDraw.Draw(image)
        for x1, y1, x2, y2 in sample.target.boxes_xyxy:
            draw.rectangle((x1 - 1, y1 - 1, x2, y2), outline=OUTLINE, width=max(2, image.width // 512))
    return image


def tile(sample: Sample, width: int, lines: int) -> Image.Image:
    """Return one sample's pictures above its instruction and truth."""
    count = len(sample.images)
    if count == 1:
        pictures = [outlined(sample).resize((width, width), Image.Resampling.LANCZOS)]
    else:
        side = (width - 4 * MARGIN_PX) // 5
        pictures = [Image.fromarray(i.pixels).resize((side, side), Image.Resampling.LANCZOS) for i in sample.images]
    out = Image.new("RGB", (width, pictures[0].height + lines * LINE_PX + MARGIN_PX), "white")
    for k, picture in enumerate(pictures):
        out.paste(picture, (k * (picture.width + MARGIN_PX), 0))
    target = sample.target
    truth = target.choice or ("none" if not target.boxes_xyxy else str(len(target.boxes_xyxy)))
    text = f"{sample.instruction}  [{truth}]".replace("\n", "  ")
    wrapped = textwrap.wrap(text, int(width / (TEXT_PX * 0.48)))[:lines]
    font = ImageFont.load_default(TEXT_PX)
    for k, line in enumerate(wrapped):
        ImageDraw.Draw(out).text((2, pictures[0].height + 3 + k * LINE_PX), line, fill="black", font=font)
    return out


def sheet(task: Task, level: int, *, split: str, first: int) -> Image.Image:
    """Return one sheet of samples."""
    columns, rows, width, lines = {
        "EmojiDense": (2, 1, 720, 2),
        "EmojiMulti": (1, 6, 1000, 2),
        "EmojiCount": (3, 2, 420, 3),
    }.get(task.name, (4, 3, 320, 3))
    tiles = [tile(task.sample(split, level, first + k), width, lines) for k in range(columns * rows)]
    step = (width + MARGIN_PX, tiles[0].height + MARGIN_PX)
    out = Image.new("RGB", (columns * step[0] + MARGIN_PX, rows * step[1] + MARGIN_PX), "white")
    for k, picture in enumerate(tiles):
        out.paste(picture, (MARGIN_PX + k % columns * step[0], MARGIN_PX + k // columns * step[1]))
    return out


def main() -> None:
    """Write all sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--first", type=int, default=0, help="index of the first sample")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for task in (EmojiReason(), EmojiRef(), EmojiDense(), EmojiCount(), EmojiMulti()):
        for level in task.levels:
            path = args.out / f"{task.name}-{level}.jpg"
            picture = sheet(task, level, split=args.split, first=args.first)
            for quality in range(88, 30, -6):
                picture.save(path, quality=quality, optimize=True)
                if path.stat().st_size < 240_000:
                    break
            print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
