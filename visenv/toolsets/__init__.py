"""Toolsets: named sets of tools that agents play with."""

from .full import FULL
from .none import NONE
from .visharness import VISHARNESS

__all__ = ["FULL", "NONE", "VISHARNESS"]
