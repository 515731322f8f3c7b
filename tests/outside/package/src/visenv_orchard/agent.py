"""An agent that picks and submits."""

from __future__ import annotations

from typing import Any

from visenv import EpisodeSpec, ToolCall
from visenv.errors import UnsuitedError


class Picker:
    """Picks the ripe apples and submits what it has."""

    name = "orchard-agent"

    def start(self, spec: EpisodeSpec) -> PickerPlayer:
        """Return a player for one episode."""
        if "pick_ripe" not in spec.toolset:
            raise UnsuitedError("`orchard-agent` needs the tool pick_ripe. Play it with --toolset orchard.")
        return PickerPlayer()


class PickerPlayer:
    """Plays one episode; an agent that remembers something keeps it here."""

    def act(self, observation: dict[str, Any]) -> ToolCall:
        """Return the next call."""
        if observation["turn"] == 0:
            return {"name": "pick_ripe", "arguments": {"image": "img_0"}}
        return {"name": "submit" if observation["objects"] else "submit_none", "arguments": {}}
