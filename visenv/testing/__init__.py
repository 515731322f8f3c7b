"""Checks for those who plug in: does a task, tool, agent or expert keep what its protocol promises?

Each check takes a registered name or an object, runs its real code, returns nothing, and raises :class:`ConformanceError` at the
first promise that is broken. No test runner is needed; in any, a check is a test.

>>> from visenv.testing import check_tool
>>> check_tool("none/submit_none")
"""

from ._agent import check_agent
from ._expert import check_expert
from ._subject import ConformanceError
from ._task import check_task
from ._tool import check_tool, check_toolset

__all__ = ["ConformanceError", "check_agent", "check_expert", "check_task", "check_tool", "check_toolset"]
