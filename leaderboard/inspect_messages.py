"""Our chats as Inspect's, and the replies of its models as ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentReasoning,
    ContentText,
    ModelOutput,
)
from inspect_ai.tool import ToolCall, ToolInfo

from visenv.chat import Conversation, Message
from visenv.completions import Completion
from visenv.completions._replies import cut_at_stop
from visenv.encoding import resize_image, to_data_url
from visenv.errors import InfrastructureError
from visenv.grammars import Grammar
from visenv.images import Image
from visenv.tools import Toolset
from visenv.vision import Vision

__all__ = ["Chat", "read_reply", "to_tool_infos"]


class Chat:
    """A conversation in Inspect's messages.

    What did not change since the turn before stays the same message, under the same id, so that Inspect's log holds it once.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._before: list[tuple[Message, ChatMessage]] = []
        self._urls: dict[Image, str] = {}

    def messages(self) -> list[ChatMessage]:
        """Return the prompt of the next turn."""
        self._before = [(m, self._convert(place, m)) for place, m in enumerate(self._conversation.messages())]
        return [message for _, message in self._before]

    def _convert(self, place: int, message: Message) -> ChatMessage:
        if place < len(self._before) and self._before[place][0] == message:
            return self._before[place][1]
        return _to_chat_message(message, self._url_of)

    def _url_of(self, image: Image) -> str:
        if image not in self._urls:
            self._urls[image] = _encode(image, self._conversation.vision)
        return self._urls[image]


def read_reply(output: ModelOutput, grammar: Grammar, toolset: Toolset) -> str | dict[str, Any]:
    """Return what a model wrote, thoughts included, in the form that the grammar parses.

    Raises:
        InfrastructureError: The provider withheld it.
    """
    if output.stop_reason == "content_filter":
        raise InfrastructureError(
            f"A content filter withheld the reply: {output.error or output.completion or 'no reason given'}."
        )
    message = output.message if output.choices else ChatMessageAssistant(content="")
    thoughts = "".join(part.text for part in message.content_list if isinstance(part, ContentReasoning))
    text = "".join(part.text for part in message.content_list if isinstance(part, ContentText))
    calls = message.tool_calls or []
    if grammar.sends_tools:
        return {"content": thoughts + text or None, "tool_calls": [_to_native_call(call) for call in calls]}
    # Not every provider passes the stop strings on, which close a call: of calls that a server took out of the text unasked, the
    # first would have been the last.
    text = cut_at_stop(Completion(content=text), grammar.stop).content
    unasked = [_written(call, grammar, toolset) for call in (calls[:1] if grammar.stop else calls)]
    text = "\n".join(filter(None, [thoughts + text, *unasked]))
    return grammar.restore_stop(text) if output.stop_reason == "stop" else text


def to_tool_infos(tools: list[dict[str, Any]]) -> list[ToolInfo]:
    """Return tools in OpenAI's form as Inspect's, which know no bounds on the length of lists; the episode checks them."""
    return [ToolInfo.model_validate(tool["function"]) for tool in tools]


def _to_chat_message(message: Message, url_of: Callable[[Image], str]) -> ChatMessage:
    content = message["content"]
    parts: str | list[Content] = (
        [_to_content(part, url_of) for part in content] if isinstance(content, list) else content or ""
    )
    match message["role"]:
        case "system":
            return ChatMessageSystem(content=parts)
        case "user":
            return ChatMessageUser(content=parts)
        case "tool":
            return ChatMessageTool(content=parts, tool_call_id=message["tool_call_id"])
    calls = [
        ToolCall(id=call["id"], function=call["function"]["name"], arguments=json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]
    return ChatMessageAssistant(content=parts, tool_calls=calls or None)


def _to_content(part: dict[str, Any], url_of: Callable[[Image], str]) -> Content:
    if part["type"] == "image":
        return ContentImage(image=url_of(part["image"]))
    return ContentText(text=part["text"])


def _encode(image: Image, vision: Vision) -> str:
    return to_data_url(resize_image(image, vision.resized_wh(image.size_wh)))


def _written(call: ToolCall, grammar: Grammar, toolset: Toolset) -> str:
    if call.parse_error is not None:  # quotes the arguments, in which another call may stand
        words = json.dumps(call.parse_error, ensure_ascii=False).replace("<", "\\u003c")
        stop = "".join(grammar.stop[:1])
        return f"{stop.replace('</', '<', 1)}{words}{stop}"
    return grammar.render({"name": call.function, "arguments": call.arguments}, toolset)


def _to_native_call(call: ToolCall) -> dict[str, Any]:
    """Return a call as OpenAI's API has it; arguments that Inspect could not read stay unreadable."""
    arguments = call.parse_error if call.parse_error is not None else json.dumps(call.arguments, ensure_ascii=False)
    return {"type": "function", "function": {"name": call.function, "arguments": arguments}}
