"""How a language model writes a tool call: prompt text, parser, stop strings and format reward in one object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..tools import ToolCall, Toolset

__all__ = ["Grammar", "ParseError", "Parsed"]


class ParseError(Exception):
    """The text is not one well-formed call. ``code`` is one of the grammar's ``error_codes``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A call as written, before it is checked against the toolset."""

    call: ToolCall
    thought: str = ""
    """What the model wrote before the call."""


class Grammar(ABC):
    """One way of writing calls. Parsers are strict, never raise anything but :class:`ParseError`, and execute nothing."""

    name: ClassVar[str]
    stop: ClassVar[tuple[str, ...]] = ()
    """Strings after which generation stops (the string is part of the reply)."""
    error_codes: ClassVar[tuple[str, ...]]
    """The classes of malformed replies, mutually exclusive."""

    @abstractmethod
    def system_prompt(self, toolset: Toolset) -> str:
        """Return the prompt that explains the tools and how to call them."""

    @abstractmethod
    def parse(self, reply: str | Mapping[str, Any]) -> Parsed:
        """Read one call from a reply.

        Raises:
            ParseError: Not exactly one well-formed call.
        """

    @abstractmethod
    def render(self, call: ToolCall, thought: str = "") -> str:
        """Write a call; :meth:`parse` reads it back."""

    @abstractmethod
    def assistant_message(self, reply: str, turn: int) -> dict[str, Any]:
        """Return the chat message of a reply that was given in this turn."""

    @abstractmethod
    def feedback_messages(
        self, text: str, images: list[dict[str, Any]], turn: int, *, answered_call: bool
    ) -> list[dict[str, Any]]:
        """Return the chat messages that bring a tool's result back.

        Args:
            text: What the tool said.
            images: Content parts, image or placeholder text.
            turn: The turn of the call.
            answered_call: Whether the reply held a call that the message can answer.
        """

    def format_reward(self, reply: str | Mapping[str, Any]) -> float:
        """Return 1.0 for a reply that parses, else 0.0."""
        try:
            self.parse(reply)
        except ParseError:
            return 0.0
        return 1.0
