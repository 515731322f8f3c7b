"""The runner: many episodes in flight, batched experts, one record each, safe to interrupt and to continue.

A record depends on the settings alone: not on the number of workers or lanes, on the order of episodes, or on how often
the run was interrupted. (An agent with ``act_batch`` must keep its side of that: equal answers whatever the batch.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from visenv.agent import Agent, EpisodeSpec, Player, act_all
from visenv.drivers import ExpertWork, drive_all
from visenv.episode import EndReason, Episode, Observation
from visenv.errors import BadValueError, InfrastructureError, TokenLimitError, UnsuitedError, bad_value
from visenv.task import Profile

from .cast import Cast, RunSettings
from .records import (
    Costs,
    EpisodeLog,
    EpisodeRecord,
    ImageFiles,
    Key,
    RunInfo,
    TurnRecord,
    latest,
    plain,
    read_records,
    redact,
    write_json,
)
from .sampling import choose_indices, player_seed
from .summary import Summary, summarise

__all__ = ["Job", "JobSource", "Reporter", "RunSettings", "plan", "play_episodes", "run_bench"]

MAX_TEXT = 100_000
"""Longest reply or message that is recorded; the rest is cut off and its length noted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One episode to play."""

    agent: str
    task: str
    split: str
    level: int
    index: int
    keep: bool
    """Store its pictures."""

    @property
    def key(self) -> Key:
        """What the episode's record will be of."""
        return self.agent, self.task, self.split, self.level, self.index

    @property
    def place(self) -> tuple[str, str, int, int]:
        """The sample, which several agents play."""
        return self.task, self.split, self.level, self.index


class JobSource(Protocol):
    """Where the lanes get their jobs."""

    def take(self, number: int, *, idle: bool) -> Sequence[Job]:
        """Return up to ``number`` jobs. None when ``idle`` (no episode is running) means that there are no more."""
        ...


class Reporter(Protocol):
    """Is told how a run goes."""

    def started(self, info: RunInfo, *, total: int, done: int) -> None:
        """The run begins: ``done`` of ``total`` episodes were recorded before."""
        ...

    def recorded(self, record: EpisodeRecord) -> None:
        """An episode was recorded."""
        ...


def plan(cast: Cast) -> list[Job]:
    """Return every episode of a run: sample by sample, so that the agents of one sample share the experts' answers."""
    jobs = []
    for info in cast.task_infos:
        where = f"{info.name}/{info.split}/{info.level}"
        size = cast.tasks[info.name].num_samples(info.split, info.level)
        indices = choose_indices(size, cast.settings.limit, seed=cast.settings.seed, where=where)
        jobs += [
            Job(
                agent=agent.name, task=info.name, split=info.split, level=info.level, index=index,
                keep=order < cast.settings.keep_images,
            )
            for order, index in enumerate(indices)
            for agent in cast.agent_infos
        ]  # fmt: skip
    return jobs


def run_bench(
    settings: RunSettings, out: str | Path, *, workers: int = 1, lanes: int = 16, reporter: Reporter | None = None
) -> Summary:
    """Run agents on tasks into a directory; called again with the same settings, go on where it stopped.

    Args:
        settings: What to run.
        out: The run directory; made if it is not there.
        workers: Processes that play; more than one needs names or picklable objects, and the caller's script guarded by
            ``if __name__ == "__main__"``.
        lanes: Episodes in flight in each process.
        reporter: Told about every record.

    Returns:
        The summary, which is also written.

    Raises:
        BadValueError: A setting is wrong, or the directory holds a run made with other settings.
        KeyboardInterrupt: As usual; everything finished is recorded.
    """
    for name, value in (("workers", workers), ("lanes", lanes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise bad_value(name, value, expected="an integer of at least 1")
    out = Path(out)
    cast = Cast(settings, with_agents=workers == 1)
    try:
        info = cast.info
        _check_claim(out, info)
        out.mkdir(parents=True, exist_ok=True)
        with EpisodeLog(out) as log:  # from here on nobody else writes
            _check_claim(out, info, locked=True)
            if not (out / "run.json").exists():
                write_json(out / "run.json", info.to_dict())
            records = latest(read_records(out))
            jobs = plan(cast)
            left = [j for j in jobs if (r := records.get(j.key)) is None or r.failed]
            if reporter is not None:
                reporter.started(info, total=len(jobs), done=len(jobs) - len(left))
            images = ImageFiles(out / "images")
            try:
                for record in _played(left, cast, workers=workers, lanes=lanes, images=images):
                    log.append(record)
                    if reporter is not None:
                        reporter.recorded(record)
            finally:
                profiles = {name: task.profile for name, task in cast.tasks.items()}
                summary = summarise(info, read_records(out), profiles)  # the file is what counts
                write_json(out / "summary.json", summary.to_dict())
        return summary
    finally:
        cast.close()


def play_episodes(
    jobs: Sequence[Job] | JobSource, cast: Cast, *, lanes: int = 16, images: ImageFiles | None = None
) -> Iterator[EpisodeRecord]:
    """Play episodes, ``lanes`` at a time, and give each one's record as it ends.

    Args:
        jobs: What to play.
        cast: Who plays it.
        lanes: Episodes in flight; their expert requests of one turn go out together.
        images: Where pictures are stored; ``None`` stores none.
    """
    source: JobSource = _Listed(jobs) if isinstance(jobs, Sequence) else jobs
    running: list[_Lane] = []
    while True:
        fresh = source.take(lanes - len(running), idle=not running) if len(running) < lanes else ()
        running += [_Lane(job, cast) for job in fresh]
        if not running:
            return
        _play_turn([lane for lane in running if not lane.ended], cast)
        for lane in running:
            if lane.ended:
                yield lane.record(images)
        running = [lane for lane in running if not lane.ended]


def _played(
    jobs: Sequence[Job], cast: Cast, *, workers: int, lanes: int, images: ImageFiles
) -> Iterator[EpisodeRecord]:
    if workers == 1 or not jobs:
        return play_episodes(jobs, cast, lanes=lanes, images=images)
    from .workers import play_in_workers

    return play_in_workers(jobs, cast.settings, workers=workers, lanes=lanes, images=images)


def _check_claim(out: Path, info: RunInfo, *, locked: bool = False) -> None:
    """Check that the run directory is new or was made with the same settings."""
    if (out / "run.json").exists():
        different = RunInfo.read(out).differences(info)
        if different:
            raise BadValueError(
                f"Run {str(out)!r} was made with other settings ({'; '.join(different)}). "
                "Use the same settings, or another directory."
            )
        return
    log = out / "episodes.jsonl"
    if out.exists() and (not out.is_dir() or (log.exists() and (not locked or log.stat().st_size))):
        raise bad_value("out", str(out), expected="a new directory, or one with the run.json of an earlier run")


class _Listed:
    """Jobs known beforehand."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = list(reversed(jobs))

    def take(self, number: int, *, idle: bool) -> Sequence[Job]:
        return [self._jobs.pop() for _ in range(min(number, len(self._jobs)))]


class _Lane:
    """One episode in flight: the episode, its player, and what went wrong."""

    def __init__(self, job: Job, cast: Cast) -> None:
        self.job = job
        self.task = cast.tasks[job.task]
        self.failure: str | None = None
        self.failed = False
        self.episode: Episode | None = None
        self.player: Player | None = None
        self.started = time.perf_counter()
        self.seed = 0
        try:
            sample = cast.sample(*job.place)
            self.episode = Episode(sample, profile=self.task.profile, rules=cast.rules[job.task])
        except Exception as error:  # a task's code or data: whatever is wrong is ours, and of this episode alone
            self.fail(error)
            return
        self.seed = player_seed(cast.settings.seed, sample.id, job.agent)
        spec = EpisodeSpec(
            task=job.task, split=job.split, level=job.level, kind=sample.target.kind, toolset=self.episode.toolset,
            max_turns=self.episode.rules.max_turns, seed=self.seed, privilege=cast.grant(job.agent, self.episode),
        )  # fmt: skip
        try:
            self.player = cast.agents[job.agent].start(spec)
        except UnsuitedError:
            raise  # this agent cannot play this task with these tools: a mistake in the settings, not a score
        except Exception as error:  # the boundary to agent code
            self.blame_agent(error)

    @property
    def ended(self) -> bool:
        return self.failed or self.episode is None or self.episode.ended

    def fail(self, error: BaseException) -> None:
        """End the episode as our failure."""
        self.failed = True
        self.failure = _words(error)
        if self.episode is not None:
            self.episode.fail(self.failure)

    def blame_agent(self, error: BaseException) -> None:
        """End the episode as the agent's error; one that an agent declares as infrastructure's is ours."""
        if isinstance(error, InfrastructureError):
            self.fail(error)
            return
        assert self.episode is not None
        full = isinstance(error, TokenLimitError)
        self.failure = None if full else _words(error)
        try:
            self.episode.stop(EndReason.TOKEN_LIMIT if full else EndReason.AGENT_ERROR)
        except Exception as ours:  # a profile that cannot score "no answer" is a fault of ours
            self.fail(ours)

    def record(self, images: ImageFiles | None) -> EpisodeRecord:
        """Return the record of the ended episode, its pictures stored."""
        try:
            return self._record(images)
        except (TypeError, ValueError) as error:  # a row or reward that no JSON can hold: a fault of a task or a reward
            self.fail(error)
            self.episode = None
            return self._record(images)

    def _record(self, images: ImageFiles | None) -> EpisodeRecord:
        job, episode, profile = self.job, self.episode, self.task.profile
        if episode is not None and episode.reason is EndReason.INFRASTRUCTURE_ERROR:
            self.failed, self.failure = True, self.failure or episode.failure
        scored = not self.failed
        sample = episode.sample if episode else None
        sample_id = sample.id if sample else f"{job.task}/{job.split}/{job.level}/{job.index}"
        record = EpisodeRecord(
            agent=job.agent, task=job.task, task_version=self.task.version, split=job.split, level=job.level,
            index=job.index, sample_id=sample_id, cluster=sample.cluster if sample else sample_id, seed=self.seed,
            reason=str(episode.reason) if episode and scored else EndReason.INFRASTRUCTURE_ERROR.value,
            failed=self.failed, failure=None if self.failure is None else _cut(self.failure),
            answer=plain(episode.answer.to_json()) if episode and scored and episode.answer else None,
            target=sample.target.fingerprint if sample else "", profile=profile.name,
            row=plain(episode.row) if episode and scored else None,
            score=_finite(episode.score, profile) if episode and scored else None,
            costs=_costs(episode), reward=sum(t.reward for t in episode.turns) if episode else 0.0,
            transcript=_transcript(episode),
            images=_store(episode, images) if episode and images and job.keep else {},
            timing={"seconds": round(time.perf_counter() - self.started, 4)},
        )  # fmt: skip
        record.to_json()  # what cannot be written is found here
        return record


def _play_turn(lanes: Sequence[_Lane], cast: Cast) -> None:
    by_agent: dict[str, list[_Lane]] = {}
    for lane in lanes:
        by_agent.setdefault(lane.job.agent, []).append(lane)
    acting: list[tuple[_Lane, Any]] = []
    for name, group in by_agent.items():
        acting += _ask(cast.agents[name], group)
    works = [_guarded(lane.episode.play(action)) for lane, action in acting if lane.episode is not None]
    for (lane, _), outcome in zip(acting, drive_all(works, cast.experts), strict=True):
        if isinstance(outcome, Exception):
            lane.fail(outcome)


def _ask(agent: Agent, lanes: list[_Lane]) -> list[tuple[_Lane, Any]]:
    """Ask for actions; whoever raises is out. A batch that raises is asked one by one: whose fault is it?"""
    observations: list[Observation] = []
    for lane in lanes:
        assert lane.episode is not None
        observations.append(lane.episode.observe())
    players = [lane.player for lane in lanes]
    if len(lanes) > 1 and getattr(agent, "act_batch", None) is not None:
        try:
            actions = act_all(agent, players, observations)  # type: ignore[arg-type]  # a running lane has a player
            return [(lane, _tame(action)) for lane, action in zip(lanes, actions, strict=True)]
        except Exception:  # the boundary to agent code; the players are asked alone below
            pass
    asked = []
    for lane, player, observation in zip(lanes, players, observations, strict=True):
        try:
            (action,) = act_all(agent, [player], [observation])  # type: ignore[list-item]
            asked.append((lane, _tame(action)))
        except Exception as error:  # the boundary to agent code
            lane.blame_agent(error)
    return asked


def _tame(action: Any) -> Any:
    """Return an action that is plain data; anything else is left for the episode to refuse, by its type's name."""
    if action is None or isinstance(action, (str, bool, int, float, list, tuple)):
        return action
    return dict(action) if isinstance(action, Mapping) else f"an object of type {type(action).__name__}"


def _guarded(work: ExpertWork[Any]) -> Generator[Any, Any, Any]:
    """Run one piece of work such that an unexpected exception stays with it."""
    try:
        return (yield from work)
    except Exception as error:  # a bug in a tool, a profile or the core: this episode fails, the others go on
        return error


def _words(error: BaseException) -> str:
    return _cut(redact(f"{type(error).__name__}: {error}"), 2000)


def _cut(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit} more characters]"


def _finite(score: float | None, profile: Profile) -> float:
    if score is None or not math.isfinite(score):
        raise bad_value(f"score by {profile.name}", score, expected="a finite number")
    return float(score)


def _costs(episode: Episode | None) -> Costs:
    turns = episode.turns if episode else []
    final = {t.name for t in episode.toolset.tools if t.answers is not None} if episode else set()
    return Costs(
        turns=len(turns),
        tool_calls=sum(t.call is not None and t.call["name"] not in final for t in turns),
        invalid_calls=sum(t.error is not None for t in turns),
        visual_tokens=sum(t.visual_tokens for t in turns),
        max_visual_tokens=max((t.visual_tokens for t in turns), default=0),
    )


def _transcript(episode: Episode | None) -> tuple[TurnRecord, ...]:
    return tuple(
        TurnRecord(
            reply=None if t.reply is None else _cut(t.reply), call=plain(t.call), error=t.error,
            feedback=_cut(t.feedback), shown=t.shown, reward=t.reward, terms=plain(dict(t.terms)),
            visual_tokens=t.visual_tokens,
        )
        for t in (episode.turns if episode else ())
    )  # fmt: skip


def _store(episode: Episode, images: ImageFiles) -> dict[str, str]:
    names = [*episode.sources, *(name for t in episode.turns for name in t.shown)]
    return {name: images.put(episode.memory.images[name].image) for name in dict.fromkeys(names)}
