"""One grounding call with the raw instruction, one segmentation, submit: the shape of LISA and Seg-Zero."""

from __future__ import annotations

from typing import Any

from visenv import AnswerKind, EpisodeSpec, ToolCall

__all__ = ["OneShot"]


class OneShot:
    """Hands the instruction to the detector as it is and submits everything found.

    The control for what a sequence of calls adds: it never looks at a result. Options ("A" to "E") are beyond it; it
    answers "A".
    """

    name = "one-shot"

    def start(self, spec: EpisodeSpec) -> _OneShotPlayer:
        """Return a player for one episode."""
        return _OneShotPlayer(spec)


class _OneShotPlayer:
    def __init__(self, spec: EpisodeSpec) -> None:
        self._spec = spec

    def act(self, observation: dict[str, Any]) -> ToolCall:
        """Detect, segment, submit; with VisHarness's tools detect, merge, answer; with SAM 3 Agent's a phrase, and all its masks."""
        turn, objects = observation["turn"], [o["id"] for o in observation["objects"]]
        phrase = observation["instruction"].splitlines()[0][:200]
        if self._spec.kind is AnswerKind.CHOICE:
            return self._choose()
        if "PhraseToBoxMask" in self._spec.toolset:
            return self._play_visharness(observation, phrase)
        if "segment_phrase" in self._spec.toolset:
            return self._play_sam3agent(turn, objects, phrase)
        if "detect" not in self._spec.toolset:
            return {"name": "submit_none", "arguments": {}}
        if turn == 0:
            return {"name": "detect", "arguments": {"images": ["img_0"], "phrase": phrase}}
        if not objects:
            return {"name": "submit_none", "arguments": {}}
        if turn == 1 and self._spec.kind is AnswerKind.MASK:
            return {"name": "segment", "arguments": {"objects": objects}}
        return {"name": "submit", "arguments": {}}

    def _choose(self) -> ToolCall:
        if "submit_choice" in self._spec.toolset:
            return {"name": "submit_choice", "arguments": {"choice": "A"}}
        return {"name": "Answer", "arguments": {"final_answer": "A"}}

    def _play_visharness(self, observation: dict[str, Any], phrase: str) -> ToolCall:
        if observation["turn"] == 0:
            return {"name": "PhraseToBoxMask", "arguments": {"images": ["img_0"], "phrase": phrase}}
        if observation["turn"] == 1:
            return {"name": "MergeBoxMask", "arguments": {"images": ["img_0"]}}
        return {"name": "Answer", "arguments": {"final_answer": "Done."}}

    def _play_sam3agent(self, turn: int, objects: list[int], phrase: str) -> ToolCall:
        if turn == 0:
            return {"name": "segment_phrase", "arguments": {"phrase": phrase}}
        if turn == 1 and objects:  # too many are refused
            return {"name": "select_masks_and_return", "arguments": {"masks": objects}}
        return {"name": "report_no_mask", "arguments": {}}
