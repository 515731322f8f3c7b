"""Drawing calls that mean something in an episode."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import ArgumentKind, ImageNameKind, IntegerKind, ListKind, TextKind
from ..episode import Episode
from ..spaces import ToolCallSpace
from ..tools import Tool, ToolCall, Toolset

__all__ = ["sample_call"]

OBJECT_ID = IntegerKind(0, 9999)
"""How tools take the id of an object."""


def sample_call(episode: Episode, tool: Tool, rng: np.random.Generator) -> ToolCall:
    """Draw a valid call of a tool.

    Three in four name images and objects that are there; the others any, such as pictures of results and things that do not
    exist, and values at the ends of what is valid.
    """
    wild = rng.random() < 0.25
    call = ToolCallSpace(Toolset(name="checked", tools=(tool,)), seed=int(rng.integers(2**31))).sample()
    arguments = call["arguments"]
    images = [name for name, image in episode.memory.images.items() if wild or not image.is_overlay]
    names = [*images, "no_such_image"] if wild else [*images, *(len(images) // len(episode.sources) * episode.sources)]
    ids = [o.id for o in episode.objects]
    for parameter in tool.parameters:
        if parameter.name in arguments:
            arguments[parameter.name] = _fitted(parameter.kind, arguments[parameter.name], names, ids, rng, wild=wild)
    for low, high in (("x1", "x2"), ("y1", "y2")):
        if low in arguments and high in arguments and not wild:
            arguments[low], arguments[high] = sorted((arguments[low], arguments[high]))
    return call


def _fitted(
    kind: ArgumentKind, value: Any, images: list[str], ids: list[int], rng: np.random.Generator, *, wild: bool
) -> Any:
    if isinstance(kind, ListKind):
        items = [kind.item.sample(rng) for _ in range(int(rng.integers(1, 1 + min(3 if wild else 2, kind.max_items))))]
        return list(dict.fromkeys(_fitted(kind.item, item, images, ids, rng, wild=wild) for item in items))
    if isinstance(kind, ImageNameKind):
        return images[int(rng.integers(len(images)))]
    if kind == OBJECT_ID and ids and not (wild and rng.random() < 0.5):
        return ids[int(rng.integers(len(ids)))]
    if isinstance(kind, IntegerKind) and wild:
        return kind.low if rng.random() < 0.5 else kind.high
    if isinstance(kind, TextKind) and wild:
        return "x" * kind.max_length
    return value
