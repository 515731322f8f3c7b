"""Every error visenv raises on purpose, and the helpers that word them.

A message has three parts, in this order: what is wrong (with the value), what was expected, what to do.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

__all__ = [
    "BadValueError",
    "ExpertError",
    "InfrastructureError",
    "MissingDataError",
    "MissingExtraError",
    "PluginError",
    "TemporaryExpertError",
    "TokenLimitError",
    "UnknownNameError",
    "UnsuitedError",
    "VisenvError",
    "bad_value",
    "missing_data",
    "missing_extra",
    "say",
    "short",
    "stops_the_process",
    "unknown_name",
]


class VisenvError(Exception):
    """Base of every error that visenv raises on purpose."""


class BadValueError(VisenvError, ValueError):
    """A value given by a person or a program is not of the documented form."""


class UnknownNameError(VisenvError, KeyError):
    """A task, toolset, agent, expert, split, reward or profile of that name does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])


class PluginError(VisenvError):
    """An installed plugin cannot be imported, or two plugins share a name."""


class ExpertError(VisenvError):
    """An expert could not answer one request. Never a fault of the agent."""


class TemporaryExpertError(ExpertError):
    """An expert cannot answer anything just now: it is overloaded, restarting or out of reach. Asking later may help.

    It is of no single request, so a batch that fails with it is neither split nor asked request by request.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """When to ask again, if the expert said so."""


class InfrastructureError(VisenvError):
    """An episode failed for a reason that is ours (expert down, timeout); it must not be scored."""


class MissingDataError(VisenvError, FileNotFoundError):
    """A file of a data set is not where it was expected."""

    what: str = ""
    """What is missing, a clause; empty where :func:`missing_data` did not word the error."""
    looked: str = ""
    """Where it was looked for."""

    @property
    def brief(self) -> str:
        """What is missing and where it was looked for, without what to do."""
        return f"{self.what}; looked in {self.looked}" if self.what else str(self)

    def __str__(self) -> str:
        return str(self.args[0])


class MissingExtraError(VisenvError, ImportError):
    """Something needs a package that an extra of visenv installs."""


class TokenLimitError(VisenvError):
    """Raised by a player whose context is full: the episode ends as ``token_limit``."""


class UnsuitedError(BadValueError):
    """Raised by an agent's ``start``: it cannot play this task with these tools. Ends the run, not the episode."""


def say(error: BaseException) -> str:
    """Return ``Class: message`` of an exception, whatever its own ``__str__`` does."""
    try:
        text = str(error)
    except Exception:  # somebody else's __str__
        text = "(its message cannot be made)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def stops_the_process(error: BaseException) -> bool:
    """Whether an exception is meant for the process; ``SystemExit`` and the like in a plugin are the plugin's fault."""
    return isinstance(error, (KeyboardInterrupt, GeneratorExit))


def short(value: object, limit: int = 80) -> str:
    """Return ``repr(value)`` on one line, cut to ``limit`` characters."""
    brief = reprlib.Repr()  # never builds the text of a megabyte
    brief.maxstring = brief.maxother = brief.maxlong = brief.maxlist = brief.maxdict = brief.maxtuple = limit
    try:
        text = brief.repr(value).replace("\n", " ")
    except Exception:  # somebody else's __repr__, or an integer of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def suggest(name: object, known: Iterable[str]) -> str:
    """Return `` Did you mean …?`` for the closest of ``known``, or an empty string."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(
        name[:80].lower() if isinstance(name, str) else "", list(by_lower), n=3, cutoff=0.6
    )
    return f" Did you mean {', '.join(repr(by_lower[c]) for c in close)}?" if close else ""


def unknown_name(kind: str, name: object, known: Iterable[str], *, remedy: str) -> UnknownNameError:
    """Word the error for a name that does not exist.

    Args:
        kind: What was looked for, such as ``"task"``.
        name: The name as given.
        known: The names that exist; the closest are suggested.
        remedy: What to do, a sentence.
    """
    known = sorted(known)
    hint = suggest(name, known) or (f" Known: {', '.join(known[:20])}." if known else "")
    return UnknownNameError(f"Unknown {kind} {short(name)}.{hint} {remedy}")


def bad_value(name: str, value: object, *, expected: str, remedy: str = "") -> BadValueError:
    """Word the error for a value of the wrong form."""
    return BadValueError(f"`{name}` is {short(value)}. Expected {expected}.{' ' + remedy if remedy else ''}")


def missing_data(task: str, what: str, *, looked: str, published: str) -> MissingDataError:
    """Word the error for data that is not there.

    Args:
        task: Whose data.
        what: What is missing, a clause.
        looked: Where it was looked for.
        published: Where its authors publish it.
    """
    error = MissingDataError(
        f"Task {task!r}: {what}. Looked in {looked}. Published by its authors at {published}. "
        f"Put it there, or set VISENV_DATA to the folder that holds it, and check with `visenv data check {task}`."
    )
    error.what, error.looked = what, looked
    return error


def missing_extra(what: str, extra: str) -> MissingExtraError:
    """Word the error for a package that is not installed."""
    return MissingExtraError(
        f'{what} needs a package that is not installed. Install it with `pip install "visenv[{extra}]"`.'
    )
