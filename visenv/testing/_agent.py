"""Checking an agent: its players are independent, leave observations alone, and do the same in the same episode."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import data_equivalence

from .. import plugins
from ..agent import Agent, EpisodeSpec, Manner, Player, Privilege, act_all, make_agent
from ..chat import Conversation
from ..drivers import drive
from ..env import STREAM, default_split, make_rules, make_task
from ..episode import EndReason, Episode, Observation, Rules
from ..errors import InfrastructureError, MissingDataError, PluginError, TokenLimitError, UnsuitedError, short
from ..experts import ExpertSet, make_experts
from ..task import Task
from ..tools import Toolset
from ..vision import ESTIMATE, make_vision
from ._subject import Subject, check_given

__all__ = ["check_agent"]

Grant = Callable[[Episode], Privilege]
CALL_KEYS = ({"name"}, {"name", "arguments"})
FULL_CONTEXT = object()
"""In the place of an action: the player's context is full."""
STATE = "Keep an episode's state in the player that `start` returns, and draw from a generator seeded with `spec.seed`."


def check_agent(
    agent: str | Agent,
    *,
    tasks: Sequence[str | Task] | None = None,
    toolsets: Sequence[str | Toolset] = ("full", "none"),
    experts: str | ExpertSet = "embedded",
    num_episodes: int = 2,
    privilege: Grant | None = None,
    deterministic: bool = True,
) -> None:
    """Check that an agent keeps the promises of :class:`visenv.Agent` and :class:`visenv.Player` in real episodes.

    Args:
        agent: Name with options, or an agent.
        tasks: What to play; by default one installed task for each kind of answer, of those whose data is there.
        toolsets: What to play with; combinations that ``start`` refuses with ``UnsuitedError`` are left out.
        experts: Who stands behind the tools.
        num_episodes: Episodes of each combination.
        privilege: For an agent that may know the truth: what it is granted in an episode.
        deterministic: Whether the same episode must get the same actions; not so for models that sample on their own.

    Raises:
        ConformanceError: A promise is broken.
        UnknownNameError: No such agent, task, toolset or expert.
        BadValueError: The agent has no such option.
        InfrastructureError: The agent says that what it needs is down.
    """
    check_given(tasks=tasks, toolsets=toolsets, num_episodes=num_episodes)
    made = make_agent(agent) if isinstance(agent, str) else agent
    subject = Subject(f"Agent {agent if isinstance(agent, str) else getattr(made, 'name', made)!r}")
    name = getattr(made, "name", None)
    subject.need(isinstance(name, str) and name.strip() and name.isprintable(), f"its `name` is {short(name)}", expected="printable text", remedy="Set the class attribute: it stands in every table.")  # fmt: skip
    subject.need(callable(getattr(made, "start", None)), "it has no `start`", expected="`start(spec)` to return a player", remedy="See visenv.Agent.")  # fmt: skip
    manner = getattr(made, "manner", Manner())
    subject.need(isinstance(manner, Manner), f"its `manner` is {short(manner)}", expected="a visenv.Manner", remedy="Leave it out, or set one.")  # fmt: skip
    owned, again = make_experts(experts), make_agent(agent) if isinstance(agent, str) else made
    unsuited: list[str] = []
    ends: list[_Play] = []
    chosen = (
        _default_tasks() if tasks is None else [(t, make_task(t)) if isinstance(t, str) else (t.name, t) for t in tasks]
    )
    for name, task in chosen:
        for toolset in toolsets:
            tools = plugins.load("toolsets", toolset) if isinstance(toolset, str) else toolset
            where = subject.at(f"task {name!r} with toolset {tools.name!r}")
            rules = make_rules(task, owned, toolset=tools, grammar=manner.grammar or "hermes")
            rules = replace(rules, vision=make_vision(manner.vision or ESTIMATE))
            seats = _seats(name, task, rules, num_episodes, privilege)
            try:
                ends += _check_combination(where, made, again, seats, owned, deterministic=deterministic)
            except UnsuitedError as refusal:
                unsuited.append(f"{name} with {tools.name}: {refusal}")
    subject.need(
        ends, f"it plays none of the {len(unsuited)} combinations: {short(unsuited[:2], 300)}", expected="one that it plays",
        remedy="Pass `tasks=` and `toolsets=` that suit it; an agent that may know the truth needs `privilege=`.",
    )  # fmt: skip
    subject.need(
        any(play.num_valid for play in ends), f"all its {sum(len(p.actions) for p in ends)} calls are invalid; the last answer was {short(ends[-1].feedback, 300)}",
        expected="a valid one", remedy="Call tools of `spec.toolset`, on images that the observation names.",
    )  # fmt: skip
    if isinstance(agent, str):
        _close(subject, again)
        _close(subject, made)
    if isinstance(experts, str):
        owned.close()


@dataclass(kw_only=True)
class _Seat:
    """One episode to be played, any number of times."""

    start: Callable[[], Episode]
    spec: Callable[[Episode], EpisodeSpec]


@dataclass(kw_only=True)
class _Play:
    """How an episode went."""

    episode: Episode
    player: Player
    actions: list[str] = field(default_factory=list)
    num_valid: int = 0
    feedback: str = ""


def _default_tasks() -> list[tuple[str, Task]]:
    found: dict[str, tuple[str, Task]] = {}
    for name in plugins.names("tasks"):
        try:
            task = make_task(name)
            if str(task.kind) not in found:
                task.num_samples(default_split(task), task.levels[0])
                found[str(task.kind)] = name, task
        except (PluginError, MissingDataError):  # what is broken or not there is no business of this agent
            continue
    return list(found.values())


def _seats(name: str, task: Task, rules: Rules, num_episodes: int, privilege: Grant | None) -> list[_Seat]:
    split, level = default_split(task), task.levels[0]
    size = task.num_samples(split, level)
    indices = range(min(num_episodes, STREAM if size is None else size))

    def seat(index: int) -> _Seat:
        sample = task.sample(split, level, index)

        def spec(episode: Episode) -> EpisodeSpec:
            return EpisodeSpec(
                task=name, split=split, level=level, kind=sample.target.kind, toolset=episode.toolset, max_turns=rules.max_turns,
                seed=1000 + index, privilege=None if privilege is None else privilege(episode),
                conversation=Conversation(episode),
            )  # fmt: skip

        return _Seat(start=lambda: Episode(sample, profile=task.profile, rules=rules), spec=spec)

    return [seat(index) for index in indices]


def _check_combination(
    subject: Subject, agent: Agent, again: Agent, seats: Sequence[_Seat], experts: ExpertSet, *, deterministic: bool
) -> list[_Play]:
    """Play the episodes one after the other; then again, all at once, and in batches."""
    alone = [_play(subject, agent, [seat], experts, batch=False)[0] for seat in seats]
    rounds: list[tuple[str, Agent, Sequence[_Seat], Sequence[_Play], bool]] = []
    rounds += [("a second time", again, [seat], [play], False) for seat, play in zip(seats, alone, strict=True)]
    rounds.append(("while another episode is played", agent, seats, alone, False))
    if getattr(agent, "act_batch", None) is not None:
        rounds.append(("in a batch", agent, seats, alone, True))
    for how, player, chosen, expected, batch in rounds:
        plays = _play(subject, player, chosen, experts, batch=batch)
        for number, (first, second) in enumerate(zip(expected, plays, strict=True)):
            where = subject.at(
                f"episode {first.episode.sample.id!r}" if len(chosen) == 1 else f"episode {number} of {len(chosen)}"
            )
            different = _difference(first.actions, second.actions) if deterministic else None
            where.need(
                different is None, f"its actions are others {how}: {different}", expected="the same actions in the same episode",
                remedy=f"{STATE} A model that samples on its own is checked with `deterministic=False`.",
            )  # fmt: skip
    return alone


def _play(subject: Subject, agent: Agent, seats: Sequence[_Seat], experts: ExpertSet, *, batch: bool) -> list[_Play]:
    """Play episodes to their ends, a turn of each in turn."""
    plays = []
    for seat in seats:
        episode = seat.start()
        with subject.running("`start`", remedy="Raise UnsuitedError for what it cannot play.", allowed=(UnsuitedError, InfrastructureError)):  # fmt: skip
            player = agent.start(seat.spec(episode))
        has_act = any(map(callable, (getattr(player, "act", None), getattr(player, "aact", None), getattr(agent, "act_batch", None))))  # fmt: skip
        subject.need(has_act, f"`start` gives {short(player)}", expected="a player with `act` or `aact`, or an agent with `act_batch`", remedy="See visenv.Player.")  # fmt: skip
        plays.append(_Play(episode=episode, player=player))
    running = plays
    while running:
        for play, action in zip(running, _ask(subject, agent, running, batch=batch), strict=True):
            if action is FULL_CONTEXT:
                play.episode.stop(EndReason.TOKEN_LIMIT)
                continue
            _check_action(subject, action)
            outcome = drive(play.episode.play(action), experts)
            subject.need(not outcome.failed, f"the experts failed: {play.episode.failure}", expected="them to answer", remedy="Check them with `check_expert`.")  # fmt: skip
            play.actions.append(_written(action))
            play.num_valid += outcome.info["error"] is None
            play.feedback = outcome.observation["feedback"]
        running = [p for p in running if not p.episode.ended]
    return plays


def _ask(subject: Subject, agent: Agent, plays: Sequence[_Play], *, batch: bool) -> list[Any]:
    """Return the next action of each, ``FULL_CONTEXT`` of one whose context is full. Observations must stay as they are."""
    has_batch, waits = hasattr(agent, "act_batch"), callable(getattr(plays[0].player, "aact", None))
    if batch or not callable(getattr(plays[0].player, "act", None)) or (waits and not has_batch):
        method = "`act_batch`" if has_batch else "`aact`"
        observations, kept = ([p.episode.observe() for p in plays] for _ in range(2))
        try:
            with subject.running(method, remedy="Return one action for each player.", allowed=(InfrastructureError, TokenLimitError)):  # fmt: skip
                actions = act_all(agent, [p.player for p in plays], observations)
        except TokenLimitError:  # of one of them: as the runner does, each is asked alone
            if len(plays) == 1:
                return [FULL_CONTEXT]
            return [action for play in plays for action in _ask(subject, agent, [play], batch=batch)]
        subject.need(len(actions) == len(plays), f"{method} gives {len(actions)} actions for {len(plays)} players", expected="one for each", remedy="Keep their order.")  # fmt: skip
        _check_untouched(subject, observations, kept)
        subject.need(all(a is not None for a in actions), f"{method} gives None for a player", expected="a tool call or text", remedy="Return one in every turn; raise TokenLimitError when a context is full.")  # fmt: skip
        return actions
    actions = []
    for play in plays:
        observation, kept_one = play.episode.observe(), play.episode.observe()
        action: Any
        try:
            with subject.running(f"`act` in turn {observation['turn']}", remedy="A player must cope with every observation: an error, no objects, no turn left.", allowed=(InfrastructureError, TokenLimitError)):  # fmt: skip
                action = play.player.act(observation)
            subject.need(action is not None, "`act` gives None", expected="a tool call or text", remedy="Return one in every turn.")  # fmt: skip
        except TokenLimitError:
            action = FULL_CONTEXT
        _check_untouched(subject, [observation], [kept_one])
        actions.append(action)
    return actions


def _check_untouched(subject: Subject, given: Sequence[Observation], kept: Sequence[Observation]) -> None:
    for after, before in zip(given, kept, strict=True):
        changed = [k for k in {**before, **after} if k not in after or k not in before or not data_equivalence(before[k], after[k])]  # fmt: skip
        subject.need(
            not changed, f"it changed {', '.join(map(repr, changed))} of the observation it was given", expected="it to be left as it is",
            remedy="Copy what it changes: others look at the same observation.",
        )  # fmt: skip


def _check_action(subject: Subject, action: object) -> None:
    form = isinstance(action, str) or (
        isinstance(action, Mapping) and ("tool_calls" in action or set(action) in CALL_KEYS)
    )
    subject.need(
        form, f"`act` gives {short(action, 200)}", expected='{"name": …, "arguments": {…}} or text', remedy="Return one call; a model's raw text is parsed by the grammar.",
    )  # fmt: skip


def _written(action: object) -> str:
    return action if isinstance(action, str) else json.dumps(action, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else repr(type(value))


def _difference(first: Sequence[str], second: Sequence[str]) -> str | None:
    for turn, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return f"{short(a)}, then {short(b)} in turn {turn}"
    return None if len(first) == len(second) else f"{len(first)} actions, then {len(second)}"


def _close(subject: Subject, agent: Agent) -> None:
    close = getattr(agent, "close", None)
    if close is not None:
        with subject.running("`close`, called twice", remedy="Closing what is closed does nothing."):
            close()
            close()
