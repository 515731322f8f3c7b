"""Toolsets: named sets of tools that agents play with."""

from .full import FULL
from .imagent import IMAGENT
from .none import NONE
from .rsagent import RSAGENT
from .sam3agent import SAM3AGENT
from .visharness import VISHARNESS
from .zoom import ZOOM

__all__ = ["FULL", "IMAGENT", "NONE", "RSAGENT", "SAM3AGENT", "VISHARNESS", "ZOOM"]
