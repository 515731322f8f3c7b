"""A plain function as an agent."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .agent import EpisodeSpec, Manner, Player
from .background import run_in_background
from .episode import Observation
from .errors import bad_value
from .tools import ToolCall

__all__ = ["FunctionAgent"]

Action = ToolCall | str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FunctionAgent:
    """Plays by a function from the observation to the next call, or to a model's raw text. It may be ``async``.

    Whatever it gives that can be awaited is awaited; of a function or an object whose ``__call__`` is ``async def``, a run then has
    many episodes under way.

    One function plays many episodes in turns, so it keeps nothing from call to call; who wants to remember writes an
    :class:`~visenv.agent.Agent`, whose players do. For several worker processes the function must be one of a module.

    Example:
        >>> def give_up(observation):
        ...     return {"name": "submit_none", "arguments": {}}
        >>> FunctionAgent(give_up).name
        'give_up'
    """

    function: Callable[[Observation], Action | Awaitable[Action]]
    name: str = ""
    """By default the function's own."""
    manner: Manner = field(default_factory=Manner)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise bad_value("function", self.function, expected="a function from an observation to a call")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", type(self.function).__name__))

    def start(self, spec: EpisodeSpec) -> Player:
        """Return a player for one episode; all of them call the same function."""
        waits = any(map(inspect.iscoroutinefunction, (self.function, type(self.function).__call__)))
        return (_AsyncPlayer if waits else _Player)(self.function)


@dataclass(frozen=True, slots=True)
class _Player:
    function: Callable[[Observation], Action | Awaitable[Action]]

    def act(self, observation: Observation) -> Action:
        action = self.function(observation)
        return run_in_background(_wait_for(action)).result() if isinstance(action, Awaitable) else action


class _AsyncPlayer(_Player):
    __slots__ = ()

    async def aact(self, observation: Observation) -> Action:
        action = self.function(observation)
        return await action if isinstance(action, Awaitable) else action


async def _wait_for(action: Awaitable[Action]) -> Action:
    return await action
