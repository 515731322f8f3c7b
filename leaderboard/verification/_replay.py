"""The transcript followed turn by turn, as :class:`visenv.episode.Episode` plays: views, submission, rewards."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from visenv.answers import Answer
from visenv.context import ToolContext
from visenv.episode import EndReason
from visenv.errors import short
from visenv.memory import MemoryPolicy
from visenv.rewards import Reward, StepFacts
from visenv.task import Profile
from visenv.tools import CallError, Toolset, check_call
from visenv.vision import Vision

from ..records import EpisodeRecord, TurnRecord
from ..safe_files import printable
from ._calls import object_of
from ._findings import Flaw
from ._plan import Truth
from ._record import REWARD_TOLERANCE

__all__ = ["check_rewards", "check_submission", "check_views"]


def check_views(
    r: EpisodeRecord, policy: MemoryPolicy | None, vision: Vision | None, *, privileged: bool
) -> Iterator[Flaw]:
    """Follow what was in view and in the table: the memory policy, the images' sizes and the calls say it all."""
    if policy is None or vision is None:
        return
    shown = [tuple(name for name, image in r.images.items() if not image.parent)]
    visible = _in_view(policy, shown)
    objects: tuple[int, ...] | None = None if privileged else ()
    for number, turn in enumerate(r.transcript, 1):
        last = number == len(r.transcript)
        tokens = sum(vision.tokens(r.images[name].size_wh) for name in visible)
        if tokens != turn.visual_tokens:
            yield "costs", f"turn {number}: {turn.visual_tokens} visual tokens; the images then in view have {tokens}"
            return
        if r.failed and last:  # what the call that failed would have shown is not known
            return
        if turn.error is None:
            shown.append(turn.shown)
        visible = _in_view(policy, shown)
        if turn.visible != visible:
            yield "costs", f"turn {number}: {short(turn.visible)} in view, by the memory {short(visible)}"
            return
        still = turn.call is None or (last and r.reason == EndReason.SUBMITTED)
        if still and objects is not None and turn.objects != objects:
            yield "state", f"turn {number}: objects changed without a call that changes them"
            return
        objects = turn.objects


def check_submission(r: EpisodeRecord, truth: Truth, answer: Answer | None, toolset: Toolset | None) -> Iterator[Flaw]:
    """Make the answer again from the last call and the objects then in the table."""
    if toolset is None or not r.transcript or r.reason not in (EndReason.SUBMITTED, EndReason.TURN_LIMIT):
        return
    tools = toolset.for_answers(truth.target.kind)
    turn = r.transcript[-1]
    context = _context(r, turn, truth)
    made: Answer | None = None
    if r.reason == EndReason.TURN_LIMIT:
        made = None if tools.at_turn_limit is None else tools.at_turn_limit(context)
    else:
        try:
            call = check_call(tools, turn.call)
            if tools[call["name"]].answers is None:
                yield "answer", f"the last call, {call['name']}, submits nothing"
                return
            next(tools[call["name"]].body(context, **call["arguments"]))  # asks an expert, which no final tool does
        except StopIteration as end:
            made = end.value.answer
        except CallError as error:
            yield "answer", f"the last call cannot be made: {printable(str(error), 200)}"
            return
    if made != answer:
        yield "answer", "the answer is not what the last call and the objects give"


def check_rewards(
    r: EpisodeRecord, truth: Truth, *, answer: Answer | None, score: float, profile: Profile, reward: Reward | None
) -> Iterator[Flaw]:
    """Compute every turn's reward again."""
    if reward is None:
        return
    stopped = r.reason == EndReason.TOKEN_LIMIT or (r.reason == EndReason.AGENT_ERROR and r.failure is not None)
    progress = best = 0.0
    tools_used = 0
    at_hand: tuple[tuple[int, ...], float] = ((), 0.0)
    for number, turn in enumerate(r.transcript, 1):
        ended = number == len(r.transcript) and not stopped
        submitted = ended and r.reason == EndReason.SUBMITTED
        tools_used += turn.call is not None and not submitted
        gain = 0.0
        if reward.needs_progress:
            if not ended and (number == 1 or turn.objects != at_hand[0]):  # most turns change nothing
                at_hand = turn.objects, _score_at_hand(r, turn, truth, profile)
            now = score if ended else at_hand[1]
            gain, progress, best = now - progress, now, max(best, now)
        facts = StepFacts(
            target=truth.target, turn=number, valid=turn.error is None, well_formed=turn.error is None, ended=ended,
            submitted=submitted, answer=answer if ended else None, score=score if ended else 0.0, gain=gain,
            best=best, tools_used=tools_used,
        )  # fmt: skip
        value, terms = reward(facts)
        if not abs(value - turn.reward) <= REWARD_TOLERANCE:
            yield "reward", f"turn {number}: reward {turn.reward}, computed again {value}"
            return
        near = terms.keys() == turn.terms.keys() and all(
            abs(terms[name] - turn.terms[name]) <= REWARD_TOLERANCE for name in terms
        )
        if not near:
            yield "reward", f"turn {number}: reward terms {short(turn.terms)}, computed again {short(terms)}"
            return


def _in_view(policy: MemoryPolicy, shown: list[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(shown[i][k] for i, k in policy.select(shown))


def _score_at_hand(r: EpisodeRecord, turn: TurnRecord, truth: Truth, profile: Profile) -> float:
    """Return the score that submitting the objects after a turn would get."""
    answer = None
    if turn.objects:
        context = _context(r, turn, truth)
        answer = context.answer(context.objects)
    return float(profile.primary(profile.row(truth.target, answer)))


def _context(r: EpisodeRecord, turn: TurnRecord, truth: Truth) -> ToolContext:
    """Return what a final tool looks at: the objects after a turn, and the sizes of the original images."""
    names = [name for name, image in r.images.items() if not image.parent]
    images = {n: SimpleNamespace(name=n, size_wh=size) for n, (_, size) in zip(names, truth.images, strict=True)}
    return ToolContext(
        turn=len(r.transcript), kind=truth.target.kind, images=cast(Any, images), sources=tuple(names),
        objects=tuple(object_of(r.objects[place]) for place in turn.objects), next_object_id=0, history=(),
    )  # fmt: skip
