"""What a run directory says: the settings in ``run.json``, and one record per finished episode in ``episodes.jsonl``.

Records are plain data. A score can be computed again from the submitted answer, the costs from the transcript, and
every picture that the agent saw can be drawn again from the objects and the geometry of the images.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from visenv.errors import BadValueError, short

from .safe_files import parse_json, printable, read_json

__all__ = [
    "AgentInfo",
    "Costs",
    "EpisodeRecord",
    "ImageRecord",
    "Key",
    "ObjectRecord",
    "RunInfo",
    "TaskInfo",
    "TurnRecord",
    "plain",
]

FORMAT: Literal[3] = 3
"""Of ``run.json`` and the records; a run of another format is neither continued nor read."""
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Key = tuple[str, str, str, int, int]
"""Agent, task, split, level and index: what makes an episode of a run."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ImageRecord:
    """One image of an episode: an original, or a view that a tool made of one."""

    hash: str
    """Of its content; the name of its file in ``images/`` when ``file`` is set."""
    size_wh: tuple[int, int]
    source: str
    """Name of the original it comes from; itself for an original."""
    to_source: tuple[float, float, float, float, float, float]
    """The 2x3 affine map of its pixels (edges) to those of the source, row by row."""
    origin: str
    """How it was made, in a few words."""
    parent: str
    """The image it was made from; empty for an original."""
    overlay: bool
    """A picture of results: its parent with the objects drawn in."""
    file: str | None
    """Its file in ``images/``; ``None`` when it was not stored and must be made again."""
    objects: tuple[int, ...] | None = None
    """What an overlay draws, as places in the record's ``objects``; ``None`` when it draws something else, or is none."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ObjectRecord:
    """One object as it was at some time, in pixels of a source image."""

    id: int
    image: str
    """Name of the source image."""
    label: str
    score: float
    box_xyxy: tuple[float, float, float, float]
    """Half-open."""
    mask: dict[str, Any] | None
    """COCO RLE, ``{"size": [height, width], "counts": text}``."""
    points: tuple[tuple[float, float, bool], ...]
    """Clicks so far, ``x, y, positive``."""


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
    visible: tuple[str, ...]
    """Names of all images in view after the turn; the others are in the archive."""
    objects: tuple[int, ...]
    """The objects after the turn, as places in the record's ``objects``."""
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
    """One finished episode. Two records are equal when all but ``attempts`` and ``measured`` is."""

    agent: str
    task: str
    task_version: str
    split: str
    level: int
    index: int
    sample_id: str
    prompt: str
    """SHA-256 of what a language model is told about the tools of this episode, in the agent's grammar."""
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
    """Fingerprint of the truth; empty when the sample could not be made, or nobody knows the truth."""
    profile: str
    """Name of the metric profile of ``row`` and ``score``; empty when nobody knows the truth."""
    row: dict[str, Any] | None
    """The score as integers and flags."""
    score: Annotated[float, Field(ge=0, le=1)] | None
    """The primary score in [0, 1]."""
    costs: Costs
    reward: float
    """Summed over the turns."""
    transcript: tuple[TurnRecord, ...]
    objects: tuple[ObjectRecord, ...]
    """Every state of every object, each once; turns and overlays say which they hold."""
    images: dict[str, ImageRecord]
    """Every image by name, originals first."""
    attempts: int = field(compare=False)
    """How often it was played before it was recorded: failures of ours are tried again."""
    measured: dict[str, float] = field(compare=False)
    """What differs from run to run: ``seconds`` (wall clock), ``peak_memory_mib`` (of the process so far), and what the
    player says that it cost, such as ``prompt_tokens``, ``completion_tokens`` and ``cost_usd``."""
    also: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The rows of the task's further profiles, by name; empty for a task without any, and for our failures."""

    @property
    def key(self) -> Key:
        """What the record is of."""
        return self.agent, self.task, self.split, self.level, self.index

    def to_json(self) -> str:
        """Return the record as one line; any text of an agent, half surrogates included, survives it.

        An empty ``also`` is left out, so that records from before there was one stay byte for byte as they are.
        """
        content = _content(self)
        if not self.also:
            del content["also"]
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_content)

    @classmethod
    def from_json(cls, line: str) -> EpisodeRecord:
        """Read :meth:`to_json`'s line.

        Raises:
            BadValueError: Not that form.
        """
        try:
            return cls(**parse_json(line))
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
    grammar: str
    """How it is read and spoken to where it writes text: the run's, or its model's own."""
    vision: str
    """How visual tokens are counted for it, and the size in which its model sees pictures."""
    identity: str = ""
    """What its model is, such as a name and a hash of weights, as far as the agent says it."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TaskInfo:
    """A task of a run."""

    name: str
    """Name with options, secrets left out; as in the records."""
    version: str
    split: str
    level: int
    num_samples: int
    """How many samples of it every agent is asked."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RunInfo:
    """``run.json``: everything that is needed to run it again. A run is continued only with an equal one."""

    versions: dict[str, str]
    """Version by distribution: visenv, what computes pixels and scores, and the packages of the plugins in use."""
    agents: tuple[AgentInfo, ...]
    tasks: tuple[TaskInfo, ...]
    toolset: str
    memory: str
    reward: str
    grammar: str
    """Of agents that have no other."""
    experts: str
    """As named on the command line."""
    expert_identities: dict[str, str]
    """Name, version and weights by capability."""
    limit: int | None
    samples: tuple[str, ...] | None
    """Chosen samples, by id or index; ``None``: ``limit`` of them, drawn by ``seed``."""
    seed: int
    max_turns: int | None
    """``None``: each task's own."""
    keep_images: int
    """For how many samples of each task every picture of every agent is stored."""
    format: Literal[3] = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``run.json``."""
        return dict(plain(dataclasses.asdict(self)))

    @classmethod
    def read(cls, run: Path) -> RunInfo:
        """Read a run directory's ``run.json``.

        Raises:
            BadValueError: There is none, it has another form, or names an agent or a task twice.
        """
        path = run / "run.json"
        try:
            content = read_json(path)
            if isinstance(content, dict) and content.get("format") != FORMAT:
                raise ValueError(
                    f"format {short(content.get('format'))}, not {FORMAT}: another version of visenv made it"
                )
            info = cls(**content)
            info.check_names()
            return info
        except FileNotFoundError:
            raise BadValueError(
                f"{str(run)!r} is no run directory: it has no run.json. Make one with `visenv bench --out {run}`."
            ) from None
        except (ValueError, TypeError, ValidationError, RecursionError) as error:
            why = printable(" ".join(str(error).splitlines()[:3]), 500)
            raise BadValueError(
                f"{str(path)!r} is not readable as the settings of a run ({why}). Expected what `visenv bench` of this "
                "version writes. Use another directory, or the version that made it."
            ) from error

    def check_names(self) -> None:
        """Check that each agent and each task is there once.

        Raises:
            BadValueError: One is there twice.
        """
        for what, names in (("agent", [a.name for a in self.agents]), ("task", [t.name for t in self.tasks])):
            name, times = next(iter(Counter(names).most_common(1)), ("", 1))
            if times > 1:
                raise BadValueError(f"the {what} {short(name)} is there {times} times. Expected each {what} once.")

    def differences(self, other: RunInfo) -> list[str]:
        """Say what is different in ``other``, as ``name: here -> there``."""
        found = []
        for name in self.to_dict():
            here, there = getattr(self, name), getattr(other, name)
            if isinstance(here, dict) and isinstance(there, dict):
                keys = [key for key in sorted({*here, *there}) if here.get(key) != there.get(key)]
                found += [f"{name}: {key} {_brief(here.get(key))} -> {_brief(there.get(key))}" for key in keys]
            elif here != there:
                found.append(f"{name}: {_brief(here)} -> {_brief(there)}")
        return found


def _content(value: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name. ``dataclasses.asdict`` copies all that they hold, and a record is written often."""
    if not dataclasses.is_dataclass(value):
        raise TypeError(f"a {type(value).__name__} is nothing that JSON can hold")
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


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


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_brief, value))
    if isinstance(value, AgentInfo):
        return value.name + (" (privileged)" if value.privileged else "")
    if isinstance(value, TaskInfo):
        return f"{value.name} {value.version} {value.split} level {value.level} ({value.num_samples} samples)"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    return "none" if value is None else str(value)
