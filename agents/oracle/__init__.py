"""The truth, submitted: what a perfect agent would score. Privileged and unranked."""

from __future__ import annotations

from typing import Any

from visenv import AnswerKind, EpisodeSpec, ToolCall
from visenv.errors import UnsuitedError

__all__ = ["Oracle"]


class Oracle:
    """Registers the target as objects by its privilege, then submits them like anyone."""

    name = "oracle"

    def start(self, spec: EpisodeSpec) -> _OraclePlayer:
        """Return a player for one episode.

        Raises:
            UnsuitedError: The runner did not grant the privilege.
        """
        return _OraclePlayer(spec)


class _OraclePlayer:
    def __init__(self, spec: EpisodeSpec) -> None:
        if spec.privilege is None:
            raise UnsuitedError(
                "The oracle needs to know the target. Expected a privilege. Play it with `visenv bench`."
            )
        self._spec = spec
        self._privilege = spec.privilege

    def act(self, observation: dict[str, Any]) -> ToolCall:
        """Submit the truth."""
        target, tools = self._privilege.target, self._spec.toolset
        if target.kind is AnswerKind.CHOICE:
            return _final(
                tools.names, {"submit_choice": {"choice": target.choice}, "Answer": {"final_answer": target.choice}}
            )
        self._privilege.register_target()
        if self._privilege.objects:
            return _final(tools.names, {"submit": {}, "Answer": {"final_answer": "As merged."}})
        if target.kind is AnswerKind.COUNT:
            count = {"count": target.num_objects}  # of points, say, that are no objects
            return _final(tools.names, {"submit_count": count, "Answer": {"final_answer": "None."}})
        return _final(tools.names, {"submit_none": {}, "Answer": {"final_answer": "None."}})


def _final(tools: list[str], calls: dict[str, dict[str, Any]]) -> ToolCall:
    """Return the first of the calls that the toolset has."""
    for name, arguments in calls.items():
        if name in tools:
            return {"name": name, "arguments": arguments}
    raise UnsuitedError(
        f"The oracle cannot submit with these tools: {', '.join(tools)}. Expected one of {', '.join(calls)}."
    )
