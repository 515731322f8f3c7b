"""What a run directory holds: ``run.json``, ``episodes.jsonl``, ``images/`` and ``summary.json``.

One record per finished episode is appended, flushed and synced before the next one is counted, so a crash loses at most
the episodes that were being played. When an episode is played again after a failure of ours, the later record counts.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import field
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from visenv.errors import BadValueError, VisenvError, bad_value, short
from visenv.images import Image

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "AgentInfo",
    "Costs",
    "EpisodeLog",
    "EpisodeRecord",
    "ImageFiles",
    "Key",
    "RunInfo",
    "TaskInfo",
    "TurnRecord",
    "latest",
    "read_records",
    "redact",
    "write_json",
]

STRICT = ConfigDict(extra="forbid")
SECRET = re.compile(
    r"(?i)\b(?!(?:max|min|num|stop)_?\w*tokens?\b)([\w-]*(?:api[_-]?key|secret|token(?!s\b)|passw(?:or)?d|\bkey\b|\bauth)[\w-]*)"
    r"=(?:Bearer\s+)?[^,\s'\"]+"
)
"""Options whose values are secrets, by name; ``max_tokens`` and its like are not."""

Key = tuple[str, str, str, int, int]
"""Agent, task, split, level and index: what makes an episode of a run."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TurnRecord:
    """One turn of the transcript, as :class:`visenv.episode.Turn` has it."""

    reply: str | None
    """The agent's raw text, if it acted by text."""
    call: dict[str, Any] | None
    """The call in canonical form; ``None`` when there was no valid one."""
    error: str | None
    """Class of the agent's mistake."""
    feedback: str
    """What the agent was told."""
    shown: tuple[str, ...]
    """Names of the images put before the agent."""
    reward: float
    terms: dict[str, float]
    """The reward's parts."""
    visual_tokens: int
    """Visual tokens of the prompt that led to this turn."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Costs:
    """What an episode cost."""

    turns: int
    tool_calls: int
    """Valid calls that were not final."""
    invalid_calls: int
    visual_tokens: int
    """Summed over the prompts of all turns."""
    max_visual_tokens: int
    """Of the largest prompt."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class EpisodeRecord:
    """One finished episode. Two records are equal when all but ``timing`` is."""

    agent: str
    task: str
    task_version: str
    split: str
    level: int
    index: int
    sample_id: str
    cluster: str
    """Samples of one cluster are not independent of each other."""
    seed: int
    """The player's seed."""
    reason: str
    """Why the episode ended, one of :class:`visenv.episode.EndReason`."""
    failed: bool
    """Our failure: no score, not in any mean, played again on resume."""
    failure: str | None
    """What failed, ours or (reason ``agent_error``) the agent's."""
    answer: dict[str, Any] | None
    """The submitted answer itself."""
    target: str
    """Fingerprint of the truth; empty when the sample could not be made."""
    profile: str
    """Name of the metric profile of ``row`` and ``score``."""
    row: dict[str, Any] | None
    """The score as integers and flags."""
    score: float | None
    """The primary score in [0, 1]."""
    costs: Costs
    reward: float
    """Summed over the turns."""
    transcript: tuple[TurnRecord, ...]
    images: dict[str, str]
    """Content hash by name, of the pictures that were stored."""
    timing: dict[str, float] = field(compare=False)
    """Wall-clock seconds: the only content that differs from run to run."""

    @property
    def key(self) -> Key:
        """What the record is of."""
        return self.agent, self.task, self.split, self.level, self.index

    def to_json(self) -> str:
        """Return the record as one line; any text of an agent, half surrogates included, survives it."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> EpisodeRecord:
        """Read :meth:`to_json`'s line.

        Raises:
            BadValueError: Not that form.
        """
        try:
            data = json.loads(line)
            return cls(**data)
        except (ValueError, TypeError, ValidationError, RecursionError) as error:
            why = str(error).splitlines()[:3]
            raise BadValueError(
                f"Not an episode record: {short(line)}. Expected one JSON object of a finished episode "
                f"({' '.join(why)}). Records of another visenv version need that version."
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class AgentInfo:
    """An agent of a run."""

    name: str
    """Name with options, secrets left out; as in the records."""
    privileged: bool = False
    """Whether it knew the truth."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TaskInfo:
    """A task of a run."""

    name: str
    version: str
    split: str
    level: int
    num_samples: int
    """How many samples of it every agent is asked."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RunInfo:
    """``run.json``: everything that is needed to run it again. A run is continued only with an equal one."""

    visenv: str
    """Version of the package."""
    agents: tuple[AgentInfo, ...]
    tasks: tuple[TaskInfo, ...]
    toolset: str
    memory: str
    reward: str
    grammar: str
    experts: str
    """As named on the command line."""
    expert_identities: dict[str, str]
    """Name, version and weights by capability."""
    limit: int | None
    seed: int
    max_turns: int | None
    """``None``: each task's own."""
    keep_images: int
    """For how many samples of each task the pictures of every agent are stored."""
    format: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``run.json``."""
        return dict(plain(dataclasses.asdict(self)))

    @classmethod
    def read(cls, run: Path) -> RunInfo:
        """Read a run directory's ``run.json``.

        Raises:
            BadValueError: There is none, or it has another form.
        """
        path = run / "run.json"
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise BadValueError(
                f"{str(run)!r} is no run directory: it has no run.json. Make one with `visenv bench --out {run}`."
            ) from None
        except (ValueError, TypeError, ValidationError) as error:
            why = " ".join(str(error).splitlines()[:3])
            raise BadValueError(
                f"{str(path)!r} is not readable as the settings of a run ({why}). Expected what `visenv bench` of this "
                "version writes. Use another directory."
            ) from error

    def differences(self, other: RunInfo) -> list[str]:
        """Say what is different in ``other``, as ``name: here -> there``."""
        found = []
        for name in self.to_dict():
            here, there = getattr(self, name), getattr(other, name)
            if here != there:
                found.append(f"{name}: {_brief(here)} -> {_brief(there)}")
        return found


class EpisodeLog:
    """Appends records to ``episodes.jsonl``, each safe on disk before :meth:`append` returns.

    Opening drops a torn last line, as a crash leaves it, and refuses a directory that another run is writing to.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / "episodes.jsonl"
        self._file: IO[bytes] = self.path.open("a+b", buffering=0)
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise VisenvError(
                    f"Another visenv process is writing to {str(run)!r}. Expected one run per directory. "
                    "Wait for it, or use another directory."
                ) from None
        self._drop_torn_line()

    def append(self, record: EpisodeRecord) -> None:
        """Write one record and sync it."""
        line = record.to_json().encode("ascii") + b"\n"
        while line:
            line = line[self._file.write(line) :]
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._file.close()

    def __enter__(self) -> EpisodeLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop_torn_line(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        end = size
        while end:  # look back for the last line end, a block at a time
            start = max(0, end - 65536)
            self._file.seek(start)
            found = self._file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != size:
            self._file.truncate(end)
            os.fsync(self._file.fileno())


class ImageFiles:
    """Pictures as ``<hash>.png`` in one folder, each content written once and atomically."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, content_hash: str) -> Path:
        """Where the picture of this hash lies.

        Raises:
            BadValueError: Not a hash; it never leads out of the folder.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", content_hash):
            raise bad_value("content_hash", content_hash, expected="64 hexadecimal digits")
        return self.folder / f"{content_hash}.png"

    def put(self, image: Image) -> str:
        """Store a picture and return its hash."""
        path = self.path(image.hash)
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, image.to_png())
        return image.hash


def read_records(run: Path) -> list[EpisodeRecord]:
    """Read every record of a run directory, in the order of writing; a torn last line is left out.

    Raises:
        BadValueError: A line is not a record.
    """
    path = run / "episodes.jsonl"
    if not path.exists():
        return []
    return list(_records(path))


def _records(path: Path) -> Iterator[EpisodeRecord]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield EpisodeRecord.from_json(line.decode("utf-8"))
            except ValueError as error:  # BadValueError and UnicodeDecodeError
                raise BadValueError(f"{path}, line {number}: {error}") from error


def latest(records: Iterable[EpisodeRecord]) -> dict[Key, EpisodeRecord]:
    """Return the last record of each episode that was not a failure, or its last failure."""
    kept: dict[Key, EpisodeRecord] = {}
    for record in records:
        known = kept.get(record.key)
        if known is None or known.failed or not record.failed:
            kept[record.key] = record
    return kept


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically, readable by people."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode("ascii"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there in full or not at all, whatever happens meanwhile."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def plain(value: Any) -> Any:
    """Return a value as JSON gives it back: dicts with text keys, lists, and Python's own numbers."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    return value


def redact(text: str) -> str:
    """Return a spec or a command without the values of options that are secrets.

    Example:
        >>> redact("zero-shot:model=a,api_key=abc,max_tokens=9")
        'zero-shot:model=a,api_key=***,max_tokens=9'
    """
    text = re.sub(r"(?i)(\w+://)[^/@\s]+:[^/@\s]+@", r"\1***@", text)
    return SECRET.sub(r"\1=***", text)


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_brief, value))
    if isinstance(value, AgentInfo):
        return value.name + (" (privileged)" if value.privileged else "")
    if isinstance(value, TaskInfo):
        return f"{value.name} {value.version} {value.split} level {value.level} ({value.num_samples} samples)"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    return str(value)
