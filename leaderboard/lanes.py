"""Episodes in flight: many at a time, their expert requests batched, each failure kept with whom it belongs to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

from visenv.agent import Agent, EpisodeSpec, Player, act_all, costs_of, plain_action
from visenv.background import Waiting, waiting
from visenv.chat import Conversation
from visenv.drivers import ExpertWork, drive_all
from visenv.episode import EndReason, Episode, Observation
from visenv.errors import InfrastructureError, TokenLimitError, UnsuitedError, say, stops_the_process
from visenv.redaction import redact

from .cast import Cast
from .job import Job
from .recording import cut, failed_record, record_episode
from .records import EpisodeRecord
from .rundir import ImageFiles
from .sampling import player_seed

__all__ = ["JobSource", "Patience", "check_suited", "play_episodes"]

GLANCE_S = 0.1
"""How long replies are waited for while there may be other things to do."""
AT_ONCE = 4
"""How many episodes are begun before those that run get their turn: a sample may take long to make."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How often an episode that failed for our reasons is played again before that is recorded."""

    retries: int = 2
    wait_s: float = 1.0
    """Seconds before the first retry; four times as long before each further one. Other episodes go on meanwhile."""

    def wait_after(self, attempt: int) -> float:
        """Return the seconds to wait after a failed attempt, the first being 1."""
        return float(self.wait_s * 4 ** (attempt - 1))


class JobSource(Protocol):
    """Where the lanes get their jobs."""

    def take(self, number: int, *, idle: bool) -> Sequence[Job]:
        """Return up to ``number`` jobs. None when ``idle`` (no episode is running) means that there are no more."""
        ...


def play_episodes(
    jobs: Sequence[Job] | JobSource,
    cast: Cast,
    *,
    lanes: int = 16,
    images: ImageFiles | None = None,
    patience: Patience = Patience(),
) -> Iterator[EpisodeRecord]:
    """Play episodes, ``lanes`` at a time, and give each one's record as it ends.

    Args:
        jobs: What to play.
        cast: Who plays it.
        lanes: Episodes in flight. Those whose agents' actions are there play a turn together, their expert requests in one
            call; players that wait (``aact``) are not waited for.
        images: Where pictures are stored; ``None`` stores none.
        patience: With failures of ours.

    Raises:
        UnsuitedError: An agent cannot play its task with these tools.
        StorageError: A picture cannot be stored.
    """
    source: JobSource = _Listed(jobs) if isinstance(jobs, Sequence) else jobs
    with waiting() as away:
        replies = _Replies(away)
        try:
            yield from _play(source, cast, replies, lanes=lanes, images=images, patience=patience)
        finally:
            replies.cancel()


def _play(
    source: JobSource, cast: Cast, replies: _Replies, *, lanes: int, images: ImageFiles | None, patience: Patience
) -> Iterator[EpisodeRecord]:
    running: list[_Lane] = []
    again: list[tuple[float, Job]] = []  # when, and what
    while True:
        room = min(lanes - len(running), AT_ONCE)
        ready = [entry for entry in again if entry[0] <= time.monotonic()][:room]
        again = [entry for entry in again if entry not in ready]
        fresh = [job for _, job in ready]
        if len(fresh) < room:
            fresh += source.take(room - len(fresh), idle=not (running or fresh or again))
        running += [_Lane(job, cast) for job in fresh]
        if not running:
            if not again:
                return
            time.sleep(min(0.2, max(0.0, min(when for when, _ in again) - time.monotonic())))
            continue
        acting = _ask_all([lane for lane in running if not (lane.ended or replies.awaits(lane))], cast, replies)
        idle = not acting and not any(lane.ended for lane in running)
        idle = idle and not (fresh and len(running) < lanes)  # there may be more to begin
        acting += replies.take(wait_s=(GLANCE_S if again or len(running) < lanes else None) if idle else 0.0)
        _play_turn(acting, cast)
        for lane in running:
            if not lane.ended:
                continue
            record = lane.record(images)
            if record.failed and lane.job.attempt <= patience.retries:
                when = time.monotonic() + patience.wait_after(lane.job.attempt)
                spent = _costs_of(lane.player, lane.job.spent)
                again.append((when, replace(lane.job, attempt=lane.job.attempt + 1, spent=spent)))
            else:
                yield record
        running = [lane for lane in running if not lane.ended]


def check_suited(jobs: Sequence[Job], cast: Cast) -> None:
    """Start each agent once on each task, to hear before anything is played that it cannot play.

    Raises:
        UnsuitedError: An agent cannot play its task with these tools.
    """
    for job in {(job.agent, job.task): job for job in reversed(jobs)}.values():
        _Lane(job, cast)


class _Listed:
    """Jobs known beforehand."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = list(reversed(jobs))

    def take(self, number: int, *, idle: bool) -> Sequence[Job]:
        return [self._jobs.pop() for _ in range(min(number, len(self._jobs)))]


class _Replies:
    """Actions that players are waiting for."""

    def __init__(self, waiting: Waiting) -> None:
        self._lanes: dict[Future[Any], _Lane] = {}
        self._asked: set[_Lane] = set()
        self._waiting = waiting

    def awaits(self, lane: _Lane) -> bool:
        return lane in self._asked

    def ask(self, lanes: Sequence[_Lane]) -> None:
        async def ask(lane: _Lane, observation: Observation) -> Any:  # in the loop, where what it raises is the agent's
            return await lane.player.aact(observation)  # type: ignore[union-attr]  # the caller looked

        futures = self._waiting.start([ask(lane, lane.observe()) for lane in lanes])
        self._lanes.update(zip(futures, lanes, strict=True))
        self._asked.update(lanes)

    def take(self, *, wait_s: float | None) -> list[tuple[_Lane, Any]]:
        """Return the actions that are there; wait for the first, so long at most. Whoever raised is out."""
        acting = []
        for future in self._waiting.take(wait_s=wait_s) if self._lanes else ():
            lane = self._lanes.pop(future)
            self._asked.discard(lane)
            try:
                acting.append((lane, plain_action(future.result())))
            except BaseException as error:  # the boundary to agent code
                lane.blame_agent(error)
        return acting

    def cancel(self) -> None:
        for future in list(self._lanes):
            future.cancel()


class _Lane:
    """One episode in flight: the episode, its player, and what went wrong."""

    def __init__(self, job: Job, cast: Cast) -> None:
        self.job = job
        self.task = cast.tasks[job.task]
        self.failure: str | None = None
        self.failed = False
        self.episode: Episode | None = None
        self.seen: Observation | None = None
        self.player: Player | None = None
        self.started = time.perf_counter()
        self.seed = 0
        self.run_seed = cast.settings.seed
        self.secrets = cast.secrets
        try:
            sample = cast.sample(*job.place)
            self.episode = Episode(sample, profile=self.task.profile, rules=cast.rules_of(job.agent, job.task))
        except BaseException as error:  # a task's code or data: whatever is wrong is ours, and of this episode alone
            self.fail(error)
            return
        self.seed = player_seed(self.run_seed, sample.id, job.agent)
        spec = EpisodeSpec(
            task=job.task, split=job.split, level=job.level, kind=sample.target.kind, toolset=self.episode.toolset,
            max_turns=self.episode.rules.max_turns, seed=self.seed, privilege=cast.grant(job.agent, self.episode),
            conversation=Conversation(self.episode),
        )  # fmt: skip
        try:
            self.player = cast.agents[job.agent].start(spec)
        except UnsuitedError:
            raise  # this agent cannot play this task with these tools: a mistake in the settings, not a score
        except BaseException as error:  # the boundary to agent code
            self.blame_agent(error)

    @property
    def ended(self) -> bool:
        return self.failed or self.episode is None or self.episode.ended

    def fail(self, error: BaseException) -> None:
        """End the episode as our failure."""
        if stops_the_process(error):
            raise error
        self.failed = True
        self.failure = cut(say(error), 2000)
        if self.episode is not None:
            self.episode.fail(self.failure)

    def blame_agent(self, error: BaseException) -> None:
        """End the episode as the agent's error; one that an agent declares as infrastructure's is ours."""
        if isinstance(error, InfrastructureError) or stops_the_process(error):
            self.fail(error)
            return
        assert self.episode is not None
        full = isinstance(error, TokenLimitError)
        self.failure = None if full else cut(say(error), 2000)
        try:
            self.episode.stop(EndReason.TOKEN_LIMIT if full else EndReason.AGENT_ERROR)
        except BaseException as ours:  # a profile that cannot score "no answer" is a fault of ours
            self.fail(ours)

    def observe(self) -> Observation:
        """Return the observation that the next action answers."""
        assert self.episode is not None
        observation, self.seen = self.seen, None  # what the last turn gave is what is seen now
        return self.episode.observe() if observation is None else observation

    def record(self, images: ImageFiles | None) -> EpisodeRecord:
        """Return the record of the ended episode, its pictures stored."""
        seconds = time.perf_counter() - self.started
        if self.episode is not None and self.episode.reason is EndReason.INFRASTRUCTURE_ERROR:
            self.failed, self.failure = True, self.failure or self.episode.failure
        if self.episode is not None and self.failed == (self.episode.reason is EndReason.INFRASTRUCTURE_ERROR):
            try:
                return record_episode(
                    self.episode, self.job, self.task, seed=self.seed, failure=self.failure, seconds=seconds,
                    images=images, secrets=self.secrets, costs=_costs_of(self.player, self.job.spent),
                )  # fmt: skip
            except (TypeError, ValueError) as error:  # a row or reward that no JSON can hold: a fault of a task
                self.failure = cut(say(error), 2000)
        return failed_record(
            self.job, self.task, run_seed=self.run_seed, failure=redact(self.failure or "", self.secrets), seconds=seconds,
            sample=self.episode.sample if self.episode else None,
        )  # fmt: skip


def _ask_all(lanes: Sequence[_Lane], cast: Cast, replies: _Replies) -> list[tuple[_Lane, Any]]:
    """Ask for the next actions. Those of players that can wait come later, as replies."""
    by_agent: dict[str, list[_Lane]] = {}
    for lane in lanes:
        by_agent.setdefault(lane.job.agent, []).append(lane)
    acting: list[tuple[_Lane, Any]] = []
    for name, group in by_agent.items():
        agent = cast.agents[name]
        waits = getattr(agent, "act_batch", None) is None
        acting += _ask(agent, [lane for lane in group if not (waits and hasattr(lane.player, "aact"))])
        replies.ask([lane for lane in group if waits and hasattr(lane.player, "aact")])
    return acting


def _play_turn(acting: Sequence[tuple[_Lane, Any]], cast: Cast) -> None:
    works = [_guarded(lane.episode.play(action)) for lane, action in acting if lane.episode is not None]
    for (lane, _), outcome in zip(acting, drive_all(works, cast.experts), strict=True):
        if isinstance(outcome, BaseException):
            lane.fail(outcome)
        else:
            lane.seen = outcome.observation


def _ask(agent: Agent, lanes: list[_Lane]) -> list[tuple[_Lane, Any]]:
    """Ask for actions; whoever raises is out. A batch that raises is asked one by one: whose fault is it?"""
    observations = [lane.observe() for lane in lanes]
    players = [lane.player for lane in lanes]
    if len(lanes) > 1 and getattr(agent, "act_batch", None) is not None:
        try:
            actions = act_all(agent, players, observations)  # type: ignore[arg-type]  # a running lane has a player
            return [(lane, plain_action(action)) for lane, action in zip(lanes, actions, strict=True)]
        except BaseException as error:  # the boundary to agent code; the players are asked alone below
            if stops_the_process(error):
                raise
    asked = []
    for lane, player, observation in zip(lanes, players, observations, strict=True):
        try:
            (action,) = act_all(agent, [player], [observation])  # type: ignore[list-item]
            asked.append((lane, plain_action(action)))
        except BaseException as error:  # the boundary to agent code
            lane.blame_agent(error)
    return asked


def _costs_of(player: Player | None, before: Mapping[str, float]) -> dict[str, float]:
    """Return what a player says that it cost, and what earlier tries of its episode did."""
    costs = Counter(before)
    costs.update(costs_of(player))
    return dict(costs)


def _guarded(work: ExpertWork[Any]) -> Generator[Any, Any, Any]:
    """Run one piece of work such that an unexpected exception stays with it."""
    try:
        return (yield from work)
    except (
        Exception,
        SystemExit,
    ) as error:  # a bug in a tool, a profile or the core: this episode fails, the others go on
        return error
