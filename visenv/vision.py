"""How vision-language models take pictures in: the size they are brought to, and the visual tokens they then cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .errors import bad_value, unknown_name
from .specs import parse_spec

__all__ = ["ESTIMATE", "FAMILIES", "Vision", "make_vision", "smart_resize"]

SizeWH = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Vision:
    """One family's way with pictures."""

    spec: str
    """Its name with options; makes an equal one again."""
    resized_wh: Callable[[SizeWH], SizeWH]
    """From a picture's width and height to those in which the model sees it; pictures are sent so."""
    tokens: Callable[[SizeWH], int]
    """From a picture's width and height to its visual tokens, without the marks around them."""

    def __reduce__(self) -> tuple[Callable[[str], Vision], tuple[str]]:
        return make_vision, (self.spec,)


def smart_resize(size_wh: SizeWH, *, factor_px: int, min_pixels: int, max_pixels: int) -> SizeWH:
    """Return the size to which Qwen's processors bring a picture: multiples of ``factor_px``, the form nearly kept.

    Args:
        size_wh: Width and height in pixels.
        factor_px: Side of the square that becomes one visual token.
        min_pixels: Smaller pictures are enlarged to at least so many pixels.
        max_pixels: Larger ones are shrunk to at most so many.

    Example:
        >>> smart_resize((640, 480), factor_px=28, min_pixels=3136, max_pixels=12_845_056)
        (644, 476)

    Source: what ``smart_resize`` of Qwen2-VL's processor in Transformers computes; it also refuses pictures more than 200 times
    as long as wide, which is left to the model.
    """
    width, height = size_wh
    sides = [round(side / factor_px) * factor_px for side in (width, height)]
    if sides[0] * sides[1] > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        sides = [max(factor_px, math.floor(side / shrink / factor_px) * factor_px) for side in (width, height)]
    elif sides[0] * sides[1] < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        sides = [math.ceil(side * grow / factor_px) * factor_px for side in (width, height)]
    return sides[0], sides[1]


def _estimate(spec: str, *, token_side_px: int = 32) -> Vision:
    """One token per square of this side, at least 4; sides are rounded, and pictures stay as they are."""
    side_px = _checked("token_side_px", token_side_px)

    def tokens(size_wh: SizeWH) -> int:
        across, down = (max(1, round(side / side_px)) for side in size_wh)
        return max(4, across * down)

    return Vision(spec=spec, resized_wh=lambda size_wh: size_wh, tokens=tokens)


def _smart(factor_px: int, fewest: int, most: int) -> Callable[..., Vision]:
    def make(spec: str, *, min_pixels: int = fewest, max_pixels: int = most) -> Vision:
        _checked("min_pixels", min_pixels)
        if _checked("max_pixels", max_pixels) < max(min_pixels, factor_px**2):
            raise bad_value("max_pixels", max_pixels, expected=f"at least min_pixels and {factor_px**2}")

        def resized_wh(size_wh: SizeWH) -> SizeWH:
            return smart_resize(size_wh, factor_px=factor_px, min_pixels=min_pixels, max_pixels=max_pixels)

        def tokens(size_wh: SizeWH) -> int:
            width, height = resized_wh(size_wh)
            return width * height // factor_px**2

        return Vision(spec=spec, resized_wh=resized_wh, tokens=tokens)

    return make


def _checked(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise bad_value(name, value, expected="an integer of at least 1")
    return value


FAMILIES: dict[str, Callable[..., Vision]] = {
    "estimate": _estimate,
    "qwen2-vl": _smart(28, 56 * 56, 12_845_056),
    "qwen2.5-vl": _smart(28, 56 * 56, 12_845_056),
    "qwen3-vl": _smart(32, 256 * 256, 16_777_216),
}
"""The families by name. Qwen's limits are those of the published checkpoints' processors; a server may be told others:
``qwen2.5-vl:max_pixels=1003520``. Of all other models the tokens are an estimate."""


def make_vision(spec: str | Vision) -> Vision:
    """Return a family by its name with options; one is returned as it is.

    Raises:
        UnknownNameError: There is none of that name.
        BadValueError: An option it does not have, or a value that it cannot take.

    Example:
        >>> make_vision("qwen2.5-vl").tokens((512, 512)), make_vision("estimate").tokens((512, 512))
        (324, 256)
    """
    if isinstance(spec, Vision):
        return spec
    name, options = parse_spec(spec)
    if name not in FAMILIES:
        raise unknown_name("vision", name, FAMILIES, remedy="Use one of these; `estimate` fits any model.")
    try:
        return FAMILIES[name](spec, **options)
    except TypeError as error:
        raise bad_value("vision", spec, expected=f"options of {name!r} ({error})") from None


ESTIMATE = make_vision("estimate")
