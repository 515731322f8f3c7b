"""One attempt at one sample: the only implementation of it. Environments, runners and trainers are projections of this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from .answers import Answer
from .context import ToolContext
from .coordinates import Coordinates
from .drivers import ExpertWork
from .errors import InfrastructureError, VisenvError, bad_value, short
from .grammars import Grammar, ParseError, make_grammar
from .images import ImageStore
from .memory import MemoryPolicy, NamedImage, VisualMemory, make_policy
from .objects import DetectedObject
from .rewards import Reward, StepFacts, make_reward
from .task import Profile, Row, Sample
from .tools import CallError, NewImage, ToolCall, ToolResult, Toolset, check_call
from .vision import ESTIMATE, Vision

__all__ = ["EndReason", "Episode", "Observation", "Rules", "StepOutcome", "Turn"]

Observation = dict[str, Any]
"""The Gymnasium observation; see :class:`visenv.env.VisenvEnv` for its keys."""

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
IMAGES = ImageStore()
"""Pictures of every episode of the process, each content once."""
MAX_ORIGIN = 400
"""Longest description of how an image was made."""


class EndReason(StrEnum):
    """Why an episode ended. Exactly one applies."""

    SUBMITTED = "submitted"
    """The agent submitted an answer."""
    TURN_LIMIT = "turn_limit"
    """The turns ran out."""
    TOKEN_LIMIT = "token_limit"
    """The agent's context ran out; the agent said so."""
    AGENT_ERROR = "agent_error"
    """Too many invalid calls, or the agent itself failed."""
    INFRASTRUCTURE_ERROR = "infrastructure_error"
    """Our failure. The episode has no score."""

    @property
    def terminates(self) -> bool:
        """Whether Gymnasium calls this end terminated (else truncated)."""
        return self in (EndReason.SUBMITTED, EndReason.AGENT_ERROR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What is fixed for an episode besides its sample."""

    toolset: Toolset
    memory: MemoryPolicy = field(default_factory=lambda: make_policy("archive"))
    reward: Reward = field(default_factory=lambda: make_reward("primary"))
    grammar: Grammar = field(default_factory=lambda: make_grammar("hermes"))
    vision: Vision = ESTIMATE
    """How the agent's model takes pictures in."""
    max_turns: int = 12
    max_invalid_calls: int = 5
    """The invalid call after which the episode ends as ``agent_error``."""

    def __post_init__(self) -> None:
        for name in ("max_turns", "max_invalid_calls"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise bad_value(name, value, expected="an integer of at least 1")

    @property
    def coordinates(self) -> Coordinates:
        """How places are written."""
        return self.grammar.coordinates.seen_by(self.vision)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What happened in one turn."""

    number: int
    """From 1."""
    reply: str | None
    """The raw text of the agent, when it acted by text; also an invalid action of another form, written out and cut."""
    call: ToolCall | None
    """The call in canonical form; ``None`` when there was no valid one."""
    error: str | None
    """Class of the mistake, if there was one."""
    feedback: str
    """What the agent was told."""
    shown: tuple[str, ...]
    """Names of the images put before the agent."""
    visible: tuple[str, ...]
    """Names of all images in view after the turn."""
    objects: tuple[DetectedObject, ...]
    """The objects after the turn."""
    reward: float
    terms: Mapping[str, float]
    visual_tokens: int
    """Visual tokens of the prompt that led to this turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOutcome:
    """What a step gave, as Gymnasium has it. ``failed`` marks an infrastructure failure."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    failed: bool = False


class Episode:
    """One attempt at one sample.

    ``play`` is a generator of expert requests (see :mod:`visenv.drivers`); everything else is immediate. Nothing in an
    observation depends on time, on the process, or on what other episodes do.
    """

    def __init__(self, sample: Sample, *, profile: Profile | None, rules: Rules) -> None:
        """Begin.

        Args:
            sample: What is asked.
            profile: How the answer is scored; ``None`` where nobody knows the truth: there is no score then, and no reward.
            rules: What is fixed besides.

        Raises:
            BadValueError: A profile without a truth, or a truth without a profile.
        """
        if sample.target.known != (profile is not None):
            raise bad_value("profile", profile, expected="one where the truth of the sample is known, and only there")
        self.sample = sample
        self.profile = profile
        self.rules = rules
        self.toolset = rules.toolset.for_answers(sample.target.kind)
        self.memory = VisualMemory(rules.memory, rules.vision)
        self.objects: tuple[DetectedObject, ...] = ()
        self.history: list[tuple[DetectedObject, ...]] = []
        self.turns: list[Turn] = []
        self.reason: EndReason | None = None
        self.failure: str | None = None
        self.answer: Answer | None = None
        self.row: Row | None = None
        self.score: float | None = None
        self._state: Mapping[str, Any] = {}
        self._next_object_id = 0
        self._invalid = 0
        self._tools_used = 0
        self._progress = self._best = 0.0
        for index, image in enumerate(sample.images):
            name = f"img_{index}"
            self.memory.add(
                NamedImage(name=name, image=IMAGES.intern(image), source=name, to_source=IDENTITY, origin="given")
            )
        self.sources = tuple(self.memory.images)
        self.memory.show(self.sources)
        self._feedback = self.opening

    @property
    def opening(self) -> str:
        """What the agent is told at the start: the images and their sizes."""
        context = self._context()
        sizes = "; ".join(f"{name}: {context.write_size(self.memory.images[name].size_wh)}" for name in self.sources)
        return f"{len(self.sources)} image{'s' if len(self.sources) > 1 else ''}. {sizes}."

    @cached_property
    def system_prompt(self) -> str:
        """What a language model is told about the tools and how to call them."""
        return self.rules.grammar.system_prompt(self.toolset)

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return self.reason is not None

    def observe(self) -> Observation:
        """Return the observation now; every call builds fresh arrays and dicts."""
        images = self.memory.images
        visible = self.memory.visible
        return {
            "instruction": self.sample.instruction,
            "feedback": self._feedback,
            "images": tuple(images[name].image.pixels.copy() for name in visible),
            "image_names": tuple(visible),
            "archive": tuple(
                {"name": i.name, "width": i.size_wh[0], "height": i.size_wh[1], "origin": i.origin}
                for i in self.memory.archived
            ),
            "objects": tuple(o.to_observation() for o in self.objects),
            "turn": len(self.turns),
            "visual_tokens": self.memory.visual_tokens,
        }

    def info(self) -> dict[str, Any]:
        """Return the info of the start; :meth:`play` returns that of each step."""
        return {"sample_id": self.sample.id, "reason": None, "error": None, "failed": False, "terms": {}}

    def play(self, action: str | Mapping[str, Any]) -> ExpertWork[StepOutcome]:
        """Play one turn.

        Args:
            action: A tool call, or a model's raw reply, which the grammar parses. Anything else is the agent's mistake.

        Yields:
            Lists of expert requests; each wants the list of results back.

        Returns:
            The outcome. A mistake of the agent is an observation that costs the turn; a failure of an expert ends the
            episode as ``infrastructure_error``, without a score.

        Raises:
            VisenvError: The episode is over.
        """
        if self.ended:
            raise VisenvError("The episode is over. Expected no further step. Call reset() first.")
        tokens = self.memory.visual_tokens
        reply = action if isinstance(action, str) else _written_out(action)
        call: ToolCall | None = None
        error: str | None = None
        well_formed = True
        shown: tuple[str, ...] = ()
        try:
            try:
                call = self._read(action if reply is None else reply)  # what is recorded is what is read
            except ParseError:
                well_formed = False
                raise
            result = yield from self.toolset[call["name"]].body(self._context(), **call["arguments"])
            shown = self._apply(result)
        except (CallError, ParseError) as mistake:
            error = mistake.code
            call = None
            reply = short(action, 2000) if reply is None else reply
            self._feedback = f"Error ({mistake.code}): {mistake}"
            self._invalid += 1
        except InfrastructureError as failure:
            self._fail(str(failure))
            self._note(reply=reply, call=call, visual_tokens=tokens)
            return self._outcome(0.0, {}, None, failed=True)
        else:
            self._tools_used += self.answer is None
        if error is None and self.answer is not None:
            self._finish(EndReason.SUBMITTED)
        elif self._invalid >= self.rules.max_invalid_calls:
            self._finish(EndReason.AGENT_ERROR)
        elif len(self.turns) + 1 >= self.rules.max_turns:
            if self.toolset.at_turn_limit is not None:
                self.answer = self.toolset.at_turn_limit(self._context())
            self._finish(EndReason.TURN_LIMIT)
        reward, terms = self._reward(valid=error is None, well_formed=well_formed)
        if not self.ended:
            left = self.rules.max_turns - len(self.turns) - 1
            if left <= 2:
                self._feedback += f"\n{left} turn{'s' if left != 1 else ''} left; submit in time."
        self._note(reply=reply, call=call, error=error, shown=shown, reward=reward, terms=terms, visual_tokens=tokens)
        return self._outcome(reward, terms, error)

    def stop(self, reason: EndReason) -> None:
        """End the episode from outside, as an agent must that runs out of context or fails.

        Args:
            reason: ``token_limit`` or ``agent_error``.
        """
        if reason not in (EndReason.TOKEN_LIMIT, EndReason.AGENT_ERROR):
            raise bad_value("reason", reason, expected="token_limit or agent_error")
        if not self.ended:
            self._finish(reason)

    def fail(self, why: str) -> None:
        """End the episode as our failure: no answer, no score."""
        if not self.ended:
            self._fail(why)

    def register_target(self) -> None:
        """Put the truth into the object table, for the privileged oracle only; it is then submitted like any find."""
        target = self.sample.target
        masks = target.masks or (None,) * len(target.boxes_xyxy)
        labels = (target.labels if masks else ()) or ("target",) * len(masks)  # of a choice they are its group
        self.objects = tuple(
            DetectedObject(
                id=i, image=self.sources[0], label=label, score=1.0, mask=mask,
                box_xyxy=target.boxes_xyxy[i] if target.boxes_xyxy else tuple(map(float, mask.box_xyxy)),  # type: ignore[union-attr, arg-type]
            )
            for i, (mask, label) in enumerate(zip(masks, labels, strict=True))
        )  # fmt: skip
        self._next_object_id = len(self.objects)

    def _read(self, action: object) -> ToolCall:
        if isinstance(action, str) or (isinstance(action, Mapping) and "tool_calls" in action):
            call = self.rules.grammar.parse(action, self.toolset).call
            return check_call(self.toolset, call, coordinates=self.rules.coordinates, sizes_wh=self.memory.sizes_wh)
        return check_call(self.toolset, action)

    def _context(self) -> ToolContext:
        return ToolContext(
            turn=len(self.turns) + 1, kind=self.sample.target.kind, images=self.memory.images, sources=self.sources,
            objects=self.objects, next_object_id=self._next_object_id, history=tuple(self.history), state=self._state,
            coordinates=self.rules.coordinates,
        )  # fmt: skip

    def _apply(self, result: ToolResult) -> tuple[str, ...]:
        renamed: dict[str, str] = {}
        for new in result.new_images:
            renamed[new.name] = self._keep(new)
        shown = tuple(renamed.get(name, name) for name in result.show)
        if result.undo:
            self.objects = self.history.pop()
        elif result.objects is not None and result.objects != self.objects:
            self.history.append(self.objects)
            self.objects = result.objects
            self._next_object_id = max([self._next_object_id, *(o.id + 1 for o in self.objects)])
        if result.state is not None:
            self._state = result.state
        self.answer = result.answer
        self.memory.show(shown)
        self._feedback = result.text
        return shown

    def _keep(self, new: NewImage) -> str:
        parent = self.memory.images[new.parent]
        overlay = new.to_parent is None
        name = f"{new.name}_{len(self.turns) + 1}" if overlay else new.name
        matrix = parent.to_source if new.to_parent is None else _compose(parent.to_source, new.to_parent)
        self.memory.add(
            NamedImage(
                name=name, image=IMAGES.intern(new.image), source=parent.source, to_source=matrix,
                origin=new.origin[:MAX_ORIGIN], parent=new.parent, depth=parent.depth + 1, is_overlay=overlay,
                objects=new.objects if overlay else None,
            )
        )  # fmt: skip
        return name

    def _finish(self, reason: EndReason) -> None:
        if self.profile is not None:
            row = self.profile.row(self.sample.target, self.answer)
            self.row, self.score = row, self.profile.primary(row)
        self.reason = reason
        if reason is not EndReason.SUBMITTED:
            self._feedback += f"\nThe episode is over: {reason.value}."

    def _note(
        self, *, reply: str | None, call: ToolCall | None, visual_tokens: int, error: str | None = None,
        shown: tuple[str, ...] = (), reward: float = 0.0, terms: Mapping[str, float] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Append the turn to the transcript, with what is in view and in the table now."""
        self.turns.append(
            Turn(
                number=len(self.turns) + 1, reply=reply, call=call, error=error, feedback=self._feedback, shown=shown,
                visible=tuple(self.memory.visible), objects=self.objects, reward=reward, terms=terms,
                visual_tokens=visual_tokens,
            )
        )  # fmt: skip

    def _fail(self, why: str) -> None:
        self.reason = EndReason.INFRASTRUCTURE_ERROR
        self.failure = why
        self.answer = self.row = self.score = None
        self._feedback = "The episode is over: infrastructure_error."

    def _reward(self, *, valid: bool, well_formed: bool) -> tuple[float, dict[str, float]]:
        if self.profile is None:
            return 0.0, {}
        gain = 0.0
        if self.rules.reward.needs_progress:
            answer = self.answer if self.ended else (self._context().answer(self.objects) if self.objects else None)
            now = self.profile.primary(self.profile.row(self.sample.target, answer))
            gain, self._progress, self._best = now - self._progress, now, max(self._best, now)
        return self.rules.reward(
            StepFacts(
                target=self.sample.target,
                turn=len(self.turns) + 1,
                valid=valid,
                well_formed=well_formed,
                ended=self.ended,
                submitted=self.reason is EndReason.SUBMITTED,
                answer=self.answer,
                score=self.score or 0.0,
                gain=gain,
                best=self._best,
                tools_used=self._tools_used,
            )
        )

    def _outcome(
        self, reward: float, terms: Mapping[str, float], error: str | None, *, failed: bool = False
    ) -> StepOutcome:
        info: dict[str, Any] = {
            "sample_id": self.sample.id,
            "reason": self.reason.value if self.reason else None,
            "error": error,
            "failed": failed,
            "terms": dict(terms),
        }
        if self.ended and not failed and self.profile is not None:
            info["score"] = self.score
        terminated = self.reason is not None and self.reason.terminates
        return StepOutcome(
            observation=self.observe(), reward=reward, terminated=terminated, truncated=self.ended and not terminated,
            info=info, failed=failed,
        )  # fmt: skip


def _written_out(action: object) -> str | None:
    """Return a native message as the JSON text that grammars read; ``None`` for a plain call."""
    if not isinstance(action, Mapping) or "tool_calls" not in action:
        return None
    try:
        return json.dumps(dict(action), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return None


def _compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return the 2x3 affine map that applies ``inner`` first."""
    square = np.vstack([inner, [0.0, 0.0, 1.0]])
    composed: np.ndarray = outer @ square
    return composed
