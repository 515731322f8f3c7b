"""One question to a language model for the boxes, one segmentation each, submit: the shape of LISA and Seg-Zero."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from visenv import AnswerKind, EpisodeSpec, ToolCall
from visenv.chat import plain_text
from visenv.completions import Completion
from visenv.coordinates import Coordinates
from visenv.errors import UnsuitedError
from visenv.experts.vlm import ReplyError
from visenv.tools import express_call

from ..zero_shot import ZeroShot, ZeroShotPlayer
from .reading import Box1000, read_boxes, read_letter, read_options

__all__ = ["OneShotMLLM", "OneShotMLLMPlayer"]

MARKS = {AnswerKind.MASK: ("segment_box", "prompt_box", "draw_box"), AnswerKind.BOXES: ("draw_box", "segment_box")}
"""Tools that make an object of a box, the best first."""
QUESTIONS = ("boxes", "choice")
LONGEST_THOUGHT = 20_000
"""Characters of a reply that go into the record."""


class OneShotMLLM(ZeroShot):
    """Asks a vision-language model once where the things are, and has each box segmented.

    The control for what a sequence of calls adds to the same model: it never sees a result. It takes the options of ``zero-shot``;
    ``coordinates`` and ``vision`` say how the model writes boxes. Where a number is wanted it is that of the boxes, where a
    letter is wanted it is asked for that.
    """

    name = "one-shot-mllm"

    @property
    def identity(self) -> str:
        """The model's, and the SHA-256 of the questions, for the run's settings: in other words it is another run."""
        told = "\n".join(_question_of(name).template for name in QUESTIONS)
        return f"{super().identity}, questions {hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def start(self, spec: EpisodeSpec) -> OneShotMLLMPlayer:
        """Return a player for one episode.

        Raises:
            UnsuitedError: The tools cannot submit what the task wants, or take no boxes.
        """
        return OneShotMLLMPlayer(self, spec)


class OneShotMLLMPlayer(ZeroShotPlayer):
    """One episode: the question at first, then its calls."""

    def __init__(self, agent: OneShotMLLM, spec: EpisodeSpec) -> None:
        super().__init__(agent, spec)
        self._spec = spec
        self._mark = self._choose_mark()
        self._plan: list[ToolCall] = []
        self._unreadable: ReplyError | None = None

    async def aact(self, observation: dict[str, Any]) -> str | ToolCall:
        """Ask, then play what the reply says, call by call.

        Raises:
            TokenLimitError: The context is full.
            CompletionError: The model cannot be asked; the episode fails.
            ReplyError: The reply, which is in the first turn, could not be read, or nothing came of it: nothing is submitted.
        """
        if observation["turn"] == 0:
            return await self._begin(observation["instruction"])
        if self._unreadable is not None:
            raise self._unreadable
        if self._plan[0]["name"] == "submit" and not observation["objects"]:
            raise ReplyError("of boxes in which nothing could be segmented")
        return self._plan.pop(0)

    async def _begin(self, instruction: str) -> str:
        """Ask, and return the first call with the reply as its thought."""
        completion = await self._question(instruction)
        try:
            self._plan = self._plan_of(completion, instruction)
        except ReplyError as error:
            self._unreadable = error
            self._plan = [_call("")]
        first, toolset = self._plan.pop(0), self._spec.toolset
        if self._unreadable is None:
            first = express_call(toolset, first, coordinates=self._coordinates, sizes_wh={"img_0": self._size_wh})
        # In a think block, as the reply may hold what looks like a call.
        thought = f"<think>\n{completion.content[:LONGEST_THOUGHT]}\n</think>"
        return self.conversation.grammar.render(first, toolset, thought)

    @property
    def _coordinates(self) -> Coordinates:
        return self.conversation.grammar.coordinates.seen_by(self.conversation.vision)

    async def _question(self, instruction: str) -> Completion:
        """Put the question, with the source images before it."""
        conversation = self.conversation
        pictures = conversation.messages()[-1]["content"][:-1]
        self._size_wh = next(part["image"] for part in pictures if part["type"] == "image").size_wh
        name = QUESTIONS[self._spec.kind is AnswerKind.CHOICE]
        text = _question_of(name).substitute(
            instruction=plain_text(instruction), coordinates=conversation.grammar.coordinates.sentence
        )
        content = [*pictures, {"type": "text", "text": text.strip()}]
        return await self.ask([{"role": "user", "content": content}], turn=0)

    def _plan_of(self, completion: Completion, instruction: str) -> list[ToolCall]:
        """Return the calls that a reply asks for."""
        reply, cut = completion.content, completion.finish == "length"
        if self._spec.kind is AnswerKind.CHOICE:
            return [self._choice(read_letter(reply, options=read_options(instruction), cut=cut))]
        if self._spec.kind is AnswerKind.COUNT and cut:  # whoever repeats one box without end has not counted
            raise ReplyError("cut off before the end of its list; allow more with max_tokens=…")
        boxes = read_boxes(reply, coordinates=self._coordinates, size_wh=self._size_wh, cut=cut)
        if self._spec.kind is AnswerKind.COUNT:
            return [_call("submit_count", count=len(boxes))]
        if not boxes:
            return [_call("submit_none")]
        return [*self._marked(boxes), _call("submit")]

    def _marked(self, boxes: Sequence[tuple[Box1000, str]]) -> list[ToolCall]:
        # One object at a time is all that `prompt_box` keeps, and the last turn is for submitting.
        most = 1 if self._mark == "prompt_box" else self._spec.max_turns - 1
        calls = []
        for (x1, y1, x2, y2), label in boxes[:most]:
            named = {} if self._mark == "prompt_box" else {"label": label}
            calls.append(_call(self._mark, image="img_0", x1=x1, y1=y1, x2=x2, y2=y2, **named))
        return calls

    def _choice(self, letter: str) -> ToolCall:
        if "submit_choice" in self._spec.toolset:
            return _call("submit_choice", choice=letter)
        return _call("Answer", final_answer=letter)

    def _choose_mark(self) -> str:
        """Return the tool that makes objects of boxes; none where no objects are wanted."""
        kind, toolset = self._spec.kind, self._spec.toolset
        if kind is AnswerKind.CHOICE and ("submit_choice" in toolset or "Answer" in toolset):
            return ""
        if kind is AnswerKind.COUNT and "submit_count" in toolset:
            return ""
        mark = next((name for name in MARKS.get(kind, ()) if name in toolset), "")
        if not mark or self._spec.max_turns < 2:
            raise UnsuitedError(
                f"`one-shot-mllm` cannot play this task with the toolset {toolset.name!r} in {self._spec.max_turns} turns: expected "
                f"two, and a tool that takes boxes. Use the toolset `full`, or `none`."
            )
        return mark


@cache
def _question_of(name: str) -> Template:
    return Template((files(__package__) / "prompts" / f"{name}.md").read_text(encoding="utf-8"))


def _call(name: str, **arguments: Any) -> ToolCall:
    return {"name": name, "arguments": arguments}
