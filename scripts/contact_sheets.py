"""Draw sheets of EmojiWorld samples with their instructions and outlined targets, for the docs and for the eye.

    python scripts/contact_sheets.py --out docs/images/sheets

One JPEG per family and level. `visenv data sample TASK` draws a sheet of any task.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from visenv.leaderboard.sheets import draw_sheet

from visenv import make_task

FAMILIES = ("EmojiReason", "EmojiRef", "EmojiDense", "EmojiCount", "EmojiMulti")
SHAPES = {"EmojiDense": (2, 1, 720), "EmojiMulti": (2, 3, 520), "EmojiCount": (3, 2, 420)}
"""Columns, rows and width of a sample in pixels; the other families have ``USUAL``."""
USUAL = (4, 3, 320)
LIMIT_BYTES = 240_000


def main() -> None:
    """Write all sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--first", type=int, default=0, help="index of the first sample")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for family in FAMILIES:
        task = make_task(family)
        columns, rows, tile_px = SHAPES.get(family, USUAL)
        for level in task.levels:
            samples = [task.sample(args.split, level, args.first + k) for k in range(columns * rows)]
            sheet = draw_sheet(samples, columns=columns, tile_px=tile_px)
            path = args.out / f"{family}-{level}.jpg"
            for quality in range(88, 30, -6):
                sheet.save(path, quality=quality, optimize=True)
                if path.stat().st_size < LIMIT_BYTES:
                    break
            print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
