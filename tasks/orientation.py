"""EXIF's orientation: a picture is shown upright, and what was annotated on it as it is stored is turned with it.

Which frame an annotation is in hangs on how its authors open pictures: Pillow and MATLAB leave the tag alone, OpenCV applies it.
Coordinates are continuous: pixel ``(0, 0)`` is the box from (0, 0) to (1, 1), so a picture ``w`` wide mirrors ``x`` to ``w - x``.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image as Pillow

from visenv.answers import Box
from visenv.errors import bad_value
from visenv.images import FORMATS

__all__ = ["Points", "check_upright", "orientation_of", "upright_boxes", "upright_points"]

Points = tuple[tuple[float, float], ...]

TAG = 0x0112
TURNS: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False), 2: (False, True, False), 3: (False, True, True), 4: (False, False, True),
    5: (True, False, False), 6: (True, True, False), 7: (True, True, True), 8: (True, False, True),
}  # fmt: skip
"""By tag, from stored to upright: whether x and y are swapped, and whether the new x and the new y are then mirrored."""


def orientation_of(picture: Path | bytes) -> int:
    """Return the tag of a picture that can be decoded, 1 to 8; 1 where there is none that means anything.

    Args:
        picture: Its file, or what is in it.

    Raises:
        BadValueError: It is no picture.
    """
    try:
        with Pillow.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture, formats=FORMATS) as file:
            if file.format == "TIFF":  # turned by Pillow itself as it decodes, so by everybody's code
                return 1
            tag = file.getexif().get(TAG, 1)
    except Exception as error:  # the boundary to decoders, which raise nearly anything on damaged bytes
        raise bad_value("picture", picture if isinstance(picture, bytes) else picture.name, expected="a readable picture") from error  # fmt: skip
    return tag if tag in TURNS else 1


def check_upright(picture: Path | bytes, name: str) -> None:
    """Refuse a picture that its tag turns; ``name`` is for the message.

    Raises:
        BadValueError: It is one.
    """
    tag = orientation_of(picture)
    if tag != 1:
        raise bad_value(
            "picture", f"{name}, EXIF orientation {tag}", expected="orientation 1, as its annotations were made for",
            remedy="Take the original, or remove the tag if the annotations fit the picture as it is stored.",
        )  # fmt: skip


def upright_points(points_xy: Iterable[tuple[float, float]], tag: int, size_wh: tuple[int, int]) -> Points:
    """Turn points with their picture.

    Args:
        points_xy: In pixels of the stored picture.
        tag: From :func:`orientation_of`.
        size_wh: Of the upright picture.
    """
    swapped, across, down = TURNS[tag]
    width, height = size_wh
    turned = ((y, x) if swapped else (x, y) for x, y in points_xy)
    return tuple((width - x if across else x, height - y if down else y) for x, y in turned)


def upright_boxes(boxes_xyxy: Iterable[Box], tag: int, size_wh: tuple[int, int]) -> tuple[Box, ...]:
    """Turn boxes with their picture; arguments as for :func:`upright_points`. What was reversed stays so."""
    _, across, down = TURNS[tag]
    out = []
    for x1, y1, x2, y2 in boxes_xyxy:
        (a, b), (c, d) = upright_points(((x1, y1), (x2, y2)), tag, size_wh)
        left, right = (c, a) if across else (a, c)
        top, bottom = (d, b) if down else (b, d)
        out.append((left, top, right, bottom))
    return tuple(out)
