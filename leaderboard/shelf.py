"""The tasks of a run: how they are called in it, and which of those that a run's file names are made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from visenv.tasks.benchmark import inside

from visenv import plugins
from visenv.env import make_task
from visenv.errors import BadValueError, short
from visenv.redaction import redact
from visenv.specs import name_of
from visenv.task import Task, profiles_of

from .safe_files import printable

__all__ = ["TaskShelf", "task_label"]

MAX_VARIANTS = 16
"""Most tasks with options that are made for names of unknown origin: each may hold annotations of its own in memory."""
FETCHING = ("mirror",)
"""Options, by name, that may fetch a data set from elsewhere."""
SECRET = "***"
"""Stands for a secret in a name."""


def task_label(spec: str) -> str:
    """Return how a run calls a task: its name with options as all equal specs are written, secrets left out.

    Raises:
        UnknownNameError: There is none of that name.
        PluginError: It cannot be imported.
        BadValueError: It has no such option.

    Example:
        >>> task_label("coco:mode=count,images=mine/pics"), task_label("COCO:mode=detect")
        ('COCO:images=mine/pics,mode=count', 'COCO')
    """
    return redact(plugins.canonical("tasks", spec))


class TaskShelf:
    """The tasks that can be had here by the names that runs state, and why others cannot.

    A name may come from a stranger's file. So no task is made with an option that names a place outside of the data
    folder or fetches from elsewhere, a name is taken only as :func:`task_label` writes it, and only :data:`MAX_VARIANTS`
    have options.

    Args:
        tasks: By name, before those that are installed.
        trust_options: Make tasks with whatever options their names have: the runs are one's own.
    """

    def __init__(self, tasks: Mapping[str, Task] | None = None, *, trust_options: bool = False) -> None:
        self.trust_options = trust_options
        self._given = dict(tasks or {})
        self._found: dict[str, Task | str] = {}
        self._num_variants = 0

    def any(self, name: str) -> Task | str:
        """Return a task of any version, or why there is none."""
        if name not in self._found:
            self._found[name] = self._given.get(name) or self._make(name)
        return self._found[name]

    def get(self, name: str, version: str) -> Task | str:
        """Return a task of this version, or why there is none."""
        task = self.any(name)
        if isinstance(task, str) or task.version == version:
            return task
        return f"version {printable(version)} was played, {printable(task.version)} is installed"

    def _make(self, name: str) -> Task | str:
        own = name_of(name)
        try:
            if own not in plugins.names("tasks"):
                return f"the task {printable(own)} is not installed"
            if own != name and (refusal := self._refusal(name)):
                return refusal
            task = make_task(name)
            profiles_of(task)
        except Exception as error:  # a name or a task's own code: whatever is wrong with it, the run is read without
            return f"the task cannot be used here ({printable(f'{type(error).__name__}: {error}', 300)})"
        return task if task.name == own else f"the task installed as {own} calls itself {printable(task.name)}"

    def _refusal(self, name: str) -> str | None:
        """Say why a name with options is not made, if it is not."""
        if SECRET in name:
            return "a secret was left out of its options, so it cannot be made again"
        if (written := task_label(name)) != name:
            return f"its options are not as they are written here, {printable(written)}"
        if self.trust_options:
            return None
        for option, value in plugins.check("tasks", name)[1].items():
            if option in FETCHING:
                return f"its option {option} may fetch data, which only --trust-options does"
            if isinstance(value, str) and not _stays_inside(value):
                return (
                    f"its option {option} names a place of its own, {short(value)}, which only --trust-options looks at"
                )
        self._num_variants += 1
        if self._num_variants > MAX_VARIANTS:
            return f"more than {MAX_VARIANTS} tasks with options, which only --trust-options makes"
        return None


def _stays_inside(value: str) -> bool:
    """Whether a text cannot name a file outside of a folder, nor an address."""
    try:
        inside(Path(), value)
    except BadValueError:
        return False
    return not value.startswith("~") and "://" not in value
