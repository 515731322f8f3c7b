"""Scoring a run again from what it recorded: answers, rows, costs, the plan, the pictures and the summary.

What is read was written by others: nothing in it is executed, only plain files of the run directory itself are opened,
and whatever is wrong with them becomes a :class:`Problem`.
"""

from ._result import Problem, TaskCheck, Verification
from ._run import verify_run

__all__ = ["Problem", "TaskCheck", "Verification", "verify_run"]
