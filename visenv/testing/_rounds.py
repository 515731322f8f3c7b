"""Playing a tool in real episodes, every request, result and exception of its calls checked."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..answers import AnswerKind
from ..context import ToolContext
from ..drivers import drive
from ..episode import Episode, Rules
from ..errors import InfrastructureError, short
from ..experts import ExpertSet
from ..tools import CallError, Tool, ToolBody, Toolset
from ._calls import sample_call
from ._result import check_requests, check_result
from ._stand_ins import PROFILE, FailingExpert, make_sample, stand_in_experts
from ._subject import Subject

__all__ = ["CALLS_PER_EPISODE", "find_difference", "play_failures", "play_round", "start_episode"]

CALLS_PER_EPISODE = 6
EPISODES = 60
"""Most episodes until a tool that needs experts asks them."""
PATIENCE = 8
"""How many times as many calls a tool gets until one succeeds."""
RAISE = "Raise `visenv.tools.CallError` for what the agent did wrong; let InfrastructureError through."


def _watched(subject: Subject, tool: Tool) -> Tool:
    """Return the tool with every request, result and exception of its calls checked."""

    def body(context: ToolContext, **arguments: Any) -> ToolBody:
        where = subject.at(f"call {short(arguments, 200)}")
        images, state = list(context.images), _frozen(context.state)
        with where.running("it", remedy=RAISE, allowed=(CallError, InfrastructureError)):
            work: Any = tool.body(context, **arguments)
        where.need(hasattr(work, "send") and hasattr(work, "throw"), f"it returns {short(work)} at once", expected="a generator", remedy="Begin a tool that asks no expert with `yield from ()`.")  # fmt: skip
        step: Callable[[], Any] = lambda: next(work)  # noqa: E731
        while True:
            try:
                with where.running("it", remedy=RAISE, allowed=(CallError, InfrastructureError, StopIteration)):
                    requests = step()
            except StopIteration as stop:
                result = stop.value
                break
            check_requests(where, tool, requests)
            try:
                results = yield requests
            except InfrastructureError as failure:
                step = lambda failure=failure: work.throw(failure)  # type: ignore[misc]  # noqa: E731
            else:
                step = lambda results=results: work.send(results)  # type: ignore[misc]  # noqa: E731
        check_result(where, tool, context, result)
        where.need(
            list(context.images) == images and _frozen(context.state) == state, "it changed the context it was given",
            expected="a call to change nothing by itself", remedy="Say in ToolResult what changes: `new_images=`, `objects=`, `state=`.",
        )  # fmt: skip
        return result  # type: ignore[no-any-return]  # checked

    return replace(tool, body=body)


def _frozen(state: Any) -> object:
    try:
        return pickle.dumps(state)
    except Exception:  # a state that cannot be pickled is compared by its keys
        return sorted(map(str, state))


def play_round(
    subject: Subject,
    tool: Tool,
    toolset: Toolset,
    experts: ExpertSet,
    kind: AnswerKind,
    num_calls: int,
    *,
    to_success: bool = False,
) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Call the tool in episodes, other tools before it; with ``to_success`` go on until a call succeeds, within patience.

    Returns:
        What each call gave, and the messages of refused ones.
    """
    subjects = [subject if t is tool else Subject(f"Tool {t.name!r}") for t in toolset.tools]
    watched = replace(toolset, tools=tuple(_watched(s, t) for s, t in zip(subjects, toolset.tools, strict=True)))
    rng = np.random.default_rng(0)
    episode, done = start_episode(watched, experts, kind), 0
    log: list[tuple[Any, ...]] = []
    errors: list[str] = []
    while done < num_calls or (to_success and len(errors) == done < PATIENCE * num_calls):
        if episode.ended or len(episode.turns) >= 3 * CALLS_PER_EPISODE:
            episode = start_episode(watched, experts, kind)
        others = [t for t in episode.toolset.tools if t.name != tool.name and t.answers is None]
        for _ in range(int(rng.integers(0, 4))):
            if others:
                drive(episode.play(sample_call(episode, others[int(rng.integers(len(others)))], rng)), experts)
        call = sample_call(episode, tool, rng)
        outcome = drive(episode.play(call), experts)
        done += 1
        subject.at(f"call {short(call, 200)}").need(
            not outcome.failed, f"the experts failed: {episode.failure}", expected="them to answer",
            remedy="Check them with `check_expert`.",
        )  # fmt: skip
        if outcome.info["error"]:
            errors.append(outcome.observation["feedback"])
        pictures = tuple(i.image.hash for i in episode.memory.images.values())
        log.append(
            (call, outcome.observation["feedback"], outcome.info["error"], pictures, episode.objects, episode.answer)
        )
    return log, errors


def play_failures(subject: Subject, tool: Tool, toolset: Toolset, experts: ExpertSet, kind: AnswerKind) -> None:
    """Call the tool with experts that are down: once it asks, the episode must fail."""
    asked = 0
    failing = stand_in_experts(FailingExpert())

    def count(context: ToolContext, **arguments: Any) -> ToolBody:
        nonlocal asked
        work = _watched(subject, tool).body(context, **arguments)
        try:
            requests = next(work)
            while not requests:
                requests = work.send([])
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        asked += 1
        try:
            yield requests
        except InfrastructureError as failure:
            try:
                work.throw(failure)
            except InfrastructureError:
                raise
            except (CallError, StopIteration) as swallowed:
                raise subject.fault(
                    f"it goes on: {short(getattr(swallowed, 'value', swallowed), 200)}", expected="InfrastructureError to pass through",
                    remedy="Do not catch it: an episode that failed for our reasons is never scored.",
                ) from failure  # fmt: skip
            raise subject.fault(
                "it asks again",
                expected="InfrastructureError to pass through",
                remedy="Do not catch it: the driver retries.",
            ) from failure
        raise AssertionError("a failing expert answered")

    counting = replace(toolset, tools=tuple(replace(t, body=count) if t is tool else t for t in toolset.tools))
    rng = np.random.default_rng(1)
    for _ in range(EPISODES):
        episode = start_episode(counting, experts, kind)
        others = [t for t in episode.toolset.tools if t.name != tool.name and t.answers is None]
        for _ in range(3 if others else 0):
            drive(episode.play(sample_call(episode, others[int(rng.integers(len(others)))], rng)), experts)
        outcome = drive(episode.play(sample_call(episode, tool, rng)), failing)
        assert outcome.failed == (episode.failure is not None)
        if asked >= 2:
            return


def start_episode(toolset: Toolset, experts: ExpertSet, kind: AnswerKind) -> Episode:
    rules = Rules(toolset=toolset.for_capabilities(experts.capabilities), max_turns=1000, max_invalid_calls=1000)
    return Episode(make_sample(kind), profile=PROFILE, rules=rules)


def find_difference(first: tuple[Any, ...], second: tuple[Any, ...]) -> str | None:
    """Say in which way two calls of a round went differently; ``None`` when they did not."""
    names = ("call", "feedback", "error", "pictures", "objects", "answer")
    different = [(n, a, b) for n, a, b in zip(names, first, second, strict=True) if a != b]
    return f"{different[0][0]}: {short(different[0][1])}, then {short(different[0][2])}" if different else None
