"""The truth, submitted: what a perfect agent would score. Privileged and unranked."""

from __future__ import annotations

from typing import Any

from visenv import AnswerKind, EpisodeSpec, ToolCall
from visenv.errors import UnsuitedError

__all__ = ["Oracle"]

MOST_MASKS = 100
"""Most objects that ``select_masks_and_return`` lets choose from."""


class Oracle:
    """Registers the target as objects by its privilege, then submits them like anyone."""

    name = "oracle"

    def start(self, spec: EpisodeSpec) -> _OraclePlayer:
        """Return a player for one episode.

        Raises:
            UnsuitedError: The runner did not grant the privilege, or the tools cannot submit the truth.
        """
        return _OraclePlayer(spec)


class _OraclePlayer:
    def __init__(self, spec: EpisodeSpec) -> None:
        if spec.privilege is None:
            raise UnsuitedError(
                "The oracle needs to know the target. Expected a privilege. Play it with `visenv bench`."
            )
        self._tools = spec.toolset.names
        self._privilege = spec.privilege
        self._call(list(range(self._privilege.target.num_objects)))

    def act(self, observation: dict[str, Any]) -> ToolCall:
        """Submit the truth."""
        if self._privilege.target.kind is not AnswerKind.CHOICE:
            self._privilege.register_target()
        return self._call([o.id for o in self._privilege.objects])

    def _call(self, ids: list[int]) -> ToolCall:
        """Return the first call of the toolset that submits these objects, or what is not objects."""
        target = self._privilege.target
        calls: dict[str, dict[str, Any]] = {}
        if target.kind is AnswerKind.CHOICE:
            calls = {"submit_choice": {"choice": target.choice}, "Answer": {"final_answer": target.choice}}
        elif ids:
            calls = {"submit": {}, "Answer": {"final_answer": "As merged."}}
            if len(ids) <= MOST_MASKS:
                calls["select_masks_and_return"] = {"masks": ids}
        if target.kind is AnswerKind.COUNT:
            calls.setdefault("submit_count", {"count": target.num_objects})  # of points, say, that are no objects
            calls.setdefault("Answer", {"final_answer": "None."})
        elif not calls:
            calls = {"submit_none": {}, "Answer": {"final_answer": "None."}, "report_no_mask": {}}
        for name, arguments in calls.items():
            if name in self._tools:
                return {"name": name, "arguments": arguments}
        raise UnsuitedError(
            f"The oracle cannot submit {len(ids)} objects with these tools: {', '.join(self._tools)}. "
            f"Expected one of {', '.join(calls)}. Play it with --toolset full."
        )
