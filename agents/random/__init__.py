"""A player of random valid calls: the floor of every table."""

from __future__ import annotations

from typing import Any

import numpy as np

from visenv import EpisodeSpec, ToolCall, ToolCallSpace

__all__ = ["RandomAgent"]


class RandomAgent:
    """Calls random tools with random valid arguments, on images and objects that exist."""

    name = "random"

    def start(self, spec: EpisodeSpec) -> _RandomPlayer:
        """Return a player for one episode."""
        return _RandomPlayer(spec)


class _RandomPlayer:
    def __init__(self, spec: EpisodeSpec) -> None:
        self._rng = np.random.default_rng(spec.seed)
        self._space = ToolCallSpace(spec.toolset, seed=int(self._rng.integers(2**31)))
        self._final = [t.answers is not None for t in spec.toolset.tools]

    def act(self, observation: dict[str, Any]) -> ToolCall:
        """Draw a call: one time in four a final one."""
        final = all(self._final) or self._rng.random() < 0.25
        call = self._space.sample(mask=np.array([f == final for f in self._final], np.int8))
        names = [*observation["image_names"], *(i["name"] for i in observation["archive"])]
        ids = [o["id"] for o in observation["objects"]] or [0]
        arguments = call["arguments"]
        if "image" in arguments:
            arguments["image"] = names[int(self._rng.integers(len(names)))]
        if "images" in arguments:
            arguments["images"] = [names[int(self._rng.integers(len(names)))]]
        if "object" in arguments:
            arguments["object"] = ids[int(self._rng.integers(len(ids)))]
        for several in {"objects", "masks"} & arguments.keys():
            arguments[several] = [ids[int(self._rng.integers(len(ids)))]]
        for low, high in (("x1", "x2"), ("y1", "y2")):
            if low in arguments:
                a, b = sorted((arguments[low], arguments[high]))
                arguments[low], arguments[high] = min(a, 999), max(b, min(a, 999) + 1)
        return call
