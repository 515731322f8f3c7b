"""The best constant answer, chosen on the train split without looking at any image: what a task gives away for free."""

from __future__ import annotations

from functools import cache
from typing import Any

from visenv import Answer, AnswerKind, EpisodeSpec, Mask, Target, ToolCall, make_task
from visenv.errors import UnknownNameError, UnsuitedError

__all__ = ["Prior"]

NUM_SAMPLES = {AnswerKind.MASK: 64, AnswerKind.BOXES: 8, AnswerKind.COUNT: 64, AnswerKind.CHOICE: 64}
"""Train samples on which the constant is chosen."""
SIDES = (0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
"""Sides of the centred boxes that are tried, as shares of the image."""


class Prior:
    """Gives the constant answer that scores best on train samples of the same task and level.

    Candidates are "no such object", a centred box of several sizes, every count from 0 to 100, and every option letter,
    as far as the toolset can express them.
    """

    name = "prior"

    def start(self, spec: EpisodeSpec) -> _PriorPlayer:
        """Return a player for one episode."""
        calls = best_constant(spec.task, spec.level, tuple(spec.toolset.names))
        return _PriorPlayer([{"name": n, "arguments": dict(a)} for n, a in calls])


class _PriorPlayer:
    def __init__(self, calls: list[ToolCall]) -> None:
        self._calls = calls

    def act(self, observation: dict[str, Any]) -> ToolCall:
        """Give the next call of the constant answer."""
        turn: int = observation["turn"]
        return self._calls[min(turn, len(self._calls) - 1)]


Call = tuple[str, tuple[tuple[str, Any], ...]]


@cache
def best_constant(task_name: str, level: int, tools: tuple[str, ...]) -> tuple[Call, ...]:
    """Return the calls of the best constant answer of a task and level.

    Raises:
        UnsuitedError: The toolset can express no candidate, or there is no such task.
    """
    try:
        task = make_task(task_name)
    except UnknownNameError as error:  # somebody's own pictures, say
        raise UnsuitedError(
            f"`prior` learns its answer from a task's samples, and {task_name!r} is no task. Leave it out."
        ) from error
    if "train" not in task.splits:
        raise UnsuitedError(
            f"`prior` learns its answer from the split 'train', which {task_name} has not. Leave it out."
        )
    size = task.num_samples("train", level)
    number = NUM_SAMPLES[task.kind] if size is None else min(size, NUM_SAMPLES[task.kind])
    targets = [task.sample("train", level, i).target for i in range(number)]
    best: tuple[float, tuple[Call, ...]] | None = None
    for calls, answer_for in _candidates(task.kind, tools):
        rows = [task.profile.row(t, answer_for(t)) for t in targets]
        mean = sum(map(task.profile.primary, rows)) / len(rows)
        if best is None or mean > best[0]:
            best = mean, calls
    if best is None:
        raise UnsuitedError(f"The tools {', '.join(tools)} can express no constant answer. Expected a submitting tool.")
    return best[1]


def _candidates(kind: AnswerKind, tools: tuple[str, ...]) -> list[tuple[tuple[Call, ...], Any]]:
    found: list[tuple[tuple[Call, ...], Any]] = []
    if kind is AnswerKind.CHOICE:
        name, argument = ("submit_choice", "choice") if "submit_choice" in tools else ("Answer", "final_answer")
        return [(((name, ((argument, c),)),), lambda _, c=c: Answer(choice=c)) for c in "ABCDE"]
    if kind is AnswerKind.COUNT and "submit_count" in tools:
        found += [((("submit_count", (("count", n),)),), lambda _, n=n: Answer(count=n)) for n in range(101)]
    elif none := {"submit_none", "report_no_mask"} & set(tools):
        found.append((((min(none), ()),), lambda _: Answer(no_target=True)))
    elif "Answer" in tools:
        found.append(((("Answer", (("final_answer", "None."),)),), lambda _: Answer(no_target=True)))
    if kind is not AnswerKind.COUNT and "draw_box" in tools:
        for side in SIDES:
            low, high = round(500 - 500 * side), round(500 + 500 * side)
            box = (("image", "img_0"), ("x1", low), ("y1", low), ("x2", high), ("y2", high))
            found.append(((("draw_box", box), ("submit", ())), lambda t, lo=low, hi=high: _boxed(t, lo, hi)))
    return found


def _boxed(target: Target, low: int, high: int) -> Answer:
    height, width = target.size_hw
    box = (low * width / 1000, low * height / 1000, high * width / 1000, high * height / 1000)
    masks = (Mask.from_box(box, target.size_hw),) if target.kind is AnswerKind.MASK else ()
    return Answer(masks=masks, boxes_xyxy=(box,), labels=("target",))
