"""A person plays: calls typed as ``detect images=img_0 phrase="red car"`` or as JSON."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visenv.env import VisenvEnv, render_episode
from visenv.episode import Episode
from visenv.errors import BadValueError, bad_value, short
from visenv.images import Image
from visenv.strict_json import StrictJSONError, loads
from visenv.tools import Tool, ToolCall, Toolset

from .rundir import write_bytes

__all__ = ["describe_tools", "env_to_task", "play_by_hand", "read_call"]


def env_to_task(env: str) -> str:
    """Return the task of an env name, ``EmojiRef``, ``EmojiRef-v0`` or ``visenv/EmojiRef-v0``; options stay as they are."""
    name, colon, options = env.partition(":")
    return re.sub(r"-v\d+$", "", name.rpartition("/")[2]) + colon + options


def read_call(line: str, toolset: Toolset) -> ToolCall:
    """Read a typed call; whether its values are right is the episode's business.

    Args:
        line: JSON, or the tool's name and ``argument=value`` words; lists are separated by commas.
        toolset: Says which arguments are numbers or lists.

    Raises:
        BadValueError: Not such a line.
    """
    if line.startswith("{"):
        try:
            call = loads(line)
        except StrictJSONError as error:
            raise bad_value("call", line, expected=f"JSON ({error})") from None
        return call  # type: ignore[no-any-return]
    try:
        name, *words = shlex.split(line)
    except ValueError as error:
        raise bad_value("call", line, expected=f"words with closed quotes ({error})") from None
    properties = toolset[name].schema["properties"] if name in toolset else {}
    arguments: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or key in arguments:
            raise bad_value("argument", word, expected='argument=value, each once, such as phrase="red car"')
        arguments[key] = _typed(value, properties.get(key, {}))
    return {"name": name, "arguments": arguments}


def describe_tools(toolset: Toolset) -> str:
    """Return the tools as a person reads them."""
    return "\n".join(f"  {_usage(t)}\n      {t.summary}" for t in toolset.tools)


def play_by_hand(env: VisenvEnv, *, index: int | None, out: Path) -> float | None:
    """Play one episode from standard input and return its score; ``None`` when it was left before its end.

    Pictures of what is in view go to ``out``; what happens is printed on standard output.
    """
    env.reset(options={} if index is None else {"index": index})
    episode = env.episode
    assert episode is not None
    print(f"{episode.sample.id}\n\n  {episode.sample.instruction}\n\n{episode.opening}")
    print("Tools: " + ", ".join(episode.toolset.names) + ". Type `help` for what they take, `quit` to leave.")
    _show(episode, out)
    for line in _lines():
        if line in ("quit", "exit"):
            break
        if line in ("help", "?"):
            print(describe_tools(episode.toolset))
            continue
        try:
            call = read_call(line, episode.toolset)
        except BadValueError as error:
            print(f"Not played: {error}")
            continue
        observation, _, terminated, truncated, info = env.step(call)
        print(observation["feedback"])
        _show(episode, out)
        if terminated or truncated:
            print(f"The end: {info['reason']}. Score {episode.score:.3f} (by {env.task.profile.name}).")
            return episode.score
    print(f"Left after {len(episode.turns)} turns without an answer: no score.")
    return None


def _lines() -> Iterator[str]:
    """Read lines; a prompt and editing only for a person at a terminal."""
    person = sys.stdin.isatty()
    if person:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() history and editing
    while True:
        try:
            line = input("> " if person else "")
        except EOFError:
            return
        if line.strip():
            if not person:
                print(f"> {line.strip()}")
            yield line.strip()


def _show(episode: Episode, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"turn_{len(episode.turns):02d}.png"
    write_bytes(path, Image(render_episode(episode)).to_png())
    print(f"View: {path}")


def _typed(value: str, schema: dict[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "array":
        return [_typed(part.strip(), schema.get("items", {})) for part in value.strip("[]").split(",") if part.strip()]
    if kind in ("integer", "number", "boolean"):
        try:
            return json.loads(value)
        except ValueError:
            return value  # refused by the episode, in words
    return value


def _usage(tool: Tool) -> str:
    words = [tool.name]
    for p in tool.parameters:
        word = f"{p.name}=<{p.kind.words()}>"
        words.append(word if p.required else f"[{word}, {short(p.default)} by default]")
    return " ".join(words)
