"""Image embeddings kept by image hash, so that many prompts over one picture embed it once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ..errors import TemporaryExpertError
from ..images import Image

__all__ = ["EmbeddingCache", "held_bytes"]

T = TypeVar("T")
WAIT_S = 1800.0
"""Longest wait for another thread: a large batch of a large model takes minutes without a GPU."""
ENTRY_BYTES = 500
"""What keeping a picture costs, whatever is kept of it: of many there is nothing to keep."""


class EmbeddingCache(Generic[T]):
    """The latest embeddings, bounded by the bytes they hold.

    Thread-safe: threads that ask for the same picture at the same time wait for one of them to embed it.
    """

    def __init__(
        self, *, limit_bytes: int = 2**31, size_of: Callable[[T], int] | None = None, wait_s: float = WAIT_S
    ) -> None:
        """Keep up to ``limit_bytes``; a larger embedding is handed out and not kept.

        Args:
            limit_bytes: Most bytes of all embeddings together. What a call holds while it uses it comes on top.
            size_of: Says how many bytes an embedding holds; :func:`held_bytes` by default.
            wait_s: Longest wait for another thread that embeds a picture.
        """
        self.limit_bytes = limit_bytes
        self.wait_s = wait_s
        self._size_of: Callable[[T], int] = size_of or held_bytes
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._making: dict[str, _Promise[T]] = {}
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """What the kept embeddings hold."""
        return self._bytes

    def get(self, images: Sequence[Image], embed: Callable[[list[Image]], Sequence[T]]) -> list[T]:
        """Return the embedding of each picture, in order.

        Args:
            images: Pictures; equal ones are embedded once.
            embed: Makes the embeddings of pictures that are all different, in order; called for those that are not kept, at most
                once. What it raises passes through, and nothing is kept.

        Raises:
            TemporaryExpertError: Another thread has been embedding one of the pictures for ``wait_s``.
        """
        promises: dict[str, _Promise[T]] = {}
        found: dict[str, T] = {}
        mine: dict[str, Image] = {}
        with self._lock:
            for image in images:
                key = image.hash
                if key in found or key in promises:
                    continue
                if key in self._kept:
                    self._kept.move_to_end(key)
                    found[key] = self._kept[key][0]
                    continue
                if key not in self._making:
                    self._making[key] = _Promise()
                    mine[key] = image
                promises[key] = self._making[key]
        if mine:  # before waiting for others: so no two threads wait for each other
            found |= self._make(mine, promises, embed)
        for key, promise in promises.items():
            if key in found:
                continue
            if not promise.done.wait(self.wait_s):
                raise TemporaryExpertError(
                    f"A picture has been embedded for more than {self.wait_s:g} s by another thread. Ask later."
                )
            if promise.value is not None:
                found[key] = promise.value[0]
        left = {image.hash: image for image in images if image.hash not in found}
        if left:  # another thread failed at these
            found |= dict(zip(left, self.get(list(left.values()), embed), strict=True))
        return [found[image.hash] for image in images]

    def __contains__(self, image: object) -> bool:
        return isinstance(image, Image) and image.hash in self._kept

    def clear(self) -> bool:
        """Forget all embeddings; say whether there were any."""
        with self._lock:
            had = bool(self._kept)
            self._kept.clear()
            self._bytes = 0
        return had

    def _make(
        self, mine: dict[str, Image], promises: dict[str, _Promise[T]], embed: Callable[[list[Image]], Sequence[T]]
    ) -> dict[str, T]:
        try:
            made = dict(zip(mine, embed(list(mine.values())), strict=True))
            with self._lock:
                for key, value in made.items():
                    promises[key].value = (value,)
                    self._keep(key, value)
            return made
        finally:
            with self._lock:
                for key in mine:
                    del self._making[key]
                    promises[key].done.set()

    def _keep(self, key: str, value: T) -> None:
        size = self._size_of(value) + ENTRY_BYTES
        if size > self.limit_bytes:
            return
        self._kept[key] = value, size
        self._bytes += size
        while self._bytes > self.limit_bytes:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._bytes -= oldest

    def __len__(self) -> int:
        return len(self._kept)


class _Promise(Generic[T]):
    """An embedding that some thread is making."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: tuple[T] | None = None
        """The embedding; none once it is done means that it failed."""


def held_bytes(value: Any) -> int:
    """Return the bytes that arrays and tensors hold, also inside lists and dictionaries.

    Example:
        >>> import numpy as np
        >>> held_bytes({"features": [np.zeros((2, 3), np.float32), np.zeros(4, np.float64)]})
        56
    """
    if isinstance(value, Mapping):
        return sum(held_bytes(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return sum(held_bytes(v) for v in value)
    return int(getattr(value, "nbytes", 0))
