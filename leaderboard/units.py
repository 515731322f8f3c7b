"""What a published metric is counted in. Profiles give the numbers of the code they agree with, percent or not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

__all__ = ["Unit", "unit_of"]

Unit = Literal["%", "0-1", ""]

PERCENT = {
    "gres/native": ("gIoU", "cIoU", "Pr@"),
    "gres/rela": ("gIoU", "cIoU", "Pr@"),
    "refcoco/lavt480": ("mIoU", "oIoU", "Pr@"),
    "refcoco/native": ("mIoU", "oIoU", "Pr@"),
    "visdrone/toolkit": ("AP", "AR"),
}
"""By profile, how the names of its metrics in percent begin; what is no error is else a fraction."""
ERRORS = ("MAE", "RMSE")


def unit_of(metric: str, profiles: Collection[str], values: Collection[float | None]) -> Unit:
    """Return a metric's unit: percent, a fraction, or none (an error, or what nobody here knows).

    Args:
        metric: Its name.
        profiles: Names of the profiles that give it.
        values: What they give, for all agents.
    """
    if metric.startswith(ERRORS):
        return ""
    if any(metric.startswith(PERCENT[name]) for name in profiles if name in PERCENT):
        return "%"
    return "0-1" if all(0 <= value <= 1 for value in values if value is not None) else ""
