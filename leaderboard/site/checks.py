"""Whether the scores of a run are those of its answers, in the few words that the page has for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from visenv.task import Task

from ..verification import Verification, verify_run
from .gathering import Run
from .samples import Samples

__all__ = ["State", "check_run", "state_of"]

State = Literal["verified", "unchecked", "unfinished", "different"]
PROBLEMS_SHOWN = 12


def check_run(run: Run, samples: Samples, step: Callable[[], None], *, trust_options: bool = False) -> dict[str, Any]:
    """Verify a run and return what the page says of it; the samples made on the way are taken into the site.

    Args:
        run: To verify.
        samples: Where its tasks come from.
        step: Called after every record.
        trust_options: Make tasks with whatever options the run names.
    """
    tasks: dict[str, Task] = {}
    for asked in run.info.tasks:
        watched = samples.watched(asked.name)
        if watched is not None:
            tasks[asked.name] = watched
    found = verify_run(run.path, tasks=tasks, trust_options=trust_options, progress=lambda done, total: step())
    return {
        "state": state_of(found), "verdict": found.verdict, "rescored": found.rescored,
        "reaggregated": found.reaggregated, "records": found.records, "num_problems": found.num_problems,
        "problems": [str(problem)[:400] for problem in found.problems[:PROBLEMS_SHOWN]], "notes": list(found.notes),
    }  # fmt: skip


def state_of(found: Verification) -> State:
    """Return the verdict as one of four words.

    A run that is not finished has no summary, or an old one: where nothing else is wrong, that is no forgery.
    """
    if not found.ok:
        scored = found.rescored + found.reaggregated
        unfinished = scored < found.asked and len(found.problems) == found.num_problems
        harmless = unfinished and all(p.kind == "summary" for p in found.problems)
        return "unfinished" if harmless or not found.records else "different"
    return "verified" if found.rescored and not found.reaggregated else "unchecked"
