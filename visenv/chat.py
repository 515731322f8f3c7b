"""An episode as chat messages for a language model, under its memory policy."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from .episode import Episode
from .images import Image
from .memory import Shown, VisualMemory
from .tools import ToolCall, express_call

__all__ = ["Message", "render_messages", "to_openai_messages"]

Message = dict[str, Any]
"""A chat message; ``content`` is text or a list of parts ``{"type": "text", …}`` or ``{"type": "image", "image": Image}``."""


def render_messages(episode: Episode, *, turn: int | None = None) -> list[Message]:
    """Render what a language model sees before a turn.

    The prompt of turn ``t`` depends on the sample, the rules and the turns before ``t`` only, so it can be rendered again
    after the episode for training, equal to what was seen in the rollout.

    Args:
        episode: The episode, running or over.
        turn: Render the prompt of this turn, from 1; the next one by default.

    Returns:
        System message, instruction with the source images, and for each turn the reply and what came back. Images that
        the memory policy archived are replaced by one line of text that names them.
    """
    played = len(episode.turns) if turn is None else turn - 1
    if not 0 <= played <= len(episode.turns):
        raise IndexError(
            f"Turn {turn} of an episode with {len(episode.turns)} turns. Expected 1 to {len(episode.turns) + 1}."
        )
    turns = episode.turns[:played]
    grammar = episode.rules.grammar
    shown = episode.memory.shown[: 1 + sum(t.error is None for t in turns)]  # the start, and each valid turn's
    visible = set(episode.memory.policy.select(shown))
    messages: list[Message] = [{"role": "system", "content": grammar.system_prompt(episode.toolset)}]
    start = _parts(episode.memory, shown, visible, 0)
    opening = f"{episode.sample.instruction}\n\n{episode.opening}"
    messages.append({"role": "user", "content": [*start, {"type": "text", "text": opening}]})
    place = 0
    for one in turns:
        if one.error is None:
            place += 1
            images = _parts(episode.memory, shown, visible, place)
        else:
            images = []
        reply = one.reply if one.reply is not None else _written(episode, one.call)
        messages.append(grammar.assistant_message(reply, one.number, episode.toolset))
        messages += grammar.feedback_messages(
            one.feedback, images, one.number, answered_call=bool(messages[-1].get("tool_calls"))
        )
    return messages


def _written(episode: Episode, call: ToolCall | None) -> str:
    """Return a call that was no text as the grammar writes it."""
    grammar, toolset = episode.rules.grammar, episode.toolset
    if call is None:
        return grammar.render({"name": "", "arguments": {}}, toolset)
    sizes_wh = episode.memory.sizes_wh
    return grammar.render(express_call(toolset, call, coordinates=grammar.coordinates, sizes_wh=sizes_wh), toolset)


def to_openai_messages(messages: Sequence[Message]) -> list[Message]:
    """Replace image parts by data URLs of PNG files, as OpenAI-compatible endpoints take them."""
    converted = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            message = {**message, "content": [_to_openai_part(part) for part in content]}
        converted.append(message)
    return converted


def _to_openai_part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image":
        return part
    image: Image = part["image"]
    url = f"data:image/png;base64,{base64.b64encode(image.to_png()).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _parts(
    memory: VisualMemory, shown: Sequence[Sequence[str]], visible: set[Shown], place: int
) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for slot, name in enumerate(shown[place]):
        if (place, slot) in visible:
            parts.append({"type": "text", "text": f"{name}:"})
            parts.append({"type": "image", "image": memory.images[name].image})
        else:
            parts.append({"type": "text", "text": f"[{name} is archived]"})
    return parts
