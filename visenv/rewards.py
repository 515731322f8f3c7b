"""Rewards as named mixes of weighted terms, each reported by itself in ``info["terms"]``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .answers import Answer, AnswerKind, Target
from .errors import bad_value, unknown_name
from .specs import parse_spec

__all__ = ["REWARDS", "Reward", "StepFacts", "Term", "make_reward"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFacts:
    """Everything a reward term may look at after one turn."""

    target: Target
    turn: int
    """The turn just played, from 1."""
    valid: bool
    """Whether the call was well formed and could be carried out."""
    well_formed: bool
    """Whether the text, if text was given, followed the grammar."""
    ended: bool
    submitted: bool
    """Whether an answer was submitted, in this turn."""
    answer: Answer | None
    score: float
    """The primary score in [0, 1] of the answer; 0 without one."""
    gain: float
    """Change of the score that submitting the objects at hand would get; 0 unless the mix asks for progress."""
    best: float
    """The best such score so far in the episode."""
    tools_used: int
    """Valid calls so far that were not final."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One named part of a reward."""

    name: str
    weight: float
    value: Callable[[StepFacts], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """A mix of terms; the reward of a step is their weighted sum."""

    spec: str
    terms: tuple[Term, ...]
    needs_progress: bool = False
    """Whether the objects at hand are scored every turn, which costs time."""

    def __reduce__(self) -> tuple[Callable[[str], Reward], tuple[str]]:
        return make_reward, (self.spec,)

    def __call__(self, facts: StepFacts) -> tuple[float, dict[str, float]]:
        """Return the reward and its weighted terms by name."""
        terms = {t.name: t.weight * t.value(facts) for t in self.terms}
        return float(sum(terms.values())), terms


def _final(facts: StepFacts) -> float:
    return facts.score if facts.ended else 0.0


def _turn(_: StepFacts) -> float:
    return -1.0


def _invalid(facts: StepFacts) -> float:
    return 0.0 if facts.valid else -1.0


def _primary(turn_cost: float = 0.0, invalid_cost: float = 0.0) -> Reward:
    """The task's primary score, at the end."""
    terms = [Term(name="final", weight=1.0, value=_final)]
    terms += [Term(name="turns", weight=turn_cost, value=_turn)] if turn_cost else []
    terms += [Term(name="invalid", weight=invalid_cost, value=_invalid)] if invalid_cost else []
    return Reward(spec="primary", terms=tuple(terms))


def _visharness_final(facts: StepFacts) -> float:
    """Trajectory reward in [-3, 5].

    Source: VisHarness ``rewards/vision_reward.py``: 8 IoU - 3 for masks; 5 - 8 |error| / truth for counts (5 - 2 n when
    the truth is 0), at least -3; right "no target" 5, else -3; nothing submitted -3. Scored at native resolution,
    where theirs is on a resized canvas. Boxes and choices, which theirs lacks, use 8 score - 3.
    """
    if not facts.ended:
        return 0.0
    if facts.answer is None:
        return -3.0
    if facts.target.kind is AnswerKind.COUNT:
        truth, given = facts.target.num_objects, facts.answer.num_objects
        return max(-3.0, 5 - 8 * abs(truth - given) / truth if truth else 5.0 - 2 * given)
    return 8 * facts.score - 3


def _located(facts: StepFacts) -> float:
    """Return whether what was counted is where the targets are: F1 of the boxes submitted for a count.

    A box is right if a true point, or the centre of a true box, lies in it; each box has one point at most, and each point one
    box. 1 where nothing is there and nothing was counted; 0 for a number or points without boxes.
    """
    if not facts.ended or facts.target.kind is not AnswerKind.COUNT or facts.answer is None:
        return 0.0
    from scipy.optimize import linear_sum_assignment  # not before it is needed: it takes long to import

    points = np.reshape(facts.target.points_xy, (-1, 2))
    if not len(points):
        points = np.reshape(facts.target.boxes_xyxy, (-1, 2, 2)).mean(1)
    boxes = np.reshape(facts.answer.boxes_xyxy, (-1, 2, 2))
    everything = facts.target.num_objects + max(len(boxes), abs(facts.answer.num_objects))
    if not everything:
        return 1.0
    inside = np.all((boxes[:, None, 0] <= points) & (points < boxes[:, None, 1]), axis=2)
    pairs = linear_sum_assignment(inside, maximize=True)
    return float(2 * np.count_nonzero(np.asarray(inside)[pairs]) / everything)


def _visharness(turn_cost: float = 0.0, localisation: float = 0.0) -> Reward:
    """VisHarness's trajectory reward; its step cost of 0.2 is off there and here unless asked for.

    It counts a number alone. ``localisation`` is what counting in the right places is worth besides, which theirs lacks.
    """
    terms = [Term(name="final", weight=1.0, value=_visharness_final)]
    terms += [Term(name="localisation", weight=localisation, value=_located)] if localisation else []
    terms += [Term(name="turns", weight=turn_cost, value=_turn)] if turn_cost else []
    return Reward(spec="visharness", terms=tuple(terms))


def _rsagent(
    final: float = 1.0, gain: float = 0.1, overshoot: float = 1.0, turn_cost: float = 0.01, format: float = 0.2
) -> Reward:
    """Final, process and format parts in the style of RSAgent.

    The paper's exact formula was not available. Gain, overshoot and turn cost have the form and weights of MedSAM-Agent
    (``CUHK-AIM-Group/MedSAM-Agent``); the weights are options.
    """
    return Reward(
        spec="rsagent",
        terms=(
            Term(name="final", weight=final, value=_final),
            Term(name="gain", weight=gain, value=lambda f: f.gain),
            Term(name="overshoot", weight=overshoot, value=lambda f: min(0.0, f.score - f.best) if f.ended else 0.0),
            Term(name="turns", weight=turn_cost, value=_turn),
            Term(name="format", weight=format, value=lambda f: float(f.ended and f.submitted and f.well_formed)),
        ),
        needs_progress=True,
    )


def _imagent(tool_bonus: float = 0.2) -> Reward:
    """The answer, and a bonus for having used a tool that is only given when the answer is right (score above one half)."""
    return Reward(
        spec="imagent",
        terms=(
            Term(name="final", weight=1.0, value=_final),
            Term(
                name="tool_bonus",
                weight=tool_bonus,
                value=lambda f: float(f.ended and f.score > 0.5 and f.tools_used > 0),
            ),
        ),
    )


REWARDS: dict[str, Callable[..., Reward]] = {
    "imagent": _imagent,
    "primary": _primary,
    "rsagent": _rsagent,
    "visharness": _visharness,
}
"""The reward mixes by name."""


def make_reward(spec: str | Reward) -> Reward:
    """Build a reward from its name, such as ``primary`` or ``rsagent:turn_cost=0.02``; a reward is returned as it is.

    Raises:
        UnknownNameError: No such reward.
        BadValueError: An option it does not have.
    """
    if isinstance(spec, Reward):
        return spec
    name, options = parse_spec(spec)
    if name not in REWARDS:
        raise unknown_name("reward", name, REWARDS, remedy="Use one of these.")
    for key, value in options.items():
        if isinstance(value, (bool, str)) or not math.isfinite(value):
            raise bad_value(key, value, expected=f"a finite number, in the reward {spec!r}")
    try:
        made = REWARDS[name](**options)
    except TypeError as error:
        raise bad_value("reward", spec, expected=f"options of {name!r} ({error})") from None
    return Reward(spec=spec, terms=made.terms, needs_progress=made.needs_progress)
