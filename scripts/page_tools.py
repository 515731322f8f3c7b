"""The pages of toolsets and grammars, from the tools, the docstrings and the prompts themselves."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterable
from pathlib import Path

from visenv import plugins
from visenv.coordinates import COORDINATES
from visenv.grammars import GRAMMARS, Grammar, make_grammar
from visenv.tools import Parameter, Tool, ToolCall, Toolset

__all__ = ["GRAMMAR_PAGES", "TOOLSET_PAGES", "markdown", "tool_pages"]

TOOLSET_PAGES = Path("docs/toolsets")
GRAMMAR_PAGES = Path("docs/grammars")
PROMPTS = "visenv/grammars/prompts"
WARNING = "<!-- Made by scripts/make_pages.py from the code's docstrings and prompts: edit those and run it again. -->"
EXAMPLE: ToolCall = {
    "name": "draw_box",
    "arguments": {"image": "img_0", "x1": 120, "y1": 80, "x2": 460, "y2": 730, "label": "cup"},
}
SIZES_WH = {"img_0": (640, 480)}


def tool_pages() -> dict[Path, str]:
    """Return the text of the page of every toolset and every grammar, and of an index of each, by its path in the repository."""
    toolsets = [
        plugins.load("toolsets", name)
        for name, plugin in plugins.plugins("toolsets").items()
        if plugin.entry_point.value.startswith("visenv.")
    ]
    grammars = [make_grammar(name) for name in GRAMMARS]
    return {
        **{TOOLSET_PAGES / f"{toolset.name}.md": _toolset_page(toolset) for toolset in toolsets},
        TOOLSET_PAGES / "README.md": _toolset_index(toolsets),
        **{GRAMMAR_PAGES / f"{grammar.name}.md": _grammar_page(grammar) for grammar in grammars},
        GRAMMAR_PAGES / "README.md": _grammar_index(grammars),
    }


def markdown(text: str) -> str:
    """Turn what docstrings have of reStructuredText into Markdown: code marks and references."""
    text = re.sub(r":(?:class|func|meth|mod):`~(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r":(?:class|func|meth|mod):`([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def _toolset_page(toolset: Toolset) -> str:
    summary, about = _about(toolset)
    turns = (
        "as many as the task gives"
        if toolset.max_turns is None
        else f"at most {toolset.max_turns}, or the task's if fewer"
    )
    late = "nothing" if toolset.at_turn_limit is None else "what would be submitted then"
    experts = sorted({capability for tool in toolset.tools for capability in tool.requires})
    lines = [
        WARNING, "", f"# `{toolset.name}`", "", summary, "", *([about, ""] if about else []),
        "| | |", "|---|---|",
        f"| turns | {turns} |",
        f"| when the turns run out | {late} counts as submitted |",
        f"| experts | {', '.join(f'`{e}`' for e in experts) or 'none'} |",
        "", "```bash", f"visenv bench --agent random --task EmojiRef --toolset {toolset.name} --limit 20 --out runs/{toolset.name}", "```",
        "", "## Tools", "",
        "A tool whose expert is not there is left out; so is a final tool that cannot give the kind of answer that is asked for.", "",
    ]  # fmt: skip
    for tool in toolset.tools:
        lines += _tool(tool)
    lines += [
        "## Prompt", "", "What a model is told in the grammar [`hermes`](../grammars/hermes.md), all tools at hand:", "",
        *_block(make_grammar("hermes").system_prompt(toolset)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _tool(tool: Tool) -> list[str]:
    ends = (
        ""
        if tool.answers is None
        else f" Ends the episode; for {', '.join(sorted(f'`{kind.value}`' for kind in tool.answers))}."
    )
    needs = f" Asks: {', '.join(f'`{e}`' for e in sorted(tool.requires))}." if tool.requires else ""
    lines = [f"### `{tool.name}`", "", f"{tool.summary}{ends}{needs}", ""]
    if tool.parameters:
        lines += ["| argument | what | values |", "|---|---|---|", *(_parameter(p) for p in tool.parameters), ""]
    return lines


def _parameter(parameter: Parameter) -> str:
    default = "" if parameter.required else f"; `{json.dumps(parameter.default)}` if not given"
    return f"| `{parameter.name}` | {parameter.description} | {parameter.kind.words()}{default} |"


def _toolset_index(toolsets: Iterable[Toolset]) -> str:
    lines = [
        WARNING, "", "# Toolsets", "", "What an agent may call. `--toolset NAME`; [grammars](../grammars/README.md) say how a model writes a call.", "",
        "| toolset | what it is | tools |", "|---|---|---|",
    ]  # fmt: skip
    for toolset in toolsets:
        names = ", ".join(f"`{name}`" for name in toolset.names)
        lines.append(f"| [`{toolset.name}`]({toolset.name}.md) | {' '.join(_about(toolset)[0].split())} | {names} |")
    return "\n".join(lines) + "\n"


def _about(toolset: Toolset) -> tuple[str, str]:
    """Return the first paragraph of the docstring of a toolset's module, and the rest."""
    module = importlib.import_module(f"visenv.toolsets.{toolset.name}")
    first, _, rest = markdown(inspect.cleandoc(module.__doc__ or "")).partition("\n\n")
    first = re.sub(r"^The `\w+` toolset: ", "", first)
    return first[0].upper() + first[1:], rest.strip()


def _grammar_page(grammar: Grammar) -> str:
    none: Toolset = plugins.load("toolsets", "none")
    stop = ", ".join(f"`{s}`" for s in grammar.stop) or "none"
    lines = [
        WARNING, "", f"# `{grammar.name}`", "", markdown(inspect.getdoc(type(grammar)) or ""), "",
        "| | |", "|---|---|",
        f"| tools | {'sent beside the messages' if grammar.sends_tools else 'listed in the prompt'} |",
        f"| stop strings | {stop} |",
        f"| classes of malformed replies | {', '.join(f'`{code}`' for code in grammar.error_codes)} |",
        "", "A reply belongs to one class at most, and is an observation that costs a turn. Its format reward is 1 if it parses, else 0.",
        "", "## A call", "", "After a thought, in the three ways of writing places:", "",
    ]  # fmt: skip
    for name in COORDINATES:
        made = make_grammar(f"{grammar.name}:coordinates={name}")
        call = {**EXAMPLE, "arguments": {**EXAMPLE["arguments"], **_places(made)}}
        lines += [
            f"`{grammar.name}{'' if name == 'thousandths' else f':coordinates={name}'}`: {made.coordinates.sentence}",
            "",
        ]
        lines += _block(made.render(call, none, "The cup stands on the left."))
    back = grammar.feedback_messages("1 object left.", [{"type": "image", "image": "view_1"}], 1, answered_call=True)
    lines += [
        "## What comes back",
        "",
        "As chat messages, a picture with it:",
        "",
        *_block("\n".join(map(json.dumps, back))),
    ]
    lines += [
        "## Prompt", "", f"From the file `{PROMPTS}/{grammar.name}.md`, filled in for the toolset [`none`](../toolsets/none.md):", "",
        *_block(grammar.system_prompt(none)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _places(grammar: Grammar) -> dict[str, int | float]:
    width, height = SIZES_WH["img_0"]
    sides = {"x1": width, "y1": height, "x2": width, "y2": height}
    return {
        name: grammar.coordinates.from_share(EXAMPLE["arguments"][name] / 1000, side) for name, side in sides.items()
    }


def _grammar_index(grammars: Iterable[Grammar]) -> str:
    lines = [
        WARNING, "", "# Grammars", "",
        "How a language model writes a call, and how it is told of the tools. `--grammar NAME`, or `NAME:coordinates=pixels` or `fractions` for "
        "models that write places so; calls that are recorded always hold 0-1000. [Toolsets](../toolsets/README.md) say what can be called.",
        "", "| grammar | form |", "|---|---|",
    ]  # fmt: skip
    for grammar in grammars:
        first = markdown(inspect.getdoc(type(grammar)) or "").partition("\n\n")[0]
        lines.append(f"| [`{grammar.name}`]({grammar.name}.md) | {' '.join(first.split())} |")
    return "\n".join(lines) + "\n"


def _block(text: str) -> list[str]:
    return ["````text", text, "````", ""]
