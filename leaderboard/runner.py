"""The runner: plans a run, plays what is left of it, and keeps one record of each episode, safe to interrupt.

A record depends on the settings alone: not on the number of workers or lanes, on the order of episodes, or on how often
the run was interrupted. (An agent with ``act_batch`` must keep its side of that: equal answers whatever the batch.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from visenv.errors import BadValueError, bad_value

from .cast import Cast, RunSettings
from .collector import sparing_the_collector
from .job import Job
from .lanes import Patience, check_suited, play_episodes
from .records import EpisodeRecord, RunInfo
from .rundir import (
    PARTIAL,
    EpisodeLog,
    ImageFiles,
    StorageError,
    drop_partial_files,
    iterate_records,
    read_states,
    storing,
    write_json,
)
from .sampling import indices_of
from .summary import Summary, digest_of, slim, summarise

__all__ = ["Plan", "Reporter", "jobs_of", "plan_bench", "run_bench"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run asks and what of it is left to do."""

    info: RunInfo
    jobs: tuple[Job, ...]
    """Every episode of the run."""
    left: tuple[Job, ...]
    """Those without a score so far."""
    max_turns: int
    """Turns that those take at most."""


class Reporter(Protocol):
    """Is told how a run goes."""

    def started(self, plan: Plan) -> None:
        """The run begins."""
        ...

    def recorded(self, record: EpisodeRecord) -> None:
        """An episode was recorded."""
        ...


def jobs_of(cast: Cast) -> tuple[Job, ...]:
    """Return every episode of a run: sample by sample, so that the agents of one sample share the experts' answers."""
    jobs = []
    for info in cast.task_infos:
        size = cast.tasks[info.name].num_samples(info.split, info.level)
        indices = indices_of(
            info.name, info.split, info.level, size=size, samples=cast.settings.samples, limit=cast.settings.limit,
            seed=cast.settings.seed,
        )  # fmt: skip
        jobs += [
            Job(
                agent=agent.name, task=info.name, split=info.split, level=info.level, index=index,
                keep=order < cast.settings.keep_images,
            )
            for order, index in enumerate(indices)
            for agent in cast.agent_infos
        ]  # fmt: skip
    return tuple(jobs)


def plan_bench(settings: RunSettings, out: str | Path) -> Plan:
    """Say what :func:`run_bench` would do, and do nothing.

    Raises:
        BadValueError: As :func:`run_bench`.
    """
    cast = Cast(settings)
    try:
        _check_claim(Path(out), cast.info)
        check_suited(jobs_of(cast), cast)
        return _plan(cast, Path(out))
    finally:
        cast.close()


def run_bench(
    settings: RunSettings,
    out: str | Path,
    *,
    workers: int = 1,
    lanes: int = 16,
    patience: Patience = Patience(),  # noqa: B008 - frozen
    reporter: Reporter | None = None,
) -> Summary:
    """Run agents on tasks into a directory; called again with the same settings, go on where it stopped.

    Args:
        settings: What to run.
        out: The run directory; made if it is not there.
        workers: Processes that play; more than one needs names or picklable objects, and the caller's script guarded by
            ``if __name__ == "__main__"``.
        lanes: Episodes in flight in each process; as many as the agents want, if that is more.
        patience: With failures of ours, which are played again a few times before they are recorded.
        reporter: Told about every record.

    Returns:
        The summary, which is also written.

    Raises:
        BadValueError: A setting is wrong, or the directory holds a run made with other settings.
        StorageError: Something cannot be written; everything recorded before is safe.
        KeyboardInterrupt: As usual; everything finished is recorded.
    """
    for name, value in (("workers", workers), ("lanes", lanes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise bad_value(name, value, expected="an integer of at least 1")
    out = Path(out)
    cast = Cast(settings)
    try:
        info = cast.info
        _check_claim(out, info)
        check_suited(jobs_of(cast), cast)
        lanes = max(lanes, -(-cast.in_flight // workers))
        if workers > 1:
            cast.close_agents()  # each process makes its own
        with storing(out):
            out.mkdir(parents=True, exist_ok=True)
        with EpisodeLog(out) as log:  # from here on nobody else writes
            _check_claim(out, info)
            drop_partial_files(out)
            if not (out / "run.json").exists():
                write_json(out / "run.json", info.to_dict())
            plan = _plan(cast, out)
            if reporter is not None:
                reporter.started(plan)
            images = ImageFiles(out / "images")
            try:
                with sparing_the_collector():
                    for record in _played(
                        plan.left, cast, workers=workers, lanes=lanes, images=images, patience=patience
                    ):
                        log.append(record)
                        if reporter is not None:
                            reporter.recorded(record)
            except BaseException:
                with contextlib.suppress(StorageError):  # what went wrong first is what a person must hear
                    _summarise(cast, out)
                raise
            return _summarise(cast, out)
    finally:
        cast.close()


def _plan(cast: Cast, out: Path) -> Plan:
    scored = read_states(out)
    jobs = jobs_of(cast)
    left = tuple(j for j in jobs if not scored.get(j.key))
    return Plan(info=cast.info, jobs=jobs, left=left, max_turns=sum(cast.rules[j.task].max_turns for j in left))


def _summarise(cast: Cast, out: Path) -> Summary:
    records = (slim(record) for record in iterate_records(out))  # the file is what counts
    summary = summarise(cast.info, records, cast.profiles, digest=digest_of(out))
    write_json(out / "summary.json", summary.to_dict())
    return summary


def _played(
    jobs: tuple[Job, ...], cast: Cast, *, workers: int, lanes: int, images: ImageFiles, patience: Patience
) -> Iterator[EpisodeRecord]:
    if workers == 1 or not jobs:
        return play_episodes(jobs, cast, lanes=lanes, images=images, patience=patience)
    from .workers import play_in_workers

    return play_in_workers(jobs, cast, workers=workers, lanes=lanes, images=images, patience=patience)


def _check_claim(out: Path, info: RunInfo) -> None:
    """Check that the run directory is new or was made with the same settings."""
    if (out / "run.json").exists():
        different = RunInfo.read(out).differences(info)
        if different:
            raise BadValueError(
                f"Run {str(out)!r} was made with other settings ({'; '.join(different)}). "
                "Use the same settings, or another directory."
            )
        return
    if out.exists() and not (out.is_dir() and all(map(_begun, out.iterdir()))):
        raise bad_value(
            "out", str(out), expected="a new or empty directory, or one with the run.json of an earlier run"
        )


def _begun(path: Path) -> bool:
    """Whether a file is what a run leaves that was killed before it wrote its settings."""
    return path.name.endswith(PARTIAL) or (path.name == "episodes.jsonl" and not path.stat().st_size)
