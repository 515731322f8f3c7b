"""What ``generate`` of Transformers asks at every token of a batch whose prompts each have their own sampling."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from ._protocol import Finish, Sampling

if TYPE_CHECKING:
    import torch

__all__ = ["Draws", "Ends"]

SLACK = 4
"""Tokens looked at beyond those that a stop string can have, as the first ones may be halves of characters."""


class Draws:
    """A logits processor that leaves each row the one token that its sampling draws.

    Each row draws with a generator of its own, one number a token, so what a prompt gets does not depend on its company.
    """

    def __init__(self, samplings: Sequence[Sampling]) -> None:
        self._rows = [(s, random.Random(s.seed)) for s in samplings]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores ``(N, V)`` of which the drawn token's is the largest."""
        import torch

        for row, (sampling, generator) in enumerate(self._rows):
            if sampling.temperature > 0:
                token = _draw(scores[row], sampling, generator.random())
                scores[row] = float("-inf")
                scores[row, token] = 0.0
        assert isinstance(scores, torch.Tensor)
        return scores


def _draw(scores: torch.Tensor, sampling: Sampling, share: float) -> torch.Tensor:
    """Return the token at a share, 0 to 1, of the probability of all that may be drawn, in the vocabulary's order."""
    import torch

    # In double precision, and not in the order of probability: rounding then moves nothing but the borders.
    chances = (scores.double() / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, places = chances.sort(descending=True, stable=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        beyond[0] = False
        chances[places[beyond]] = 0.0
    reached = chances.cumsum(-1)
    return torch.searchsorted(reached, share * reached[-1], right=True).clamp(max=len(scores) - 1)


class Ends:
    """A stopping criterion that ends each row by its own rules, and remembers where and why."""

    def __init__(
        self, tokenizer: Any, samplings: Sequence[Sampling], limits: Sequence[int], *, begin: int, eos: Collection[int]
    ) -> None:
        """Watch a batch.

        Args:
            tokenizer: Of the model.
            samplings: Of each row, for its stop strings.
            limits: Most tokens of each row's reply.
            begin: Length of the padded prompts.
            eos: Tokens that end a reply.
        """
        self._tokenizer, self._begin, self._eos = tokenizer, begin, eos
        self._stops = [s.stop for s in samplings]
        self._tails = [SLACK + max((len(s.encode()) for s in stops), default=0) for stops in self._stops]
        self._limits = limits
        self._ended: list[tuple[int, Finish] | None] = [None] * len(limits)

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: Any) -> torch.Tensor:
        """Say which rows are over, ``(N,)``."""
        import torch

        count = input_ids.shape[1] - self._begin
        last = input_ids[:, -1].tolist()
        for row, token in enumerate(last):
            if self._ended[row] is not None:
                continue
            if token in self._eos or self._stopped(row, input_ids[row, self._begin :]):
                self._ended[row] = count, "stop"
            elif count >= self._limits[row]:
                self._ended[row] = count, "length"
        return torch.tensor([one is not None for one in self._ended], device=input_ids.device)

    def of(self, row: int) -> tuple[int, Finish]:
        """Return how many tokens a row's reply has, and why it ended, which it has."""
        ended = self._ended[row]
        assert ended is not None
        return ended

    def _stopped(self, row: int, reply: torch.Tensor) -> bool:
        if not self._stops[row]:
            return False
        tail = self._tokenizer.decode(reply[-self._tails[row] :].tolist(), skip_special_tokens=True)
        return any(stop in tail for stop in self._stops[row])
