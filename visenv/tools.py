"""Tools: generator functions that ask experts and return a result, described once by signature and docstring.

A tool is sans-IO. It yields lists of expert requests, is sent the list of results, and returns a :class:`ToolResult`; who
executes the requests, and in which company, is the driver's business. It never changes the episode: the result says
what changes.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from .answers import Answer, AnswerKind
from .arguments import ArgumentError, ArgumentKind, CoordinateKind
from .coordinates import THOUSANDTHS, Coordinates
from .errors import bad_value, short, suggest
from .experts import Request, Result
from .images import Image
from .objects import DetectedObject

if TYPE_CHECKING:
    from .context import ToolContext

__all__ = [
    "CallError",
    "NewImage",
    "Parameter",
    "Tool",
    "ToolBody",
    "ToolCall",
    "ToolResult",
    "Toolset",
    "check_call",
    "express_call",
    "tool",
]

ToolCall = dict[str, Any]
"""``{"name": str, "arguments": {…}}``."""


class CallError(Exception):
    """The agent's call cannot be carried out. The message is the observation; ``code`` is its class."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class NewImage:
    """An image that a tool made, or an overlay that shows what it found."""

    name: str
    """Name in the episode; an overlay's name gets the turn appended."""
    image: Image
    parent: str
    """The image it was made from."""
    to_parent: np.ndarray | None = None
    """2x3 affine map of its pixels (edges) to the parent's; ``None`` for an overlay, which has the parent's pixels."""
    origin: str
    """How it was made, in a few words."""
    objects: tuple[DetectedObject, ...] | None = None
    """What an overlay draws; ``None`` for any other picture, and for one that was drawn in another way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolResult:
    """What a tool call changed and what the agent is told."""

    text: str
    new_images: tuple[NewImage, ...] = ()
    """Images to keep under a name."""
    show: tuple[str, ...] = ()
    """Names of images put before the agent, new or old, in order."""
    objects: tuple[DetectedObject, ...] | None = None
    """The whole object table after the call; ``None`` leaves it as it was."""
    state: Mapping[str, Any] | None = None
    """The toolset's private state after the call; ``None`` leaves it as it was."""
    undo: bool = False
    """Whether the object table is the previous one, which then leaves the history."""
    answer: Answer | None = None
    """A submitted answer, which ends the episode."""


ToolBody = Generator[Sequence[Request], list[Result], ToolResult]
"""What a tool function returns when called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One argument of a tool."""

    name: str
    kind: ArgumentKind
    description: str
    required: bool
    default: Any = None

    def schema_in(self, coordinates: Coordinates) -> dict[str, Any]:
        """Return its JSON schema and description for an agent that writes places in this way."""
        if not isinstance(self.kind, CoordinateKind):
            return {**self.kind.schema(), "description": self.description}
        words = f"{self.description.removesuffix('.')}, {coordinates.words(self.kind.axis)}."
        return {**coordinates.schema(), "description": words}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool as everybody needs it: schema, check, text and body, from one source."""

    name: str
    summary: str
    """First paragraph of the docstring, written for a model."""
    parameters: tuple[Parameter, ...]
    body: Callable[..., ToolBody]
    answers: frozenset[AnswerKind] | None = None
    """For a tool that ends the episode: the kinds of answer it can give. ``None`` for all others."""
    requires: frozenset[str] = frozenset()
    """The expert capabilities it needs."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments, flat."""
        return self.schema_in(THOUSANDTHS)

    def schema_in(self, coordinates: Coordinates) -> dict[str, Any]:
        """Return the schema for an agent that writes places in another way."""
        return {
            "type": "object",
            "properties": {p.name: p.schema_in(coordinates) for p in self.parameters},
            "required": [p.name for p in self.parameters if p.required],
            "additionalProperties": False,
        }

    @property
    def takes_places(self) -> bool:
        """Whether an argument is a place in an image."""
        return any(isinstance(p.kind, CoordinateKind) for p in self.parameters)

    def to_openai(self, coordinates: Coordinates = THOUSANDTHS) -> dict[str, Any]:
        """Return the entry for an OpenAI ``tools`` list."""
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.summary, "parameters": self.schema_in(coordinates)},
        }

    def check(
        self, arguments: object, *, coordinates: Coordinates = THOUSANDTHS, size_wh: tuple[int, int] = (1000, 1000)
    ) -> dict[str, Any]:
        """Return the arguments in canonical form; what is not given stays out.

        Args:
            arguments: Anything.
            coordinates: How places are written in them.
            size_wh: Of the image that ``image`` names, as the agent is shown it.

        Raises:
            CallError: ``wrong_type``, ``out_of_range``, ``missing_argument`` or ``unknown_argument``.
        """
        if not isinstance(arguments, Mapping):
            raise CallError(
                "wrong_type", f"The arguments of {self.name} are {short(arguments)}. Expected an object. {self.usage()}"
            )
        known = {p.name: p for p in self.parameters}
        for name in arguments:
            if name not in known:
                raise CallError(
                    "unknown_argument",
                    f"{self.name} has no argument {short(name)}.{suggest(name, known)} {self.usage()}",
                )
        clean = {}
        for name, parameter in known.items():
            if name not in arguments:
                if parameter.required:
                    raise CallError(
                        "missing_argument",
                        f"{self.name} needs the argument `{name}`, {parameter.kind.words()}. {self.usage()}",
                    )
                continue
            try:
                if isinstance(parameter.kind, CoordinateKind):
                    clean[name] = coordinates.to_1000(arguments[name], parameter.kind.side_of(size_wh))
                else:
                    clean[name] = parameter.kind.check(arguments[name])
            except ArgumentError as error:
                raise CallError(
                    error.code,
                    f"Argument `{name}` of {self.name} is {short(arguments[name])}. Expected {error}. {self.usage()}",
                ) from None
        return clean

    def __reduce__(self) -> tuple[Any, ...]:
        # The module-level name holds the tool, not the function: pickle by that name.
        return _find_tool, (self.body.__module__, self.body.__qualname__)

    def usage(self) -> str:
        """Return a valid example call in words."""
        rng = np.random.default_rng(0)
        example = {p.name: p.kind.sample(rng) for p in self.parameters if p.required}
        inside = ", ".join(f"{k}={v!r}" for k, v in example.items())
        return f"Example: {self.name}({inside})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolset:
    """A named set of tools that an agent plays with."""

    name: str
    tools: tuple[Tool, ...]
    guidance: str = ""
    """What the prompt says about how to work with the tools."""
    max_turns: int | None = None
    """Most turns of an episode with these tools, where a task allows more."""
    at_turn_limit: Callable[[ToolContext], Answer | None] | None = None
    """What counts as submitted when the turns run out; ``None`` means nothing does."""

    def for_answers(self, kind: AnswerKind) -> Toolset:
        """Return the set without the final tools that cannot give this kind of answer."""
        return replace(self, tools=tuple(t for t in self.tools if t.answers is None or kind in t.answers))

    def for_capabilities(self, capabilities: frozenset[str]) -> Toolset:
        """Return the set without the tools that need an expert which is not there."""
        return replace(self, tools=tuple(t for t in self.tools if t.requires <= capabilities))

    def __getitem__(self, name: str) -> Tool:
        for one in self.tools:
            if one.name == name:
                return one
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(t.name == name for t in self.tools)

    @property
    def names(self) -> list[str]:
        """The tools' names, in order."""
        return [t.name for t in self.tools]


def check_call(
    toolset: Toolset,
    call: object,
    *,
    coordinates: Coordinates = THOUSANDTHS,
    sizes_wh: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> ToolCall:
    """Return a call in canonical form.

    Args:
        toolset: The tools that may be called.
        call: Anything; only ``{"name": str, "arguments": {…}}`` with valid values passes.
        coordinates: How places are written in it.
        sizes_wh: Of each image; of no consequence for 0-1000.

    Raises:
        CallError: The call is not of that form, or no such tool, or a bad argument.
    """
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str) or set(call) - {"name", "arguments"}:
        raise CallError(
            "not_a_call",
            f'The action is {short(call)}. Expected a tool call {{"name": …, "arguments": {{…}}}}. '
            f"Tools: {', '.join(toolset.names)}.",
        )
    name = call["name"]
    if name not in toolset:
        hint = suggest(name, toolset.names)
        raise CallError("unknown_tool", f"There is no tool {short(name)}.{hint} Tools: {', '.join(toolset.names)}.")
    arguments = call.get("arguments", {})
    size_wh = coordinates.seen_wh(
        sizes_wh.get(_image_of(arguments), (1000, 1000))  # that there is no such image, the tool will say
    )
    return {"name": name, "arguments": toolset[name].check(arguments, coordinates=coordinates, size_wh=size_wh)}


def express_call(
    toolset: Toolset, call: ToolCall, *, coordinates: Coordinates, sizes_wh: Mapping[str, tuple[int, int]]
) -> ToolCall:
    """Return a canonical call as an agent writes it that writes places in this way; :func:`check_call` reads it back."""
    size_wh = coordinates.seen_wh(sizes_wh.get(_image_of(call["arguments"]), (1000, 1000)))
    kinds = {p.name: p.kind for p in toolset[call["name"]].parameters}
    arguments = dict(call["arguments"])
    for name, value in arguments.items():
        kind = kinds[name]
        if isinstance(kind, CoordinateKind):
            arguments[name] = coordinates.from_share(value / 1000, kind.side_of(size_wh))
    return {"name": call["name"], "arguments": arguments}


def _image_of(arguments: object) -> str:
    """Return the name of the image that a call's places are in."""
    name = arguments.get("image") if isinstance(arguments, Mapping) else None
    return name if isinstance(name, str) else ""


def tool(
    *, answers: Sequence[AnswerKind] | None = None, requires: Sequence[str] = (), name: str | None = None
) -> Callable[[Callable[..., ToolBody]], Tool]:
    """Make a :class:`Tool` of a generator function.

    The function's first parameter is the :class:`~visenv.context.ToolContext`; each other one is annotated with an argument
    kind and described under ``Args:`` in a Google docstring, written for a model.

    Args:
        answers: For a tool that ends the episode, the kinds of answer it gives.
        requires: Expert capabilities it needs.
        name: Name for the agent; the function's own by default.

    Raises:
        BadValueError: A parameter has no kind or no description.
    """

    def make(function: Callable[..., ToolBody]) -> Tool:
        summary, described = _split_docstring(function)
        hints = get_type_hints(function, include_extras=True, localns={"ToolContext": object})
        parameters = []
        for parameter in list(inspect.signature(function).parameters.values())[1:]:
            kinds = [m for m in _metadata(hints[parameter.name]) if isinstance(m, ArgumentKind)]
            if len(kinds) != 1 or parameter.name not in described:
                raise bad_value(
                    f"{function.__name__}.{parameter.name}", hints[parameter.name],
                    expected="an annotation with one argument kind, and a line under Args: in the docstring",
                )  # fmt: skip
            required = parameter.default is inspect.Parameter.empty
            parameters.append(
                Parameter(
                    name=parameter.name,
                    kind=kinds[0],
                    description=described[parameter.name],
                    required=required,
                    default=None if required else parameter.default,
                )
            )
        return Tool(
            name=name or function.__name__, summary=summary, parameters=tuple(parameters), body=function,
            answers=None if answers is None else frozenset(answers), requires=frozenset(requires),
        )  # fmt: skip

    return make


def _find_tool(module: str, qualname: str) -> Tool:
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not isinstance(found, Tool):
        raise bad_value("tool", f"{module}:{qualname}", expected="a module-level tool")
    return found


def _metadata(hint: Any) -> tuple[Any, ...]:
    found = tuple(getattr(hint, "__metadata__", ()))
    for inner in getattr(hint, "__args__", ()):  # Optional[Annotated[…]]
        found += _metadata(inner) if inner is not hint else ()
    return found


def _split_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    text = inspect.getdoc(function) or ""
    summary, _, rest = text.partition("\nArgs:\n")
    described: dict[str, str] = {}
    for match in re.finditer(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", rest, re.MULTILINE):
        described[match[1]] = " ".join(match[2].split())
    return " ".join(summary.split()), described
