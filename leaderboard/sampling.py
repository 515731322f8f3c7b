"""Which samples a run asks: a pure function of the seed, the same for every agent."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from visenv.errors import bad_value
from visenv.specs import name_of

__all__ = ["STREAM", "choose_indices", "indices_of", "num_asked", "player_seed"]

STREAM = 100_000
"""A split without end is drawn from its first samples, this many."""


def num_asked(size: int | None, limit: int | None, *, where: str) -> int:
    """Return how many samples are asked of a split of this size.

    Raises:
        BadValueError: The split has no end and there is no limit.
    """
    if size is None:
        if limit is None:
            raise bad_value("limit", limit, expected=f"a number, because {where} has no end", remedy="Give --limit N.")
        size = STREAM
    return size if limit is None else min(size, limit)


def choose_indices(size: int | None, limit: int | None, *, seed: int, where: str) -> list[int]:
    """Choose sample indices of a split, without replacement.

    A larger limit with the same seed continues the same sequence.

    Args:
        size: Samples in the split; ``None`` for no end.
        limit: How many to choose; ``None`` for all, in order.
        seed: Another seed chooses others.
        where: Task, split and level as text; each is drawn for itself.

    Example:
        >>> choose_indices(10, 3, seed=0, where="a")
        [7, 4, 6]
    """
    number = num_asked(size, limit, where=where)
    stop = STREAM if size is None else size
    if number == stop:
        return list(range(stop))
    chosen: dict[int, None] = {}
    counter = 0
    while len(chosen) < number:
        chosen[_hash64(seed, where, counter) % stop] = None
        counter += 1
    return list(chosen)


def indices_of(
    task: str, split: str, level: int, *, size: int | None, samples: Sequence[str] | None, limit: int | None, seed: int
) -> list[int]:
    """Return which samples of a split a run asks, in order.

    Args:
        task: Its name. Options in it do not count: samples have the same ids with other options, and so are drawn alike.
        split: Of the task.
        level: Of the task.
        size: Samples in the split; ``None`` for no end.
        samples: Chosen ones, as ids ``Task/split/level/index``, of which those of this task count, or as bare indices,
            which hold for every task; ``None`` draws ``limit`` of them.
        limit: How many to draw; ``None`` for all.
        seed: Of the draw.

    Raises:
        BadValueError: An index outside the split, or no id at all.

    Example:
        >>> indices_of("EmojiRef", "val", 1, size=500, samples=["7", "EmojiRef/val/1/3"], limit=None, seed=0)
        [7, 3]
    """
    where = f"{name_of(task)}/{split}/{level}"
    if samples is None:
        return choose_indices(size, limit, seed=seed, where=where)
    chosen: dict[int, None] = {}
    for sample in samples:
        home, _, number = sample.rpartition("/")
        if not (number.isascii() and number.isdigit()):
            raise bad_value("sample", sample, expected=f"an index such as 7, or an id such as {where}/7")
        if home and home.lower() != where.lower():
            continue
        if size is not None and int(number) >= size:
            raise bad_value("sample", sample, expected=f"an index below {size}, the size of {where}")
        chosen[int(number)] = None
    return list(chosen)


def player_seed(seed: int, sample_id: str, agent: str) -> int:
    """Return the seed of one player, which depends on nothing but these."""
    return _hash64(seed, sample_id, agent) >> 1  # 63 bits, for those who keep it in a signed integer


def _hash64(*parts: object) -> int:
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
