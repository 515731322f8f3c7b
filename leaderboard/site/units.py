"""What a published metric is counted in. Profiles give the numbers of the code they agree with, percent or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..summary import SummaryRow

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


def unit_of(metric: str, rows: Sequence[SummaryRow]) -> Unit:
    """Return a metric's unit: percent, a fraction, or none (an error, or what nobody here knows)."""
    if metric.startswith(ERRORS):
        return ""
    if any(metric.startswith(PERCENT[row.profile]) for row in rows if row.profile in PERCENT):
        return "%"
    values = [value for row in rows if (value := row.metrics.get(metric)) is not None]
    return "0-1" if all(0 <= value <= 1 for value in values) else ""
