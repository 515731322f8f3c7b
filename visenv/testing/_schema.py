"""Whether what a tool's schema promises is what its validator accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import short
from ..grammars import GRAMMARS, make_grammar
from ..spaces import ToolCallSpace
from ..tools import CallError, Parameter, Tool, Toolset
from ._subject import Subject

__all__ = ["accepts", "check_schema"]

SCALARS = ("string", "integer", "number", "boolean")
PROBES: tuple[Any, ...] = (None, True, False, -(10**9), -1, 0, 1, 0.5, 10**12, "", " ", "\n\t", "word", "img_0", "x" * 5000, [], {}, [0], [-1], ["img_0"], [""], [[0]], [0.5], {"a": 1})  # fmt: skip
"""Values of every type that a model may write."""


def accepts(schema: Mapping[str, Any], value: object) -> bool:
    """Whether a value fits a flat JSON schema: types, bounds, lengths, patterns, enumerations, lists of scalars."""
    if "enum" in schema and value not in schema["enum"]:
        return False
    match schema.get("type"):
        case "integer" | "number" as kind:
            if not isinstance(value, int if kind == "integer" else (int, float)) or isinstance(value, bool):
                return False
            return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
        case "string":
            low, high = schema.get("minLength", 0), schema.get("maxLength", 10**9)
            return (
                isinstance(value, str)
                and low <= len(value) <= high
                and bool(re.search(schema.get("pattern", ""), value))
            )
        case "boolean":
            return isinstance(value, bool)
        case "array":
            low, high = schema.get("minItems", 0), schema.get("maxItems", 10**9)
            return (
                isinstance(value, list)
                and low <= len(value) <= high
                and all(accepts(schema["items"], v) for v in value)
            )
    return False


def check_schema(subject: Subject, tool: Tool, *, num_calls: int) -> None:
    """Check that schema, validator, sampled calls and grammars of a tool agree.

    Raises:
        ConformanceError: They do not.
    """
    schema = tool.schema
    with subject.running("writing its schema as JSON", remedy="Keep schemas plain."):
        json.dumps(tool.to_openai())
    subject.need(
        schema.get("additionalProperties") is False and list(schema["properties"]) == [p.name for p in tool.parameters],
        f"its schema is {short(schema)}", expected="the parameters and nothing else", remedy="Make tools with `visenv.tool`.",
    )  # fmt: skip
    for parameter in tool.parameters:
        where = subject.at(f"argument `{parameter.name}`")
        _check_flat(where, parameter)
        for value in [*PROBES, *_near(parameter.kind.schema())]:
            _check_agreement(where, parameter, value)
        if not parameter.required and parameter.default is not None:
            where.need(
                _validates(where, parameter, parameter.default), f"its default is {short(parameter.default)}",
                expected=parameter.kind.words(), remedy="Change the default or the kind.",
            )  # fmt: skip
    _check_refusals(subject, tool)
    _check_sampled(subject, tool, num_calls)


def _check_flat(where: Subject, parameter: Parameter) -> None:
    schema = parameter.kind.schema()
    inner = schema.get("items", schema) if schema.get("type") == "array" else schema
    where.need(
        inner.get("type") in SCALARS, f"its schema is {short(schema)}", expected="a scalar, or a list of scalars",
        remedy="Use several arguments: some trainers drop nested ones.",
    )  # fmt: skip
    for what, text in (("description", parameter.description), ("words", parameter.kind.words())):
        where.need(isinstance(text, str) and text.strip(), f"its {what} is {short(text)}", expected="text for a model", remedy="Describe it under Args: in the docstring.")  # fmt: skip


def _near(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Values at and just beyond the bounds of a schema."""
    for key in ("minimum", "maximum"):
        if key in schema:
            yield from (schema[key] - 1, schema[key], schema[key] + 1, float(schema[key]) + 0.5, str(schema[key]))
    for key in ("minLength", "maxLength"):
        if key in schema:
            yield from ("x" * max(0, schema[key] + d) for d in (-1, 0, 1))
    for word in schema.get("enum", ()):
        yield from (word, str(word).upper() + "?", [word])
    if schema.get("type") == "array":
        good = next((v for v in [0, "img_0", *_near(schema["items"])] if accepts(schema["items"], v)), None)
        if good is not None:
            yield from ([good] * n for n in (1, 2, schema.get("maxItems", 10), schema.get("maxItems", 10) + 1))


def _check_agreement(where: Subject, parameter: Parameter, value: object) -> None:
    promised, accepted = accepts(parameter.kind.schema(), value), _validates(where, parameter, value)
    verb = {True: "accepts", False: "refuses"}
    where.need(
        promised == accepted, f"its validator {verb[accepted]} {short(value)}, which its schema {verb[promised]}",
        expected="one meaning of a valid value", remedy=f"Make `check` and `schema` of {type(parameter.kind).__name__} agree.",
    )  # fmt: skip


def _validates(where: Subject, parameter: Parameter, value: object) -> bool:
    from ..arguments import ArgumentError

    try:
        with where.running(
            f"checking {short(value)}", remedy="Raise ArgumentError for what is not valid.", allowed=(ArgumentError,)
        ):
            parameter.kind.check(value)
    except ArgumentError:
        return False
    return True


def _check_refusals(subject: Subject, tool: Tool) -> None:
    rng = np.random.default_rng(0)
    good = {p.name: p.kind.sample(rng) for p in tool.parameters}
    wrong: list[object] = [None, [], "text", {**good, "no_such_argument": 1}]
    wrong += [{k: v for k, v in good.items() if k != p.name} for p in tool.parameters if p.required]
    for arguments in wrong:
        try:
            with subject.running(f"checking {short(arguments)}", remedy="Raise CallError.", allowed=(CallError,)):
                tool.check(arguments)
        except CallError:
            continue
        raise subject.fault(
            f"it accepts the arguments {short(arguments)}",
            expected="them to be refused",
            remedy="Leave `Tool.check` as it is.",
        )


def _check_sampled(subject: Subject, tool: Tool, num_calls: int) -> None:
    space = ToolCallSpace(Toolset(name="checked", tools=(tool,)), seed=0)
    for _ in range(num_calls):
        with subject.running("sampling a call", remedy="`sample` of an argument kind draws a valid value."):
            call = space.sample()
        fits = all(accepts(tool.schema["properties"][k], v) for k, v in call["arguments"].items())
        subject.need(
            space.contains(call) and fits, f"the sampled call {short(call)} is not valid", expected="`sample` to draw valid values",
            remedy="Make `sample` and `check` of its argument kinds agree.",
        )  # fmt: skip
        clean = tool.check(call["arguments"])
        subject.need(
            tool.check(clean) == clean, f"checking {short(clean)} once more changes it", expected="the canonical form to be valid",
            remedy="`check` returns what it would accept.",
        )  # fmt: skip
        for name in GRAMMARS:
            grammar = make_grammar(name)
            with subject.running(
                f"writing {short(call)} in the grammar {name!r}", remedy="Keep argument values plain JSON."
            ):
                read = grammar.parse(grammar.render(call, space.toolset), space.toolset).call
            subject.need(read == call, f"in the grammar {name!r} the call {short(call)} reads {short(read)}", expected="the same call", remedy="Keep argument values plain JSON.")  # fmt: skip
