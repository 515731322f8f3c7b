"""Random draws that give the same numbers on every machine and in every library version."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Rng"]

T = TypeVar("T")


class Rng:
    """A seeded source of numbers.

    Only ``random.Random.random`` and ``getrandbits`` are used: Python promises them to stay as they are, unlike
    ``choice`` or numpy's generators.
    """

    __slots__ = ("_random",)

    def __init__(self, seed: int) -> None:
        """Start at ``seed``."""
        self._random = random.Random(seed)

    @classmethod
    def of(cls, *parts: object) -> Rng:
        """Start at a hash of ``parts`` written with slashes between them."""
        digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).digest()
        return cls(int.from_bytes(digest, "big"))

    def spawn(self) -> Rng:
        """Return an independent source; this one moves on by one draw."""
        return Rng(self._random.getrandbits(64))

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self._random.random()

    def chance(self, probability: float) -> bool:
        """Return true with the given probability."""
        return self._random.random() < probability

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high], both ends included."""
        return low + int(self._random.random() * (high - low + 1))

    def log_uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high) whose logarithm is uniform."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def choice(self, items: Sequence[T]) -> T:
        """Return one of ``items``."""
        return items[int(self._random.random() * len(items))]

    def weighted(self, weights: dict[T, float]) -> T:
        """Return a key with a probability in proportion to its value."""
        left = self.uniform(0, sum(weights.values()))
        for key, weight in weights.items():
            left -= weight
            if left < 0:
                return key
        return key

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """Return the items in a random order, as a new list."""
        out = list(items)
        for last in range(len(out) - 1, 0, -1):
            other = int(self._random.random() * (last + 1))
            out[last], out[other] = out[other], out[last]
        return out

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Return ``count`` different items in a random order."""
        return self.shuffle(items)[:count]
