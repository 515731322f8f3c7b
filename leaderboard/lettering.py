"""Writing on pictures: any text, wrapped, in fonts that have its letters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby

from PIL import ImageDraw, ImageFont

__all__ = ["Lettering"]

FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf", "segoeui.ttf",
    "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "PingFang.ttc", "msyh.ttc",
)  # fmt: skip
"""Looked for where the system keeps fonts, the widest Latin, Greek and Cyrillic first. Pillow's own knows ASCII and little more."""
NOBODYS = "\U0010ffff"
"""A code point that no font has: what is drawn for it is drawn for every letter that is not there."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]


class Lettering:
    r"""Writes in one size. A letter that no font has is written as its code, such as ``\u4e2d``."""

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        self.line_px = round(size_px * 1.3)
        """From one line to the next."""
        self._fonts = _fonts(size_px)

    def width(self, text: str) -> int:
        """Return how wide a text is when it is written, in pixels."""
        return round(sum(font.getlength(part) for font, part in self._runs(text)))

    def write(self, draw: ImageDraw.ImageDraw, xy: tuple[int, int], text: str, colour: Colour) -> int:
        """Write one line with its upper left corner at ``xy``, and return where it ends.

        Args:
            draw: Of the picture.
            xy: In pixels.
            text: Without line ends.
            colour: RGB.
        """
        x = float(xy[0])
        base = xy[1] + self.size_px
        for font, part in self._runs(text):
            if isinstance(font, ImageFont.FreeTypeFont):
                draw.text((x, base), part, fill=colour, font=font, anchor="ls")
            else:
                draw.text((x, xy[1]), part, fill=colour, font=font)
            x += font.getlength(part)
        return round(x)

    def wrap(self, text: str, width_px: int, *, max_lines: int) -> list[str]:
        """Break a text into lines of a width, at blanks where it has some; what does not fit ends in an ellipsis.

        Args:
            text: With line ends where lines must end.
            width_px: Of a line.
            max_lines: Of the whole text.
        """
        lines: list[str] = []
        for paragraph in text.splitlines():
            lines += self._broken(paragraph, width_px, max_lines + 1 - len(lines))
            if len(lines) > max_lines:
                return [*lines[: max_lines - 1], f"{lines[max_lines - 1]} …"]
        return lines

    def _broken(self, text: str, width_px: int, max_lines: int) -> list[str]:
        lines, line = [], ""
        for word in _pieces(text, max(1, width_px // max(1, self.size_px // 4))):
            longer = f"{line} {word}" if line else word
            if line and self.width(longer) > width_px:
                lines.append(line)
                line = word
                if len(lines) >= max_lines:
                    return lines
            else:
                line = longer
        return [*lines, line]

    def _runs(self, text: str) -> Iterator[tuple[Font, str]]:
        """Split a text into parts, each with the first font that has its letters."""
        placed = [(_font_of(letter, self.size_px), letter) for letter in text]
        for index, group in groupby(placed, key=lambda pair: pair[0]):
            part = "".join(letter for _, letter in group)
            if index is None:
                part = part.encode("unicode_escape").decode("ascii")
            yield self._fonts[index or 0], part


def _pieces(text: str, most: int) -> Iterator[str]:
    """Yield words; one without a blank for too long is cut."""
    for word in text.split():
        yield from (word[at : at + most] for at in range(0, len(word), most))


@lru_cache(maxsize=8)
def _fonts(size_px: int) -> tuple[Font, ...]:
    found: list[Font] = []
    for name in FONTS:
        try:
            found.append(ImageFont.truetype(name, size_px))
        except OSError:  # not on this machine
            continue
    return (*found, ImageFont.load_default(size_px))


@lru_cache(maxsize=8192)
def _font_of(letter: str, size_px: int) -> int | None:
    """Return which font has a letter; ``None`` if none has, or it cannot be shown."""
    if letter == " ":
        return 0
    if not letter.isprintable():
        return None
    return next((k for k, font in enumerate(_fonts(size_px)) if _has(font, letter)), None)


def _has(font: Font, letter: str) -> bool:
    if not isinstance(font, ImageFont.FreeTypeFont):
        return letter.isascii()
    drawn, nothing = font.getmask(letter), font.getmask(NOBODYS)
    return drawn.size != nothing.size or bytes(drawn) != bytes(nothing)
