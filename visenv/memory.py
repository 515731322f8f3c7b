"""Visual memory: every image of an episode by name, and the policies that decide which stay visible.

Names live as long as the episode. What is no longer visible is archived: it can be passed to tools by name and put back in view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import bad_value, unknown_name
from .images import Image
from .objects import DetectedObject
from .specs import parse_spec
from .vision import ESTIMATE, Vision

__all__ = ["POLICIES", "MemoryPolicy", "NamedImage", "Shown", "VisualMemory", "make_policy"]

Shown = tuple[int, int]
"""Where an image was shown: observation number and place in it."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedImage:
    """An image of the episode and where it lies in its source."""

    name: str
    image: Image
    source: str
    """Name of the original image it comes from (itself for an original)."""
    to_source: Matrix
    """2x3 affine map of its pixels (edges) to the source's."""
    origin: str
    """How it was made, in a few words."""
    parent: str = ""
    """The image it was made from or shows; empty for an original."""
    depth: int = 0
    """How many steps it is away from its source: 1 for a patch of it, 2 for that patch enlarged."""
    is_overlay: bool = False
    """A picture of results, which tools do not take as input."""
    objects: tuple[DetectedObject, ...] | None = None
    """The objects that an overlay draws; ``None`` when it is none, or was drawn in another way."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.size_wh

    @property
    def pixel_px(self) -> float:
        """Width of one of its pixels in pixels of the source."""
        return float(np.hypot(self.to_source[0, 0], self.to_source[1, 0]))


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPolicy:
    """Says which of the images shown so far stay visible."""

    spec: str
    """Its name with options; makes an equal policy again."""
    select: Callable[[Sequence[Sequence[str]]], list[Shown]]
    """From the names shown by each successful observation (the first is the start) to the places that stay visible."""

    def __reduce__(self) -> tuple[Callable[[str], MemoryPolicy], tuple[str]]:
        return make_policy, (self.spec,)


class VisualMemory:
    """The images of one episode, and what of them is visible now."""

    def __init__(self, policy: MemoryPolicy, vision: Vision = ESTIMATE) -> None:
        self.policy = policy
        self.vision = vision
        self.images: dict[str, NamedImage] = {}
        self.shown: list[tuple[str, ...]] = []
        self._visible: list[Shown] = []

    def add(self, image: NamedImage) -> None:
        """Keep an image under its name, which must be new."""
        if image.name in self.images:
            raise bad_value("name", image.name, expected="a name that no image of the episode has")
        self.images[image.name] = image

    def show(self, names: Sequence[str]) -> None:
        """Put images before the agent as the newest observation, and archive what the policy says."""
        self.shown.append(tuple(names))
        self._visible = self.policy.select(self.shown)

    @property
    def visible(self) -> list[str]:
        """Names of the visible images, in the order in which they were shown."""
        return [self.shown[turn][place] for turn, place in self._visible]

    @property
    def archived(self) -> list[NamedImage]:
        """The images that are not visible, oldest first."""
        visible = set(self.visible)
        return [image for name, image in self.images.items() if name not in visible]

    @property
    def sizes_wh(self) -> dict[str, tuple[int, int]]:
        """Width and height of every image."""
        return {name: image.size_wh for name, image in self.images.items()}

    @property
    def visual_tokens(self) -> int:
        """What the visible images cost a prompt."""
        return sum(self.vision.tokens(self.images[name].size_wh) for name in self.visible)


def _all(shown: Sequence[Sequence[str]]) -> list[Shown]:
    return [(turn, place) for turn, names in enumerate(shown) for place in range(len(names))]


def _append() -> Callable[[Sequence[Sequence[str]]], list[Shown]]:
    """Everything stays."""
    return _all


def _archive(blind: bool = False) -> Callable[[Sequence[Sequence[str]]], list[Shown]]:
    """Only the images of the latest successful observation stay.

    With ``blind``, an observation without images leaves none, as in VisHarness as published; else the newest images stay.
    """

    def select(shown: Sequence[Sequence[str]]) -> list[Shown]:
        for turn in range(len(shown) - 1, -1, -1):
            if shown[turn] or blind:
                return [(turn, place) for place in range(len(shown[turn]))]
        return []

    return select


def _prune(k: int = 1) -> Callable[[Sequence[Sequence[str]]], list[Shown]]:
    """The first image and the last ``k`` stay, after SAM 3 Agent, which keeps two images."""
    _at_least_one(k)

    def select(shown: Sequence[Sequence[str]]) -> list[Shown]:
        places = _all(shown)
        return places[:1] + places[1:][-k:]

    return select


def _window(k: int = 2) -> Callable[[Sequence[Sequence[str]]], list[Shown]]:
    """The last ``k`` images stay."""
    _at_least_one(k)
    return lambda shown: _all(shown)[-k:]


def _at_least_one(k: object) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise bad_value("k", k, expected="an integer of at least 1")


POLICIES: dict[str, Callable[..., Callable[[Sequence[Sequence[str]]], list[Shown]]]] = {
    "append": _append,
    "archive": _archive,
    "prune": _prune,
    "window": _window,
}
"""The memory policies by name."""


def make_policy(spec: str | MemoryPolicy) -> MemoryPolicy:
    """Build a memory policy from its name.

    Args:
        spec: ``append``, ``archive``, ``archive:blind``, ``prune:k=2``, ``window:k=2``; a policy is returned as it is.

    Raises:
        UnknownNameError: No such policy.
        BadValueError: An option it does not have.

    Example:
        >>> make_policy("window:k=2").select([("img_0",), ("view_1",), (), ("view_3",)])
        [(1, 0), (3, 0)]
    """
    if isinstance(spec, MemoryPolicy):
        return spec
    name, options = parse_spec(spec)
    if name not in POLICIES:
        raise unknown_name("memory policy", name, POLICIES, remedy="Use one of these.")
    try:
        return MemoryPolicy(spec=spec, select=POLICIES[name](**options))
    except TypeError as error:
        raise bad_value("memory", spec, expected=f"options of {name!r} ({error})") from None
