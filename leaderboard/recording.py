"""From a played episode to its record."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from visenv.episode import EndReason, Episode
from visenv.errors import BadValueError, bad_value, say, stops_the_process
from visenv.images import Image
from visenv.memory import NamedImage
from visenv.objects import DetectedObject
from visenv.redaction import hide_values, redact
from visenv.specs import name_of
from visenv.task import Profile, Row, Sample, Task, profiles_of

from .job import Job
from .records import Costs, EpisodeRecord, ImageRecord, ObjectRecord, TurnRecord, plain
from .sampling import player_seed

try:
    import resource
except ImportError:  # pragma: no cover - not on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["PictureFiles", "costs_of", "cut", "failed_record", "hidden", "record_episode"]

MAX_TEXT = 100_000
"""Longest reply or message that is recorded; the rest is cut off and its length noted."""


class PictureFiles(Protocol):
    """Where pictures are stored: each content once, under a name that it returns."""

    def put(self, image: Image) -> str:
        """Store a picture."""
        ...

    def link(self, image: Image, file: Path) -> str:
        """Store a picture that was read from a file."""
        ...


def record_episode(
    episode: Episode,
    job: Job,
    task: Task | None,
    *,
    seed: int,
    failure: str | None,
    seconds: float,
    images: PictureFiles | None,
    secrets: Sequence[str] = (),
    costs: Mapping[str, float] = MappingProxyType({}),
) -> EpisodeRecord:
    """Return the record of an ended episode, its pictures stored.

    Args:
        episode: Ended.
        job: What it was played for.
        task: Of the sample; ``None`` for a question of somebody's own, whose answer nobody scores.
        seed: The player's.
        failure: What failed, ours or the agent's.
        seconds: Wall-clock time it took.
        images: Where pictures are stored; ``None`` stores none.
        secrets: Left out of everything that an agent, an expert or a failure said.
        costs: What the player says that it cost, by name.

    Raises:
        ValueError: The task's score, row or reward is nothing that a record can hold, or a further profile cannot score.
        StorageError: A picture cannot be written.
    """
    failed = episode.reason is EndReason.INFRASTRUCTURE_ERROR
    sample, scored = episode.sample, None if failed or task is None else task
    objects = _Objects(secrets)
    answer = None if failed or episode.answer is None else plain(episode.answer.to_json())
    transcript = tuple(
        TurnRecord(
            reply=None if t.reply is None else cut(hide_values(t.reply, secrets)),
            call=hidden(plain(t.call), secrets), error=t.error, feedback=cut(hide_values(t.feedback, secrets)),
            shown=t.shown, visible=t.visible, objects=tuple(objects.place(o) for o in t.objects), reward=t.reward,
            terms=plain(dict(t.terms)), visual_tokens=t.visual_tokens,
        )
        for t in episode.turns
    )  # fmt: skip
    also = {} if scored is None else _rows_beside(scored, episode)
    pictures = _images(episode, images, objects, every=job.keep)  # after the turns: overlays draw objects of theirs
    record = EpisodeRecord(
        agent=job.agent, task=job.task, task_version=task.version if task else "", split=job.split,
        level=job.level, index=job.index, sample_id=sample.id, prompt=episode.rules.grammar.prompt_hash(episode.toolset), cluster=sample.cluster, seed=seed,
        reason=str(episode.reason), failed=failed,
        failure=None if failure is None else cut(redact(failure, secrets)), answer=hidden(answer, secrets),
        target=sample.target.fingerprint if sample.target.known else "", profile=task.profile.name if task else "",
        row=None if scored is None else plain(episode.row),
        score=None if scored is None else _finite(episode.score, scored.profile), costs=costs_of(transcript, episode.reason),
        reward=math.fsum(t.reward for t in transcript), transcript=transcript, objects=tuple(objects.records),
        images=pictures, attempts=job.attempt, measured={**costs, **_measured(seconds)}, also=also,
    )  # fmt: skip
    record.to_json()  # what cannot be written is found here
    return record


def failed_record(
    job: Job, task: Task, *, run_seed: int, failure: str, seconds: float, sample: Sample | None = None
) -> EpisodeRecord:
    """Return the record of an episode that failed for our reasons before it could begin, or with its process."""
    sample_id = sample.id if sample else f"{name_of(job.task)}/{job.split}/{job.level}/{job.index}"
    return EpisodeRecord(
        agent=job.agent, task=job.task, task_version=task.version, split=job.split, level=job.level, index=job.index,
        sample_id=sample_id, prompt="", cluster=sample.cluster if sample else sample_id,
        seed=player_seed(run_seed, sample_id, job.agent), reason=EndReason.INFRASTRUCTURE_ERROR.value, failed=True,
        failure=cut(failure), answer=None, target="", profile=task.profile.name, row=None, score=None,
        costs=costs_of((), EndReason.INFRASTRUCTURE_ERROR), reward=0.0, transcript=(), objects=(), images={},
        attempts=job.attempt, measured=_measured(seconds),
    )  # fmt: skip


def costs_of(transcript: tuple[TurnRecord, ...], reason: str | None) -> Costs:
    """Return what an episode cost; its transcript and the reason of its end say it all."""
    valid = sum(t.call is not None for t in transcript)
    return Costs(
        turns=len(transcript),
        tool_calls=valid - (reason == EndReason.SUBMITTED),  # the last one submitted
        invalid_calls=sum(t.error is not None for t in transcript),
        visual_tokens=sum(t.visual_tokens for t in transcript),
        max_visual_tokens=max((t.visual_tokens for t in transcript), default=0),
    )


def hidden(value: Any, secrets: Sequence[str]) -> Any:
    """Return JSON data with the secrets left out of its texts; names of keys and numbers stay."""
    if not secrets:
        return value
    if isinstance(value, str):
        return hide_values(value, secrets)
    if isinstance(value, list):
        return [hidden(v, secrets) for v in value]
    return {k: hidden(v, secrets) for k, v in value.items()} if isinstance(value, dict) else value


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Return a text of at most ``limit`` characters and a note on what is missing."""
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit} more characters]"


class _Objects:
    """Gives every state of an object a place, once."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self.records: list[ObjectRecord] = []
        self.secrets = secrets
        self._places: dict[int, int] = {}  # by identity: the episode holds the objects meanwhile
        self._known: dict[int, list[DetectedObject]] = {}  # by their id

    def drawn(self, objects: Sequence[DetectedObject]) -> tuple[int, ...]:
        """Return the places of what an overlay draws: an equal object of a turn has the same."""
        return tuple(self.place(next((known for known in self._known.get(o.id, ()) if known == o), o)) for o in objects)

    def place(self, obj: DetectedObject) -> int:
        if id(obj) not in self._places:
            self._places[id(obj)] = len(self.records)
            self._known.setdefault(obj.id, []).append(obj)
            points = zip(obj.points_xy, obj.points_positive, strict=True)
            self.records.append(
                ObjectRecord(
                    id=obj.id, image=obj.image, label=hide_values(obj.label, self.secrets), score=float(obj.score),
                    box_xyxy=tuple(map(float, obj.box_xyxy)),  # type: ignore[arg-type]  # a box has four numbers
                    mask=None if obj.mask is None else obj.mask.to_json(),
                    points=tuple((float(x), float(y), bool(positive)) for (x, y), positive in points),
                )
            )  # fmt: skip
        return self._places[id(obj)]


def _images(episode: Episode, images: PictureFiles | None, objects: _Objects, *, every: bool) -> dict[str, ImageRecord]:
    files: Mapping[str, Path | None] = dict(zip(episode.sources, episode.sample.files, strict=False))
    return {
        name: ImageRecord(
            hash=named.image.hash, size_wh=named.size_wh, source=named.source,
            to_source=tuple(map(float, named.to_source.ravel())),  # type: ignore[arg-type]  # a 2x3 matrix
            origin=hide_values(named.origin, objects.secrets), parent=named.parent, overlay=named.is_overlay,
            file=None if images is None else _store(named, files.get(name), images, every=every),
            objects=None if named.objects is None else objects.drawn(named.objects),
        )
        for name, named in episode.memory.images.items()
    }  # fmt: skip


def _store(named: NamedImage, file: Path | None, images: PictureFiles, *, every: bool) -> str | None:
    """Store a picture: one that lies on a disk is linked, which costs nothing; others if ``every`` one is asked."""
    if file is not None:
        return images.link(named.image, file)
    return images.put(named.image) if every else None


def _measured(seconds: float) -> dict[str, float]:
    found = {"seconds": round(seconds, 4)}
    if resource is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        found["peak_memory_mib"] = round(peak, 1)
    return found


def _rows_beside(task: Task, episode: Episode) -> dict[str, Row]:
    """Score the final answer by the task's further profiles. That they do it here keeps it out of every step.

    Raises:
        BadValueError: One of them cannot.
    """
    rows: dict[str, Row] = {}
    for profile in profiles_of(task)[1:]:
        try:
            rows[profile.name] = plain(profile.row(episode.sample.target, episode.answer))
        except BaseException as error:  # a task's code: its episode fails, as with the profile that makes the score
            if stops_the_process(error):
                raise
            raise BadValueError(
                f"The profile {profile.name!r} of {task.name} cannot score an answer ({say(error)}). Expected a row for "
                "whatever may be submitted. Check it with visenv.testing.check_task."
            ) from error
    return rows


def _finite(score: float | None, profile: Profile) -> float:
    if score is None or not math.isfinite(score):
        raise bad_value(f"score by {profile.name}", score, expected="a finite number")
    return float(score)
