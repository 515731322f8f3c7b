"""An episode as chat messages for a language model, under its memory policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .encoding import to_data_url
from .episode import Episode
from .grammars import Grammar
from .images import Image
from .memory import Shown, VisualMemory
from .strict_json import encodable
from .tools import ToolCall, express_call
from .vision import Vision

__all__ = ["Conversation", "Message", "plain_text", "render_messages", "to_openai_messages"]

Message = dict[str, Any]
"""A chat message; ``content`` is text or a list of parts ``{"type": "text", …}`` or ``{"type": "image", "image": Image}``."""

LONGEST_MISTAKE = 8_000
"""Characters of a reply that was no valid call which its later prompts show."""
MARK = re.compile(
    r"<(?=\|[\w-]{1,40}\|>|/?(?:image|img|video|IMG_CONTEXT|image_soft_token|(?:start|end)_of_(?:image|turn|utterance)|"
    r"fake_token_around_image|global-img|row_\d+_col_\d+|s|bos|eos|pad|unk)>)",
    re.IGNORECASE,
)
"""Where text spells one of the tokens that mark turns and pictures in the chat templates of open models."""


class Conversation:
    """An episode as the language model that plays it sees it: the prompt of its next turn, and nothing of the truth."""

    def __init__(self, episode: Episode) -> None:
        self._rules, self._toolset = episode.rules, episode.toolset
        self._render: Callable[[], list[Message]] = partial(render_messages, episode)

    @property
    def grammar(self) -> Grammar:
        """How the model writes calls."""
        return self._rules.grammar

    @property
    def vision(self) -> Vision:
        """How the model takes pictures in."""
        return self._rules.vision

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools in OpenAI's form where they are sent beside the messages; else none, for the prompt lists them."""
        return self.grammar.tools_beside(self._toolset)

    def messages(self) -> list[Message]:
        """Return the prompt of the next turn; see :func:`render_messages`."""
        return self._render()


def plain_text(text: str) -> str:
    """Return text from outside as prompts hold it: half surrogates replaced, what spells a chat template's mark set apart."""
    return _spaced(encodable(text))


def render_messages(episode: Episode, *, turn: int | None = None) -> list[Message]:
    """Render what a language model sees before a turn.

    The prompt of turn ``t`` depends on the sample, the rules and the turns before ``t`` only, so it can be rendered again
    after the episode for training, equal to what was seen in the rollout.

    Args:
        episode: The episode, running or over.
        turn: Render the prompt of this turn, from 1; the next one by default.

    Returns:
        System message, instruction with the source images, and for each turn the reply and what came back. Images that
        the memory policy archived are replaced by one line of text that names them. All text can be encoded: half surrogates,
        which a model may have written, are replaced, and what spells a mark of a chat template is set apart.
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
    messages: list[Message] = [{"role": "system", "content": episode.system_prompt}]
    start = _parts(episode.memory, shown, visible, 0)
    opening = encodable(f"{episode.sample.instruction}\n\n{episode.opening}")
    messages.append({"role": "user", "content": [*start, {"type": "text", "text": opening}]})
    place = 0
    for one in turns:
        if one.error is None:
            place += 1
            images = _parts(episode.memory, shown, visible, place)
        else:
            images = []
        reply = one.reply if one.reply is not None else _written(episode, one.call)
        if (
            one.error is not None and len(reply) > LONGEST_MISTAKE
        ):  # endless repetition would fill the context again each turn
            reply = f"{reply[:LONGEST_MISTAKE]}… [{len(reply) - LONGEST_MISTAKE} more characters]"
        messages.append(grammar.assistant_message(encodable(reply), one.number, episode.toolset))
        messages += grammar.feedback_messages(
            encodable(one.feedback), images, one.number, answered_call=bool(messages[-1].get("tool_calls"))
        )
    return [messages[0], *map(_without_marks, messages[1:])]


def _without_marks(message: Message) -> Message:
    """Return a message that ends no turn and claims no picture by its words, for a server fails at a picture that is not there.

    A model could else turn its own failure into one of ours, which has no score.
    """
    message = dict(message)
    content = message.get("content")
    if isinstance(content, str):
        message["content"] = _spaced(content)
    elif content is not None:
        message["content"] = [{**p, "text": _spaced(p["text"])} if p["type"] == "text" else p for p in content]
    if "tool_calls" in message:
        message["tool_calls"] = [
            {**call, "function": {key: _spaced(text) for key, text in call["function"].items()}}
            for call in message["tool_calls"]
        ]
    return message


def _spaced(text: str) -> str:
    return MARK.sub("< ", text) if "<" in text else text


def _written(episode: Episode, call: ToolCall | None) -> str:
    """Return a call that was no text as the grammar writes it."""
    grammar, toolset = episode.rules.grammar, episode.toolset
    if call is None:
        return grammar.render({"name": "", "arguments": {}}, toolset)
    sizes_wh = episode.memory.sizes_wh
    return grammar.render(
        express_call(toolset, call, coordinates=episode.rules.coordinates, sizes_wh=sizes_wh), toolset
    )


def to_openai_messages(messages: Sequence[Message], *, url_of: Callable[[Image], str] = to_data_url) -> list[Message]:
    """Replace image parts by addresses, as OpenAI-compatible endpoints take them.

    Args:
        messages: Of :func:`render_messages`.
        url_of: Makes the address of a picture; a data URL of its PNG file by default.
    """
    converted = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            message = {**message, "content": [_to_openai_part(part, url_of) for part in content]}
        converted.append(message)
    return converted


def _to_openai_part(part: dict[str, Any], url_of: Callable[[Image], str]) -> dict[str, Any]:
    if part["type"] != "image":
        return part
    return {"type": "image_url", "image_url": {"url": url_of(part["image"])}}


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
