"""What an agent is: a recipe that plays any number of episodes, each with a player of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from numbers import Real
from typing import Any, Protocol, runtime_checkable

from . import plugins
from .answers import AnswerKind, Target
from .background import run_in_background
from .chat import Conversation
from .episode import Observation
from .errors import stops_the_process
from .objects import DetectedObject
from .tools import ToolCall, Toolset

__all__ = ["Agent", "EpisodeSpec", "Manner", "Player", "Privilege", "act_all", "costs_of", "make_agent", "plain_action"]

MOST_COSTS = 20
"""How many numbers of a player are recorded."""


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
    conversation: Conversation | None = None
    """The episode as chat messages, for players that are language models."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How an agent wants to be played with, where that is not the run's business. ``None`` leaves it to the run."""

    grammar: str | None = None
    """How it writes calls and places, such as ``qwen-xml:coordinates=pixels``; see :mod:`visenv.grammars`."""
    vision: str | None = None
    """How it takes pictures in, such as ``qwen2.5-vl``; see :mod:`visenv.vision`."""
    in_flight: int = 1
    """How many of its episodes a run should have in flight at least, because its players wait most of the time."""


@runtime_checkable
class Player(Protocol):
    """Holds one episode's state.

    Optional: ``async aact(observation)`` instead of or beside ``act``, for players that wait for something, of which the runner
    then has many in flight; and ``costs``, numbers by name such as ``prompt_tokens``, which go into the record.
    """

    def act(self, observation: Observation) -> ToolCall | str | Mapping[str, Any]:
        """Return a tool call, or raw model text that the grammar parses.

        Raises:
            TokenLimitError: The player's context is full.
        """
        ...


@runtime_checkable
class Agent(Protocol):
    """Makes players.

    Optional: ``act_batch(players, observations)``, ``close()``, the attribute ``manner``, a :class:`Manner`, and
    on the class ``LOCAL``, the names of options that say where it runs and not how it plays: records do not name them.
    """

    @property
    def name(self) -> str:
        """Its name in tables and records."""
        ...

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
    """Ask players for their next actions, in one batch where the agent has ``act_batch``, or all at once if they can wait."""
    batch = getattr(agent, "act_batch", None)
    if batch is not None:
        return list(batch(players, observations))
    if all(hasattr(player, "aact") for player in players):
        waiting = [run_in_background(player.aact(o)) for player, o in zip(players, observations, strict=True)]  # type: ignore[attr-defined]
        try:
            return [future.result() for future in waiting]
        finally:
            for future in waiting:  # one failed, or was interrupted: the others' answers are of no use
                future.cancel()
    return [player.act(observation) for player, observation in zip(players, observations, strict=True)]


def costs_of(player: object) -> dict[str, float]:
    """Return what a player says that it cost: finite numbers from 0 by names that are identifiers. What raises costs nothing."""
    costs: dict[str, float] = {}
    try:
        for name, value in islice(getattr(player, "costs", {}).items(), MOST_COSTS):
            named = isinstance(name, str) and name.isidentifier() and len(name) <= 40
            if named and isinstance(value, (Real, Decimal)):
                with suppress(OverflowError):
                    costs[str(name)] = float(value)
    except BaseException as error:  # the boundary to agent code: what it says is of no consequence
        if stops_the_process(error):
            raise
    return {name: cost for name, cost in costs.items() if 0 <= cost < math.inf}


def plain_action(action: Any) -> Any:
    """Return an action that is plain data; anything else is left for the episode to refuse, by its type's name."""
    if action is None or isinstance(action, (str, bool, int, float, list, tuple)):
        return action
    return dict(action) if isinstance(action, Mapping) else f"an object of type {type(action).__name__}"
