"""What an agent is: a recipe that plays any number of episodes, each with a player of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from . import plugins
from .answers import AnswerKind, Target
from .episode import Observation
from .objects import DetectedObject
from .tools import ToolCall, Toolset

__all__ = ["Agent", "EpisodeSpec", "Player", "Privilege", "act_all", "make_agent"]


class Privilege(Protocol):
    """What the runner lends to the two agents that may know the truth; all others get ``None``."""

    @property
    def target(self) -> Target:
        """The truth of the sample."""
        ...

    @property
    def objects(self) -> Sequence[DetectedObject]:
        """The objects of the episode now, with the masks that others only see drawn in the picture."""
        ...

    def register_target(self) -> None:
        """Put the truth into the object table (``oracle`` only)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeSpec:
    """What a player is told before its episode starts. Nothing of the truth, except through ``privilege``."""

    task: str
    """Its name, with options where it has any, such as ``COCO:mode=count``; secrets left out."""
    split: str
    level: int
    kind: AnswerKind
    """The form of answer the task wants."""
    toolset: Toolset
    """The tools of this episode."""
    max_turns: int
    seed: int
    """For the player's own random choices; the same episode always gets the same."""
    privilege: Privilege | None = None


@runtime_checkable
class Player(Protocol):
    """Holds one episode's state."""

    def act(self, observation: Observation) -> ToolCall | str | Mapping[str, Any]:
        """Return a tool call, or raw model text that the grammar parses.

        Raises:
            TokenLimitError: The player's context is full.
        """
        ...


@runtime_checkable
class Agent(Protocol):
    """Makes players. Optional methods: ``act_batch(players, observations)`` and ``close()``."""

    name: str

    def start(self, spec: EpisodeSpec) -> Player:
        """Return a player for one episode."""
        ...


def make_agent(spec: str) -> Agent:
    """Build an agent from its name with options, such as ``zero-shot:model=tiny``.

    Raises:
        UnknownNameError: No such agent.
        PluginError: It cannot be imported.
        BadValueError: It has no such option.
    """
    agent: Agent = plugins.build("agents", spec)
    return agent


def act_all(agent: Agent, players: Sequence[Player], observations: Sequence[Observation]) -> list[Any]:
    """Ask players for their next actions, in one batch where the agent has ``act_batch``."""
    batch = getattr(agent, "act_batch", None)
    if batch is not None:
        return list(batch(players, observations))
    return [player.act(observation) for player, observation in zip(players, observations, strict=True)]
