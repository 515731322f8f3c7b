"""What ``visenv experts eval`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from .experts_eval import Measured

__all__ = ["print_measured"]

TITLES = {
    "detector": "Detector: every picture at its own size; finds at IoU 0.5",
    "dense": "Detector on large pictures (EmojiDense): shrunk to its input, as they are, in slices",
    "segmenter": "Segmenter: mean IoU after the prompt and after each correcting click",
}
DETECTOR = {"map50": "mAP50", "any_recall": "any box", "precision": "precision", "recall": "recall", "f1": "F1"}
"""Figures that are fractions, and what their columns are called."""


def print_measured(rows: Sequence[Measured], *, absent: int | None) -> None:
    """Print a table for each kind of figures, on standard output.

    Args:
        rows: What was measured.
        absent: How many categories that a picture does not show were asked for; all of them when ``None``.
    """
    asked = "every category" if absent is None else f"the categories shown and {absent} others"
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 200  # a pipe has no edge to fold at
    for what, title in TITLES.items():
        chosen = [row for row in rows if row.what == what]
        if chosen:
            console.print(title if what == "segmenter" else f"{title}; asked for {asked}")
            console.print(_masks(chosen) if what == "segmenter" else _boxes(chosen))


def _boxes(rows: Sequence[Measured]) -> Table:
    table = _table("level", "pictures", numbers=["px", "number", "objects", *DETECTOR.values(), "ms", "core ms"])
    for row in rows:
        f = row.figures
        side = "" if row.side_px is None else str(row.side_px)
        shares = [_fraction(f[name]) for name in DETECTOR]
        table.add_row(
            str(row.level), row.part, side, str(f["pictures"]), str(f["objects"]), *shares, *_times(f),
            end_section=row.part in ("all", "sliced"),
        )  # fmt: skip
    return table


def _masks(rows: Sequence[Measured]) -> Table:
    clicks = max(len(row.figures["miou"]) for row in rows)
    steps = ["prompt", *(f"+{k} click{'s' if k > 1 else ''}" for k in range(1, clicks))]
    table = _table("level", "from", numbers=["objects", *steps, "ms", "core ms"])
    for row in rows:
        f = row.figures
        values = [_fraction(v) for v in f["miou"]]
        table.add_row(str(row.level), row.part, str(f["objects"]), *values, *_times(f))
    return table


def _table(*words: str, numbers: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _times(figures: dict[str, Any]) -> list[str]:
    return [f"{figures[name]:.0f}" for name in ("ms", "cpu_ms")]
