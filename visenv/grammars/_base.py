"""How a language model writes a tool call: prompt text, parser, stop strings and format reward in one object."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any, ClassVar

from ..coordinates import THOUSANDTHS, Coordinates, make_coordinates
from ..errors import short
from ..strict_json import MAX_CHARS
from ..tools import ToolCall, Toolset

__all__ = ["Grammar", "ParseError", "Parsed", "checked_text", "split_thought"]


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
    """One way of writing calls. Parsers are strict, never raise anything but :class:`ParseError`, and execute nothing.

    What the prompt says stands in ``prompts/NAME.md``, where ``$tools``, ``$example`` and ``$guidance`` are filled in.
    """

    name: ClassVar[str]
    stop: ClassVar[tuple[str, ...]] = ()
    """Strings after which generation stops (the string is part of the reply)."""
    sends_tools: ClassVar[bool] = False
    """Whether the tools are sent beside the messages instead of being listed in the prompt."""
    error_codes: ClassVar[tuple[str, ...]]
    """The classes of malformed replies, mutually exclusive."""

    def __init__(self, *, coordinates: str | Coordinates = THOUSANDTHS) -> None:
        """Read and write places in this way: ``thousandths``, ``pixels`` or ``fractions``."""
        self.coordinates = make_coordinates(coordinates)

    def system_prompt(self, toolset: Toolset) -> str:
        """Return the prompt that explains the tools and how to call them."""
        filled = _template(self.name).substitute(
            tools=self.describe_tools(toolset), example=self.example(toolset), guidance=self.guide(toolset)
        )
        return filled.strip()

    def tools_beside(self, toolset: Toolset) -> list[dict[str, Any]]:
        """Return the tools in OpenAI's form, as they are sent beside the messages; none where the prompt lists them."""
        return [tool.to_openai(self.coordinates) for tool in toolset.tools] if self.sends_tools else []

    def prompt_hash(self, toolset: Toolset) -> str:
        """Return the hex SHA-256 of all that a model is told about its tools: equal hashes, equal prompts."""
        told = [self.system_prompt(toolset), *self.tools_beside(toolset)]
        return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()

    def describe_tools(self, toolset: Toolset) -> str:
        """Return the tools as the prompt lists them; empty where they are sent beside the messages."""
        return "\n".join(json.dumps(t.to_openai(self.coordinates), ensure_ascii=False) for t in toolset.tools)

    def guide(self, toolset: Toolset) -> str:
        """Return how to work with the tools, and how to write places where a tool takes any."""
        places = [self.coordinates.sentence] if any(tool.takes_places for tool in toolset.tools) else []
        return " ".join(filter(None, [*places, toolset.guidance]))

    @abstractmethod
    def example(self, toolset: Toolset) -> str:
        """Return the form of a call for the prompt."""

    @abstractmethod
    def parse(self, reply: str | Mapping[str, Any], toolset: Toolset) -> Parsed:
        """Read one call from a reply.

        Args:
            reply: What the model wrote.
            toolset: Says which values are text and which tools are final, where the form leaves that open; whether the
                call fits the tools is checked by :func:`visenv.tools.check_call`.

        Raises:
            ParseError: Not exactly one well-formed call.
        """

    @abstractmethod
    def render(self, call: ToolCall, toolset: Toolset, thought: str = "") -> str:
        """Write a call; :meth:`parse` reads it back."""

    def restore_stop(self, reply: str) -> str:
        """Return a reply with the stop string that ended it; most endpoints leave that out of what they give."""
        for stop in self.stop:
            opening = stop.replace("</", "<", 1)
            if reply.rfind(opening) > reply.rfind(stop):
                return reply + stop
        return reply

    def assistant_message(self, reply: str, turn: int, toolset: Toolset) -> dict[str, Any]:
        """Return the chat message of a reply that was given in this turn."""
        return {"role": "assistant", "content": [{"type": "text", "text": reply}]}

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

    def format_reward(self, reply: str | Mapping[str, Any], toolset: Toolset) -> float:
        """Return 1.0 for a reply that parses, else 0.0."""
        try:
            self.parse(reply, toolset)
        except ParseError:
            return 0.0
        return 1.0


@cache
def _template(name: str) -> Template:
    return Template((files(__package__) / "prompts" / f"{name}.md").read_text(encoding="utf-8"))


def checked_text(reply: object, remedy: str) -> str:
    """Return a reply that is text of bounded length.

    Raises:
        ParseError: ``no_call`` or ``too_long``.
    """
    if not isinstance(reply, str):
        raise ParseError("no_call", f"The reply is {short(reply)}. Expected text. {remedy}")
    if len(reply) > MAX_CHARS:
        raise ParseError("too_long", f"The reply has {len(reply)} characters. Expected at most {MAX_CHARS}. {remedy}")
    return reply


def split_thought(reply: str) -> tuple[str, str]:
    """Split a reply after its last closing think tag, which stays with the thought."""
    thought, marker, body = reply.rpartition("</think>")
    return thought + marker, body
