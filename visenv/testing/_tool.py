"""Checking a tool: its form, its schema, and what its calls do in real episodes."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from .. import plugins
from ..answers import Answer, AnswerKind
from ..arguments import ArgumentKind
from ..drivers import drive
from ..errors import bad_value, short, unknown_name
from ..experts import Capability, ExpertSet, make_experts
from ..tools import Tool, Toolset
from ..toolsets import FULL
from ._calls import sample_call
from ._rounds import CALLS_PER_EPISODE, find_difference, play_failures, play_round, start_episode
from ._schema import check_schema
from ._stand_ins import EmptyExpert, FindingExpert, stand_in_experts
from ._subject import Subject, check_given

__all__ = ["check_tool", "check_toolset"]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
HELPERS = ("detect", "segment_box", "draw_box", "crop", "drop")
"""Tools of ``full`` that make images and objects for a tool checked without a toolset."""


def check_tool(
    tool: str | Tool,
    *,
    experts: str | ExpertSet | None = None,
    kind: AnswerKind | str = AnswerKind.MASK,
    toolset: str | Toolset | None = None,
    num_calls: int = 24,
) -> None:
    """Check that a tool's description and its validator agree, and that its calls keep the promises of ``ToolResult``.

    It is played in episodes over a drawn sample of two images, with other tools' calls before it: with stand-ins for experts
    that find something, that find nothing, and that are down; then with experts of yours.

    Args:
        tool: ``TOOLSET/TOOL``, or a tool.
        experts: Experts of yours, name or set, to play it with as well.
        kind: The answer that the sample wants.
        toolset: The tools to call before it; its own with a name, else some that make images and objects.
        num_calls: Calls of each round.

    Raises:
        ConformanceError: A promise is broken.
        UnknownNameError: No such toolset or tool.
    """
    kind = _kind(kind)
    if isinstance(tool, str):
        name, _, tool_name = tool.partition("/")
        toolset = toolset or _toolset(name)
        if tool_name not in _toolset(name):
            raise unknown_name(
                "tool", tool, [f"{name}/{t}" for t in _toolset(name).names], remedy="Write TOOLSET/TOOL."
            )
        tool = _toolset(name)[tool_name]
    subject = Subject(f"Tool {getattr(tool, 'name', tool)!r}")
    _check_form(subject, tool)
    check_schema(subject, tool, num_calls=num_calls)
    if tool.answers is not None and kind not in tool.answers:
        raise bad_value("kind", kind, expected=f"an answer that {tool.name!r} gives: {sorted(tool.answers)}")
    tools = _together(tool, _toolset(toolset) if toolset else None)
    finding, where = stand_in_experts(FindingExpert()), subject.at("experts that find something")
    log, errors = play_round(where, tool, tools, finding, kind, num_calls, to_success=True)
    again, _ = play_round(where, tool, tools, finding, kind, num_calls)
    for first, second in zip(log, again, strict=False):
        different = find_difference(first, second)
        where.need(
            different is None, f"the same episode twice gives another {different}", expected="equal results of equal calls",
            remedy="Keep nothing outside `context.state`, and draw nothing at random.",
        )  # fmt: skip
    where.need(
        len(errors) < len(log), f"none of {len(log)} calls succeeded; the last error is {short(errors[-1:], 300)}",
        expected="some that do", remedy="Pass `toolset=` with the tools that must be called before it.",
    )  # fmt: skip
    play_round(subject.at("experts that find nothing"), tool, tools, stand_in_experts(EmptyExpert()), kind, num_calls)
    if tool.requires:
        play_failures(subject.at("experts that are down"), tool, tools, finding, kind)
    if experts is not None:
        made = make_experts(experts)
        missing = tool.requires - made.capabilities
        if missing:
            raise bad_value(
                "experts", sorted(made.capabilities), expected=f"experts that can {', '.join(sorted(missing))}"
            )
        play_round(subject.at("the given experts"), tool, tools, made, kind, num_calls)


def check_toolset(
    toolset: str | Toolset,
    *,
    experts: str | ExpertSet | None = None,
    kinds: Sequence[AnswerKind | str] = tuple(AnswerKind),
    num_calls: int = 24,
) -> None:
    """Check a toolset, and each of its tools among the others, for each kind of answer.

    Args:
        toolset: A registered name, or a toolset.
        experts: Experts of yours to play it with as well; tools that need others are left out of that.
        kinds: The answers it is meant for.
        num_calls: Calls of each round, for each tool.

    Raises:
        ConformanceError: A promise is broken.
        UnknownNameError: No such toolset.
    """
    check_given(kinds=kinds, num_calls=num_calls)
    tools = _toolset(toolset)
    given = None if experts is None else make_experts(experts)
    subject = Subject(f"Toolset {getattr(tools, 'name', tools)!r}")
    subject.need(isinstance(tools, Toolset), f"it is {short(tools)}", expected="a visenv.Toolset", remedy="Make one.")
    subject.need(
        not isinstance(toolset, str) or plugins.find("toolsets", toolset).name == tools.name, f"`name` is {tools.name!r}",
        expected=f"its registered name, {toolset!r}", remedy="Rename the entry point or the toolset.",
    )  # fmt: skip
    subject.need(
        isinstance(tools.tools, tuple) and all(isinstance(t, Tool) for t in tools.tools) and len(set(tools.names)) == len(tools.names),
        f"its tools are {short(tools.tools)}", expected="a tuple of tools with different names", remedy="Give one of them another name: `@tool(name=…)`.",
    )  # fmt: skip
    subject.need(isinstance(tools.guidance, str), f"its guidance is {short(tools.guidance)}", expected="text for a prompt", remedy="Leave it out if there is nothing to say.")  # fmt: skip
    with subject.running("pickling it", remedy="Define its functions at the top of a module: workers get copies."):
        pickle.loads(pickle.dumps(tools))
    for kind in map(_kind, kinds):
        fitted = tools.for_answers(kind)
        subject.need(
            tools.at_turn_limit is not None or any(t.answers for t in fitted.tools), f"no tool of it can answer a task that wants {kind.value!r}",
            expected="a final tool for each kind, or `at_turn_limit`", remedy="Add one, such as `FULL['submit']`, or pass `kinds=`.",
        )  # fmt: skip
        _check_turn_limit(subject.at(f"kind {kind.value!r}"), fitted, kind)
        for one in fitted.tools:
            able = given if given is not None and one.requires <= given.capabilities else None
            check_tool(one, experts=able, kind=kind, toolset=tools, num_calls=num_calls)


def _toolset(toolset: str | Toolset) -> Toolset:
    found: Toolset = plugins.load("toolsets", toolset) if isinstance(toolset, str) else toolset
    return found


def _kind(kind: AnswerKind | str) -> AnswerKind:
    try:
        return AnswerKind(kind)
    except ValueError:
        raise bad_value("kind", kind, expected=f"one of {', '.join(AnswerKind)}") from None


def _check_form(subject: Subject, tool: Any) -> None:
    subject.need(isinstance(tool, Tool), f"it is {short(tool)}", expected="a visenv.Tool", remedy="Decorate the function with `@visenv.tool()`.")  # fmt: skip
    subject.need(isinstance(tool.name, str) and NAME.fullmatch(tool.name), f"its name is {short(tool.name)}", expected="1 to 64 letters, digits, - and _", remedy="Language models' interfaces take no other.")  # fmt: skip
    subject.need(tool.summary.strip(), "it has no description", expected="a docstring, written for a model", remedy="Say what it does and when to use it.")  # fmt: skip
    signature = list(inspect.signature(tool.body).parameters)[1:]
    names = [p.name for p in tool.parameters]
    subject.need(signature == names, f"its function takes {signature} and it declares {names}", expected="one list", remedy="Make it with `@visenv.tool()`.")  # fmt: skip
    subject.need(all(isinstance(p.kind, ArgumentKind) for p in tool.parameters), "an argument has no kind", expected="one of visenv.arguments", remedy="Annotate it.")  # fmt: skip
    known = get_args(Capability)
    subject.need(tool.requires <= set(known), f"it requires {sorted(tool.requires)}", expected=f"some of {', '.join(known)}", remedy="No expert can do anything else.")  # fmt: skip
    subject.need(
        tool.answers is None or (tool.answers and all(isinstance(k, AnswerKind) for k in tool.answers)), f"it answers {short(tool.answers)}",
        expected="kinds of answer, or None for a tool that does not end the episode", remedy="Write `@tool(answers=[AnswerKind.…])`.",
    )  # fmt: skip
    with subject.running(
        "pickling it",
        remedy="Define its function at the top of a module, under the tool's own name: workers get copies.",
    ):
        subject.need(pickle.loads(pickle.dumps(tool)) == tool, "its pickled copy is another tool", expected="an equal one", remedy="Define it at the top of a module, under its own name.")  # fmt: skip


def _together(tool: Tool, toolset: Toolset | None) -> Toolset:
    """Return the toolset of the episodes: the tool among its own, or among helpers."""
    if toolset is None:
        toolset = Toolset(name="checked", tools=tuple(FULL[name] for name in HELPERS))
    others = tuple(t for t in toolset.tools if t.name != tool.name)
    return replace(toolset, tools=(*others, tool))


def _check_turn_limit(subject: Subject, toolset: Toolset, kind: AnswerKind) -> None:
    if toolset.at_turn_limit is None:
        return
    experts = stand_in_experts(FindingExpert())
    rng = np.random.default_rng(0)
    episode = start_episode(toolset, experts, kind)
    calls = [t for t in toolset.tools if t.answers is None]
    for _ in range(CALLS_PER_EPISODE):
        with subject.running("`at_turn_limit`", remedy="Return an Answer, or None for nothing submitted."):
            answer = toolset.at_turn_limit(episode._context())
        subject.need(answer is None or isinstance(answer, Answer), f"`at_turn_limit` gives {short(answer)}", expected="an Answer or None", remedy="Return one.")  # fmt: skip
        if calls:
            drive(episode.play(sample_call(episode, calls[int(rng.integers(len(calls)))], rng)), experts)
