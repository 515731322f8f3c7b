"""Whether ``summary.json`` is what follows from the records, number by number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from visenv.errors import short

from ..records import EpisodeRecord, RunInfo
from ..safe_files import UnsafeFileError, printable, read_json
from ..summary import summarise
from ._findings import Flaw
from ._plan import TaskPlan

__all__ = ["check_summary"]

RELATIVE_TOLERANCE = 1e-9


def check_summary(
    path: Path,
    info: RunInfo,
    records: Sequence[EpisodeRecord],
    plans: Mapping[str, TaskPlan],
    *,
    digest: str,
    complete: bool,
) -> Iterator[Flaw]:
    """Compute the summary again and compare.

    Args:
        path: Of ``summary.json``.
        info: The run's settings.
        records: All of them; answers and transcripts are not needed.
        plans: The profiles of each task.
        digest: Of the file of records.
        complete: Whether every episode has a score; if not, the run can be finished.
    """
    finish = "" if complete else " Finish the run with the same command."
    try:
        stated = read_json(path)
    except FileNotFoundError:
        yield "summary", f"is not there.{finish}"
        return
    except UnsafeFileError as error:
        yield "summary", error.why
        return
    try:
        profiles = {name: plan.profiles for name, plan in plans.items()}
        made = summarise(info, records, profiles, digest=digest).to_dict()
    except Exception as error:  # rows that no profile can aggregate
        why = printable(f"{type(error).__name__}: {error}", 200)
        yield "summary", f"cannot be computed from the records: {why}"
        return
    if isinstance(stated, dict):
        if stated.get("records_sha256") != digest:
            yield "summary", f"is of other records than episodes.jsonl holds.{finish}"
            made["records_sha256"] = stated.get("records_sha256")
        if isinstance(stated.get("rows"), list):
            for row, other in zip(made["rows"], stated["rows"], strict=False):
                if isinstance(other, dict):
                    _take_over(row, other, plans[row["task"]])
    for what in _differences(stated, made, ""):
        yield "summary", what


def _take_over(row: dict[str, Any], stated: dict[str, Any], plan: TaskPlan) -> None:
    """Take over what cannot be computed without a profile, and add what summaries did not have at first."""
    stated.setdefault("also", {})
    stated.setdefault("undefined", row["undefined"])
    if plan.profile is None:
        names = ("profile_source", *(("metrics", "undefined") if row["n"] else ("profile",)))
        row |= {name: stated[name] for name in names if name in stated}
    beside = stated["also"]
    if not isinstance(beside, dict):
        return
    if plan.beside is None:  # no record has a score, so that nothing says by whom, and nobody has metrics
        row["also"] = {
            name: {**one, "metrics": {}, "undefined": {}} for name, one in beside.items() if isinstance(one, dict)
        }
    row["also"] |= {name: beside[name] for name in plan.unknown & beside.keys()}


def _differences(stated: Any, made: Any, where: str) -> Iterator[str]:
    """Say where two JSON values differ."""
    if isinstance(stated, dict) and isinstance(made, dict):
        for name in made:
            inner = f"{where}.{name}" if where else name
            if name in stated:
                yield from _differences(stated[name], made[name], inner)
            else:
                yield f"{inner} is missing"
        for name in [n for n in stated if n not in made][:20]:
            yield f"{where} has {short(name)}, which does not belong there"
    elif isinstance(stated, list) and isinstance(made, list) and len(stated) == len(made):
        for i, (one, other) in enumerate(zip(stated, made, strict=True)):
            what = f" ({printable(other['agent'])} on {printable(other['task'])})" if isinstance(other, dict) else ""
            yield from _differences(one, other, f"{where}[{i}]{what}")
    elif not _equal(stated, made):
        yield f"{where or 'the whole'} is {short(stated)}; computed from the records: {short(made)}"


def _equal(one: Any, other: Any) -> bool:
    numbers = [isinstance(v, (int, float)) and not isinstance(v, bool) for v in (one, other)]
    if not all(numbers):
        return type(one) is type(other) and bool(one == other)
    try:
        return math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12)
    except OverflowError:  # an integer that is no float
        return False
