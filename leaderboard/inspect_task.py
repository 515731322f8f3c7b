"""Our tasks for Inspect (``inspect eval visenv/episodes``): its model providers play, its viewer shows the log. Extra: ``inspect``.

>>> from inspect_ai import eval  # doctest: +SKIP
>>> eval(episodes(task="EmojiRef", toolset="visharness", limit=10), model="openai/gpt-5")  # doctest: +SKIP
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from anyio.to_thread import run_sync
from inspect_ai import Task as InspectTask
from inspect_ai import task as inspect_task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Value, mean, metric, scorer, stderr
from inspect_ai.scorer import Target as InspectTarget
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import LimitExceededError

from visenv.answers import Answer, AnswerKind, Target
from visenv.chat import Conversation
from visenv.drivers import drive
from visenv.env import default_split, make_rules, make_task
from visenv.episode import EndReason, Episode, Rules
from visenv.errors import InfrastructureError, bad_value
from visenv.experts import ExpertSet, make_experts
from visenv.redaction import redact
from visenv.task import Sample, Task
from visenv.vision import make_vision

from .inspect_messages import Chat, read_reply, to_tool_infos
from .sampling import indices_of

__all__ = ["episodes", "play_episode", "primary", "profile_metrics"]

KEY = "visenv"
"""Where in a sample's store it says how its episode ended."""
BUDGETS = frozenset({"cost", "message", "token", "turn"})
"""Limits of Inspect that an agent uses up; those of time depend on the machine, and end an episode without a score."""

Texts = str | int | Sequence[str | int]
"""A text, which Inspect's command line splits at its commas and reads as a number where it looks like one."""


@inspect_task
def episodes(
    task: Texts = "EmojiRef",
    split: str | None = None,
    level: int | None = None,
    toolset: str = "full",
    memory: Texts = "archive",
    experts: Texts = "embedded",
    grammar: str = "hermes",
    vision: str = "estimate",
    max_turns: int | None = None,
    limit: int | None = None,
    samples: Texts | None = None,
    seed: int = 0,
) -> InspectTask:
    """Play episodes of a task with a model of Inspect's.

    Args:
        task: Its name with options, such as ``COCO:mode=count``.
        split: Which samples; ``val`` by default, or the first split of a task without it.
        level: Difficulty; the task's first by default.
        toolset: The tools.
        memory: Which images stay visible.
        experts: Who stands behind the tools.
        grammar: How the model writes calls, such as ``hermes`` or ``openai`` for native calls, and places.
        vision: The size in which pictures are sent, such as ``qwen3-vl``.
        max_turns: Turn limit; by default the task's own.
        limit: How many samples, drawn as ``visenv bench --limit`` draws them; all by default.
        samples: Chosen samples instead, by index or id.
        seed: Of that draw.

    Raises:
        UnknownNameError: A name does not exist.
        BadValueError: An option is wrong, or a split without end has no limit.
    """
    name, standing = _text(task), _text(experts)
    for given, text in (("task", name), ("experts", standing)):
        if redact(text) != text:
            raise bad_value(given, redact(text), expected="no secret in it, for Inspect's log holds it", remedy="Put it into the environment.")  # fmt: skip
    drawn = _share_task(name)
    split = default_split(drawn) if split is None else split
    level = drawn.levels[0] if level is None else level
    chosen = None if samples is None else _text(samples).split(",")
    if chosen is not None and limit is not None:
        raise bad_value("limit", limit, expected="none beside samples")
    indices = indices_of(
        name, split, level, size=drawn.num_samples(split, level), samples=chosen, limit=limit, seed=seed
    )
    play = play_episode(
        task=name, toolset=toolset, memory=_text(memory), experts=standing, grammar=grammar, vision=vision,
        max_turns=max_turns,
    )  # fmt: skip
    return InspectTask(
        dataset=MemoryDataset([_ask(drawn, split, level, index) for index in indices], name=name), display_name=name,
        solver=play, scorer=primary(task=name), version=drawn.version, continue_on_fail=True,
        metrics=[mean(), stderr(cluster="cluster"), profile_metrics(task=name)],
    )  # fmt: skip


@solver
def play_episode(
    task: str,
    toolset: str = "full",
    memory: str = "archive",
    experts: str = "embedded",
    grammar: str = "hermes",
    vision: str = "estimate",
    max_turns: int | None = None,
) -> Solver:
    """Play one episode to its end; the arguments are those of :func:`episodes`."""
    played, standing = _share_task(task), _share_experts(experts)
    rules = make_rules(played, standing, toolset=toolset, memory=memory, grammar=grammar, max_turns=max_turns)
    rules = replace(rules, vision=make_vision(vision))

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        episode = await run_sync(_begin, played, rules, state.metadata)
        try:
            await _play(episode, standing, state)
        except LimitExceededError as error:
            if error.type in BUDGETS:
                episode.stop(EndReason.TOKEN_LIMIT)
            raise
        finally:
            if episode.ended and episode.reason is not EndReason.INFRASTRUCTURE_ERROR:
                state.store.set(KEY, _said_of(episode))
        return state

    return solve


@scorer(metrics=[mean(), stderr()])
def primary(task: str) -> Scorer:
    """Score by the task's own primary score, from the row of its profile; an episode that did not end has none."""
    profile = make_task(task).profile

    async def score(state: TaskState, target: InspectTarget) -> Score:
        said = state.store.get(KEY)
        if said is None:
            return Score.unscored(
                reason="not_ended", explanation="The episode was stopped from outside before its end."
            )
        submitted = said["reason"] == EndReason.SUBMITTED
        return Score(
            value=profile.primary(said["row"]), answer=said["answer"], explanation=f"{said['reason']} after {said['turns']} turns",
            reason=None if submitted else said["reason"], metadata={"profile": profile.name, **{k: v for k, v in said.items() if k != "submitted"}},
        )  # fmt: skip

    return score


@metric
def profile_metrics(task: str) -> Metric:
    """Give the metrics of the task's profile under their own names; of several epochs, those of the first."""
    profile = make_task(task).profile

    def compute(scores: list[SampleScore]) -> Value:
        rows = [one.score.metadata["row"] for one in scores if one.score.metadata and "row" in one.score.metadata]
        found = profile.aggregate(rows) if rows else {}
        return {name: value for name, value in found.items() if value is not None}

    return compute


async def _play(episode: Episode, experts: ExpertSet, state: TaskState) -> None:
    """Ask the model and play what it says, turn by turn; what waits for an expert waits in a thread."""
    conversation = Conversation(episode)
    chat, grammar = Chat(conversation), conversation.grammar
    tools = to_tool_infos(conversation.tools)
    config = GenerateConfig(stop_seqs=list(grammar.stop) or None)
    while not episode.ended:
        state.messages = chat.messages()
        state.output = await get_model().generate(state.messages, tools=tools, config=config)
        if state.output.stop_reason == "model_length":
            episode.stop(EndReason.TOKEN_LIMIT)
            continue
        outcome = await run_sync(drive, episode.play(read_reply(state.output, grammar, episode.toolset)), experts)
        if outcome.failed:
            raise InfrastructureError(redact(f"{episode.failure} The episode is not scored."))
    state.messages = chat.messages()


def _begin(task: Task, rules: Rules, place: dict[str, Any]) -> Episode:
    sample = task.sample(place["split"], place["level"], place["index"])
    return Episode(sample, profile=task.profile, rules=rules)


def _said_of(episode: Episode) -> dict[str, Any]:
    """Return how an episode ended, as JSON data that goes into the log."""
    return {
        "reason": str(episode.reason), "row": episode.row, "answer": _in_words(episode.answer), "turns": len(episode.turns),
        "invalid_calls": sum(turn.error is not None for turn in episode.turns),
        "visual_tokens": sum(turn.visual_tokens for turn in episode.turns),
        "submitted": None if episode.answer is None else episode.answer.to_json(),
    }  # fmt: skip


def _ask(task: Task, split: str, level: int, index: int) -> InspectSample:
    """Return what Inspect shows of a sample; its pictures are made again when it is played."""
    place = {"split": split, "level": level, "index": index}
    try:
        sample = task.sample(split, level, index)
    except Exception:  # a task's data: the sample fails when it is played, the others do not
        name = f"{task.name}/{split}/{level}/{index}"
        return InspectSample(id=name, input=name, metadata={**place, "cluster": name})
    return InspectSample(
        id=sample.id, input=sample.instruction, target=_truth_in_words(sample), metadata={**place, "cluster": sample.cluster}
    )  # fmt: skip


def _truth_in_words(sample: Sample) -> str:
    target: Target = sample.target
    if target.kind is AnswerKind.CHOICE:
        return target.choice or ""
    return str(target.num_objects) if target.kind is AnswerKind.COUNT else _objects(target.num_objects)


def _in_words(answer: Answer | None) -> str | None:
    if answer is None:
        return None
    if answer.choice is not None:
        return answer.choice
    if answer.count is not None:
        return str(answer.count)
    return _objects(0 if answer.no_target else len(answer.masks) or answer.num_objects)


def _objects(number: int) -> str:
    return f"{number} object{'' if number == 1 else 's'}" if number else "no such object"


def _text(value: Texts) -> str:
    return str(value) if isinstance(value, (str, int)) else ",".join(map(str, value))


@cache
def _share_task(spec: str) -> Task:
    """Return the task of a spec, the same for the samples that are listed and for those that are played: its data are read once."""
    return make_task(spec)


@cache
def _share_experts(spec: str) -> ExpertSet:
    """Return the experts of a spec, the same for every task of the process, until it ends."""
    experts = make_experts(spec)
    close: Callable[[], None] = partial(ExpertSet.close, experts)
    atexit.register(close)
    return experts
