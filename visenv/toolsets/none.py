"""The ``none`` toolset: no experts. The control for "same model, no tools"."""

from __future__ import annotations

from ..tools import Toolset
from ._shared import submit, submit_choice, submit_count, submit_none
from .full import draw_box

__all__ = ["NONE"]

NONE = Toolset(
    name="none",
    tools=(draw_box, submit, submit_none, submit_count, submit_choice),
    guidance=(
        "There are no experts. Mark what the instruction asks for with draw_box and "
        "submit; where a mask is wanted, a box counts with all its pixels. It is possible that nothing matches."
    ),
)
"""Boxes of one's own, and submitting."""
