"""``blink/official`` and ``blink/micro``: accuracy over BLINK's 14 tasks, each weighing the same, or over all questions.

Source: ``eval_prediction`` in eval/evaluate.py of zeyofu/BLINK_Benchmark@2d6a779b; replies are read by
:func:`visenv.tasks.replies.blink_choice`. A reply for which the authors would ask a language model is wrong here, and not
``parsed``. Harnesses report the share over all questions: ``blink/micro``, from the description, not compared with running
code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Target
from visenv.task import Metrics, Profile, Row

from ..replies import blink_choice
from ._choices import choice_row, group_of, primary, share, shares_by_group

__all__ = ["MICRO", "OFFICIAL", "TASKS", "aggregate", "aggregate_micro", "row"]

TASKS = (
    "Art_Style", "Counting", "Forensic_Detection", "Functional_Correspondence", "IQ_Test", "Jigsaw",
    "Multi-view_Reasoning", "Object_Localization", "Relative_Depth", "Relative_Reflectance", "Semantic_Correspondence",
    "Spatial_Relation", "Visual_Correspondence", "Visual_Similarity",
)  # fmt: skip


def row(target: Target, answer: Answer | None) -> Row:
    """Compare one letter; ``group`` is the place of the target's task in :data:`TASKS`."""
    said = None if answer is None else blink_choice(answer.choice, len(target.options) or 5)
    return choice_row(target, answer, said[1] if said else None, group_of(target, TASKS))


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions: ``Total`` is the plain mean over the tasks there are."""
    by_task = shares_by_group(rows, TASKS)
    known = [value for value in by_task.values() if value is not None]
    return {"Total": sum(known) / len(known) if known else None, "parsed": share(rows, "parsed"), **by_task}


def aggregate_micro(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to fractions over all questions."""
    return {"accuracy": share(rows), "parsed": share(rows, "parsed")}


OFFICIAL = Profile(
    name="blink/official",
    source="zeyofu/BLINK_Benchmark@2d6a779b eval/evaluate.py, eval/test_benchmark.py without its language model",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
MICRO = Profile(
    name="blink/micro",
    source="none: share over all questions, from the description, not compared with running code",
    row=row,
    aggregate=aggregate_micro,
    primary=primary,
)
