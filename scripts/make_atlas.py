"""Draw the sprites and the letters of EmojiWorld into two small pictures.

    python scripts/make_atlas.py

Needs the Debian packages fonts-noto-color-emoji and fonts-dejavu-core. Writes ``atlas.png``, ``glyphs.png`` and the
licence texts to ``tasks/emojiworld/data``. Other font versions give other pixels, hence another version of the world.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DATA = Path(__file__).resolve().parents[1] / "tasks" / "emojiworld" / "data"
EMOJI_FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
LETTER_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"
LICENCES = {"fonts-noto-color-emoji": "OFL.txt", "fonts-dejavu-core": "DEJAVU-LICENSE.txt"}
CELL_PX, COLUMNS = 128, 16
GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
GLYPH_WH = (48, 64)


def sprite(font: ImageFont.FreeTypeFont, emoji: str) -> Image.Image:
    """Draw one emoji, trimmed, its longer side equal to a cell's."""
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((8, 8), emoji, font=font, embedded_color=True)
    art = canvas.crop(canvas.getchannel("A").point(lambda v: 255 if v > 8 else 0).getbbox())
    scale = CELL_PX / max(art.size)
    wh = tuple(max(1, round(side * scale)) for side in art.size)
    # 64 shades a channel look the same and halve the file
    premultiplied = art.convert("RGBa").resize(wh, Image.Resampling.LANCZOS).convert("RGBA")
    cell = Image.new("RGBA", (CELL_PX, CELL_PX))
    *colour, alpha = premultiplied.split()
    shades = [band.point(lambda v: (v + 2) * 63 // 257 * 255 // 63) for band in colour]
    premultiplied = Image.merge("RGBA", [*shades, alpha])
    cell.paste(premultiplied, ((CELL_PX - wh[0]) // 2, (CELL_PX - wh[1]) // 2))
    return cell


def main() -> None:
    """Write all files."""
    emoji_font = ImageFont.truetype(EMOJI_FONT, 109)
    rows = json.loads((DATA / "sprites.json").read_text(encoding="utf-8"))
    atlas = Image.new("RGBA", (COLUMNS * CELL_PX, -(-len(rows) // COLUMNS) * CELL_PX))
    for index, row in enumerate(rows):
        at = (index % COLUMNS * CELL_PX, index // COLUMNS * CELL_PX)
        atlas.paste(sprite(emoji_font, row["emoji"]), at)
    atlas.save(DATA / "atlas.png", optimize=True)

    letter_font = ImageFont.truetype(LETTER_FONT, 54)
    width, height = GLYPH_WH
    glyphs = Image.new("L", (len(GLYPHS) * width, height))
    draw = ImageDraw.Draw(glyphs)
    for index, letter in enumerate(GLYPHS):
        draw.text((index * width + width // 2, height // 2 + 20), letter, fill=255, font=letter_font, anchor="ms")
    glyphs.save(DATA / "glyphs.png", optimize=True)
    for package, name in LICENCES.items():
        shutil.copyfile(f"/usr/share/doc/{package}/copyright", DATA / name)
    print({p.name: p.stat().st_size for p in sorted(DATA.glob("*.png"))})


if __name__ == "__main__":
    main()
