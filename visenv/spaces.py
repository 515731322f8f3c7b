"""Gymnasium spaces for what Gymnasium's own do not hold: any text, images of any size, tool calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from .errors import bad_value
from .tools import CallError, ToolCall, Toolset, check_call

__all__ = ["ImageSpace", "ToolCallSpace", "UnicodeText"]


class UnicodeText(gym.Space[str]):
    """Any text up to a length; Gymnasium's ``Text`` refuses the space character and most letters."""

    def __init__(self, max_length: int = 100_000, *, seed: int | np.random.Generator | None = None) -> None:
        self.max_length = max_length
        super().__init__((), str, seed)

    def sample(self, mask: None = None, probability: None = None) -> str:
        """Draw a short text of letters from several scripts, digits, spaces and marks."""
        pool = "abcdefghijklmnopqrstuvwxyz ABC 0123456789 äéßçñ жця 中文 עב ?!.,:;-"
        length = int(self.np_random.integers(0, min(33, self.max_length + 1)))
        return "".join(pool[int(i)] for i in self.np_random.integers(0, len(pool), length))

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is text that is short enough and can be encoded."""
        if not isinstance(x, str) or len(x) > self.max_length:
            return False
        try:
            x.encode()
        except UnicodeEncodeError:
            return False
        return True

    @property
    def is_np_flattenable(self) -> bool:
        """Never: text has no fixed size."""
        return False

    def __repr__(self) -> str:
        return f"UnicodeText({self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and other.max_length == self.max_length


class ImageSpace(gym.Space[npt.NDArray[np.uint8]]):
    """Pictures ``uint8 (H, W, 3)`` with sides of 1 to ``max_side`` pixels."""

    def __init__(self, max_side: int = 8192, *, seed: int | np.random.Generator | None = None) -> None:
        self.max_side = max_side
        super().__init__(None, np.uint8, seed)

    def sample(self, mask: None = None, probability: None = None) -> npt.NDArray[np.uint8]:
        """Draw a small picture of noise."""
        height, width = self.np_random.integers(1, min(64, self.max_side) + 1, 2)
        return self.np_random.integers(0, 256, (int(height), int(width), 3), np.uint8)

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is such an array."""
        return (
            isinstance(x, np.ndarray)
            and x.dtype == np.uint8
            and x.ndim == 3
            and x.shape[2] == 3
            and min(x.shape[:2]) >= 1
            and max(x.shape[:2]) <= self.max_side
        )

    @property
    def is_np_flattenable(self) -> bool:
        """Never: the size varies."""
        return False

    def to_jsonable(self, sample_n: Iterable[npt.NDArray[np.uint8]]) -> list[Any]:
        """Convert pictures to nested lists."""
        return [s.tolist() for s in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[npt.NDArray[np.uint8]]:
        """Convert nested lists back."""
        return [np.array(s, np.uint8) for s in sample_n]

    def __repr__(self) -> str:
        return f"ImageSpace({self.max_side})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageSpace) and other.max_side == self.max_side


class ToolCallSpace(gym.Space[ToolCall]):
    """The valid calls of a toolset, ``{"name": str, "arguments": {…}}``.

    ``contains`` is the validator that an environment applies; that a named image or object exists is not part of it.
    """

    def __init__(self, toolset: Toolset, *, seed: int | np.random.Generator | None = None) -> None:
        self.toolset = toolset
        super().__init__(None, None, seed)

    def sample(
        self, mask: npt.NDArray[np.int8] | None = None, probability: npt.NDArray[np.float64] | None = None
    ) -> ToolCall:
        """Draw a valid call.

        Args:
            mask: 0 or 1 per tool, in the toolset's order; at least one 1.
            probability: Probabilities per tool.

        Raises:
            BadValueError: Both are given, or one of the wrong length.
        """
        tools = self.toolset.tools
        weights = np.ones(len(tools)) if mask is None else np.asarray(mask, np.float64)
        if probability is not None:
            weights = np.asarray(probability, np.float64)
        if (mask is not None and probability is not None) or weights.shape != (len(tools),) or weights.sum() <= 0:
            raise bad_value(
                "mask", mask if mask is not None else probability, expected=f"{len(tools)} weights, or none"
            )
        tool = tools[int(self.np_random.choice(len(tools), p=weights / weights.sum()))]
        arguments = {
            p.name: p.kind.sample(self.np_random)
            for p in tool.parameters
            if p.required or self.np_random.random() < 0.5
        }
        return {"name": tool.name, "arguments": arguments}

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a valid call."""
        try:
            check_call(self.toolset, x)
        except CallError:
            return False
        return True

    @property
    def is_np_flattenable(self) -> bool:
        """Never: tools have different arguments."""
        return False

    def __repr__(self) -> str:
        return f"ToolCallSpace({self.toolset.name}: {', '.join(self.toolset.names)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToolCallSpace) and other.toolset == self.toolset
