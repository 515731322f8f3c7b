"""The table of a run: colours on a terminal, aligned plain lines elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .safe_files import printable
from .summary import Summary, SummaryRow
from .units import unit_of

__all__ = ["print_costs", "print_table", "ranked"]

HEADINGS = (
    "", "agent", "score", "95 % interval", "scored by", "metrics", "n", "turns", "visual tokens", "failed", "ended",
)  # fmt: skip
COSTS = (
    "run", "toolset", "memory", "task", "agent", "turns", "visual tokens", "largest prompt", "prompt tokens", "reply tokens", "US$",
)  # fmt: skip
BESIDE = ("profile", "agent", "gives")
SHOWN = 3
"""Metrics of a profile that are shown; summary.json and the report have all."""
WIDE = 118
"""Columns of a terminal from which the metrics are shown too."""
MODEL_COSTS = (("prompt_tokens", 0), ("completion_tokens", 0), ("cost_usd", 4))
NUMERIC = {"", "score", "n", "turns", "visual tokens", "tokens", "failed", "tasks", "mean of the tasks' scores"}


def print_table(summary: Summary, file: IO[str] | None = None) -> None:
    """Print a summary, one block a task, best agent first; agents that knew the truth come last, unranked.

    Args:
        summary: What to print.
        file: Where; standard output by default.
    """
    console = Console(file=file, highlight=False)
    for title, rows in _blocks(summary):
        order = ranked(rows)
        cells = [_cells(place, row) for place, row in order]
        _print(console, title, HEADINGS, cells, privileged=[row.privileged for _, row in order])
        beside = _beside([row for _, row in order])
        if beside:
            what = f"{title}: the same answers by other profiles"
            _print(console, what, BESIDE, [c for c, _ in beside], privileged=[knows for _, knows in beside])
        reasons = _undefined([row for _, row in order])
        for line in reasons:
            console.print(Text(line), soft_wrap=not console.is_terminal)
        if reasons:
            console.print()
    overall = _overall(summary)
    if overall:
        headings = ("", "agent", "mean of the tasks' scores", "tasks", "failed")
        _print(console, "All tasks", headings, [c for c, _ in overall], privileged=[p for _, p in overall])
    if any(row.privileged for row in summary.rows):
        console.print("* knows the truth: a bound, not ranked.", style="dim")
    if not summary.complete:
        console.print("- Incomplete: some episodes have no score (see n and failed), so it has no place.", style="bold")


def print_costs(rows: Iterable[Mapping[str, Any]], file: IO[str] | None = None) -> None:
    """Print what episodes of each run, task and agent cost on average, as ``visenv report --json`` gives it.

    Args:
        rows: Of the report.
        file: Where; standard output by default.
    """
    cells = [
        (
            printable(row["run"]), printable(row["toolset"]), printable(row["memory"]), printable(row["task"]), printable(row["agent"]),
            _number(row["turns"], 1), _number(row["visual_tokens"], 0), _number(row["max_visual_tokens"], 0),
            *(_number(row["measured"].get(name), digits) for name, digits in MODEL_COSTS),
        )
        for row in rows
    ]  # fmt: skip
    kept = [i for i in range(len(COSTS)) if any(line[i] != "-" for line in cells)]
    if kept:
        headings, lines = [COSTS[i] for i in kept], [[line[i] for i in kept] for line in cells]
        _print_plain(Console(file=file, highlight=False), "Mean costs of an episode", headings, lines)


def ranked(rows: Iterable[SummaryRow]) -> list[tuple[str, SummaryRow]]:
    """Return rows best first with their place as text.

    Incomplete rows come after the complete ones, with ``-`` for a place: they may have left the hard samples out.
    Privileged ones come last, with ``*``.
    """

    def order(row: SummaryRow) -> tuple[bool, bool, float, str]:
        score = -row.primary if row.primary is not None else math.inf
        return row.privileged, row.n < row.of, score, row.agent

    ordered = sorted(rows, key=order)
    return [(_place(place, row.privileged, row.n == row.of), row) for place, row in enumerate(ordered, 1)]


def _place(place: int, privileged: bool, complete: bool) -> str:
    return "*" if privileged else str(place) if complete else "-"


def _blocks(summary: Summary) -> list[tuple[str, list[SummaryRow]]]:
    blocks: dict[str, list[SummaryRow]] = {}
    for row in summary.rows:
        blocks.setdefault(f"{row.task}, {row.split}, level {row.level}", []).append(row)
    return list(blocks.items())


def _cells(place: str, row: SummaryRow) -> tuple[str, ...]:
    interval = "" if row.ci_low is None else f"{row.ci_low:.3f} to {row.ci_high:.3f}"
    ended = [f"{reason} {number}" for reason, number in sorted(row.reasons.items(), key=lambda kv: -kv[1])]
    return (
        place, row.agent, _number(row.primary, 3), interval, row.profile, _metrics(row.profile, row.metrics),
        f"{row.n}/{row.of}", _number(row.turns, 1), _number(row.visual_tokens, 0), str(row.failures), ", ".join(ended),
    )  # fmt: skip


def _metrics(profile: str, metrics: Mapping[str, float | None]) -> str:
    """Return the first metrics that are defined, percent marked as such."""
    defined = [(name, value) for name, value in metrics.items() if value is not None][:SHOWN]
    return ", ".join(
        f"{name} {value:.1f} %" if unit_of(name, [profile], []) == "%" else f"{name} {value:.3f}"
        for name, value in defined
    )


def _beside(rows: Sequence[SummaryRow]) -> list[tuple[tuple[str, ...], bool]]:
    """Return the lines of the further profiles, profile by profile, each with whether its agent knew the truth."""
    names = dict.fromkeys(name for row in rows for name in row.also)
    return [
        (
            (name, f"{row.agent} *" if row.privileged else row.agent, _metrics(name, row.also[name].metrics) or "-"),
            row.privileged,
        )
        for name in names
        for row in rows
        if name in row.also
    ]


def _undefined(rows: Sequence[SummaryRow]) -> list[str]:
    """Say why metrics are missing, in one line for each profile and reason."""
    found: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
    for row in rows:
        beside = [(name, one.undefined) for name, one in row.also.items()]
        for profile, reasons in ((row.profile, row.undefined), *beside):
            for metric, reason in reasons.items():
                metrics, agents = found.setdefault((profile, reason), ({}, {}))
                metrics[metric] = agents[row.agent] = None
    return [
        f"{profile}: no {_some(list(metrics))}"
        + ("" if len(agents) == len(rows) else f" of {_some(list(agents))}")
        + f": {reason}."
        for (profile, reason), (metrics, agents) in found.items()
    ]


def _some(names: Sequence[str], limit: int = 4) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _overall(summary: Summary) -> list[tuple[tuple[str, ...], bool]]:
    tasks = {row.task for row in summary.rows}
    if len(tasks) < 2:
        return []
    by_agent: dict[str, list[SummaryRow]] = {}
    for row in summary.rows:
        by_agent.setdefault(row.agent, []).append(row)
    found = []
    for agent, rows in by_agent.items():
        scores = [row.primary for row in rows if row.primary is not None]
        mean = math.fsum(scores) / len(scores) if len(scores) == len(tasks) else None
        complete = all(row.n == row.of for row in rows)
        found.append((rows[0].privileged, not complete, mean, agent, len(scores), sum(row.failures for row in rows)))
    found.sort(key=lambda f: (f[0], f[1], -f[2] if f[2] is not None else math.inf, f[3]))
    return [
        ((_place(at, known, not partly), agent, _number(mean, 3), f"{scored}/{len(tasks)}", str(failed)), known)
        for at, (known, partly, mean, agent, scored, failed) in enumerate(found, 1)
    ]


def _print(
    console: Console, title: str, headings: Sequence[str], cells: Sequence[Sequence[str]], *, privileged: Sequence[bool]
) -> None:
    if not console.is_terminal:
        _print_plain(console, title, headings, cells)
        return
    if console.width < WIDE and "metrics" in headings:
        title, headings, cells = _narrow(title, headings, cells)
    table = Table(
        title=Text(title), box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for heading in headings:
        justify: Literal["left", "right"] = "right" if heading in NUMERIC else "left"
        table.add_column(heading, justify=justify, no_wrap=heading in ("agent", "score", "interval"))
    for row, known in zip(cells, privileged, strict=True):
        lines = [c.replace(", ", "\n") if h in ("metrics", "ended") else c for h, c in zip(headings, row, strict=True)]
        table.add_row(*map(Text, lines), style="dim" if known else "")
    console.print(table)


def _narrow(
    title: str, headings: Sequence[str], cells: Sequence[Sequence[str]]
) -> tuple[str, list[str], list[list[str]]]:
    """Name the profile in the title and leave the metrics to ``summary.json`` and to wider terminals."""
    profiles = dict.fromkeys(row[headings.index("scored by")] for row in cells)
    kept = [i for i, h in enumerate(headings) if h not in ("metrics", "scored by")]
    renamed = {"95 % interval": "interval", "visual tokens": "tokens"}
    return (
        f"{title}; scored by {', '.join(profiles)}",
        [renamed.get(headings[i], headings[i]) for i in kept],
        [[row[i].replace(" to ", "-") if headings[i] == "95 % interval" else row[i] for i in kept] for row in cells],
    )


def _print_plain(console: Console, title: str, headings: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    lines = [tuple(headings), *map(tuple, cells)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    text = "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
    console.file.write(f"{title}\n{text}\n\n")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
