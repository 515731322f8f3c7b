"""What is asked of a language model and what it gives back, whoever runs it."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..chat import Message
from ..errors import InfrastructureError
from ..images import Image
from ..vision import ESTIMATE, Vision

__all__ = [
    "Completer",
    "Completion",
    "CompletionError",
    "CompletionRequest",
    "Finish",
    "Sampling",
    "TemporaryCompletionError",
]

Finish = Literal["stop", "length", "context_full"]
"""Why a reply ended: the model ended it, it was cut at its limit, or the prompt left no room for one."""


class CompletionError(InfrastructureError):
    """A model gave no reply to a prompt, for no reason that is its own: its episode fails and has no score."""


class TemporaryCompletionError(CompletionError):
    """A model cannot answer anything just now: it is overloaded, restarting or out of reach. Asking later may help."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a reply is drawn."""

    temperature: float = 0.0
    """0 takes the likeliest token every time."""
    top_p: float = 1.0
    max_tokens: int = 2048
    """Longest reply; 0 leaves that to an endpoint."""
    seed: int = 0
    """For what is drawn at random; of servers that take one."""
    stop: tuple[str, ...] = ()
    """Strings that end a reply, which may or may not hold them in the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletionRequest:
    """One prompt."""

    messages: Sequence[Message]
    """As :func:`visenv.chat.render_messages` gives them; pictures are parts ``{"type": "image", "image": Image}``."""
    tools: Sequence[dict[str, Any]] = ()
    """Tools in OpenAI's form, sent beside the messages."""
    sampling: Sampling = field(default_factory=Sampling)
    vision: Vision = ESTIMATE
    """The size in which pictures are sent."""

    def key(self, identity: str) -> str:
        """Return the hex SHA-256 of all that a reply depends on: who is asked, how it is drawn, messages and tools.

        Args:
            identity: Of the :class:`Completer`.
        """
        sampling = asdict(self.sampling) | (
            {} if self.sampling.temperature > 0 else {"seed": 0}
        )  # then it draws nothing
        asked = {
            "identity": identity, "sampling": sampling, "tools": list(self.tools), "vision": self.vision.spec,
            "messages": [_without_pixels(message) for message in self.messages],
        }  # fmt: skip
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    @property
    def images(self) -> list[Image]:
        """The pictures, in the order of the prompt."""
        return [
            part["image"]
            for message in self.messages
            if isinstance(message.get("content"), list)
            for part in message["content"]
            if part["type"] == "image"
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One reply."""

    content: str
    """What the model wrote, thoughts included."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """Native calls, as the server wrote them: unchecked JSON."""
    finish: Finish = "stop"
    stop_left_out: bool = False
    """Whether a stop string that ended the reply may be missing from it, as most endpoints leave it out."""
    prompt_tokens: int | None = None
    """Of the prompt, as counted by who ran the model; ``None`` if it did not say."""
    completion_tokens: int | None = None


class Completer(ABC):
    """Runs a model, or knows where one runs. Safe to be asked from many coroutines at once."""

    identity: str
    """What its replies depend on beside the request, such as the model's name; without addresses and secrets."""
    vision: str | None = None
    """The family of :mod:`visenv.vision` by whose rules the model's pictures are sized, if that is known."""

    @abstractmethod
    async def complete(self, request: CompletionRequest) -> Completion:
        """Return the reply to a prompt. A prompt that is too long gives ``context_full``, never an error.

        Raises:
            CompletionError: There is none, and it is not the model's fault.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of connections and memory; to be called where :meth:`complete` is."""


def _without_pixels(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [{**p, "image": p["image"].hash} if p["type"] == "image" else p for p in content]}
