"""What is being checked, and the error that names it."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager

from ..errors import VisenvError, bad_value, say, stops_the_process

__all__ = ["ConformanceError", "Subject", "check_given", "is_encodable"]


class ConformanceError(VisenvError, AssertionError):
    """A plugin breaks a promise of its protocol. The message says where, what is wrong, what was expected, what to do."""


class Subject:
    """A plugin, or a place in it, under check.

    Args:
        where: How errors name it, such as ``Task 'Orchard'``.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    def at(self, place: str) -> Subject:
        """Return the subject of a place inside, such as one sample."""
        return Subject(f"{self.where}, {place}")

    def fault(self, wrong: str, *, expected: str, remedy: str) -> ConformanceError:
        """Word the error for a broken promise."""
        return ConformanceError(f"{self.where}: {wrong}. Expected {expected}. {remedy}")

    def need(self, kept: object, wrong: str, *, expected: str, remedy: str) -> None:
        """Raise unless a promise is kept.

        Raises:
            ConformanceError: It is not.
        """
        if not kept:
            raise self.fault(wrong, expected=expected, remedy=remedy)

    @contextmanager
    def running(self, what: str, *, remedy: str, allowed: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Run a plugin's code: an exception that is not ``allowed`` is a fault of ``what``."""
        try:
            yield
        except BaseException as error:  # the boundary to a plugin's code: whatever it raises is its fault
            if isinstance(error, (ConformanceError, *allowed)) or stops_the_process(error):
                raise
            said = " ".join(say(error).split())[:300].rstrip(" .")
            raise self.fault(f"{what} raised {said}", expected="no exception", remedy=remedy) from error


def check_given(**given: object) -> None:
    """Refuse arguments with which a check would check nothing: empty lists, and numbers below 1.

    Raises:
        BadValueError: One of them is such.
    """
    for name, value in given.items():
        few = value < 1 if isinstance(value, int) else isinstance(value, Sized) and not len(value)
        if few:
            raise bad_value(name, value, expected="at least one; else nothing is checked")


def is_encodable(text: str) -> bool:
    """Whether text can be written to a file: no half characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
