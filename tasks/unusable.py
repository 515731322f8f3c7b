"""A record of which no sample can be made: it keeps its place, so that no other sample's index moves, and says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from visenv.errors import BadValueError, MissingDataError

__all__ = ["Unusable", "each_usable"]

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Unusable:
    """A record of which nothing can be made. Whoever asks for its sample is told what is wrong, and so is an audit."""

    error: BadValueError | MissingDataError

    def fail(self) -> NoReturn:
        """Raise what was wrong with the record."""
        raise type(self.error)(*self.error.args)


def each_usable(make: Callable[[T], U], rows: Iterable[T]) -> list[U | Unusable]:
    """Make something of each row; a row of which nothing can be made keeps its place.

    Raises:
        BadValueError: Nothing can be made of any row: what is wrong with the first; or the rows cannot be read.
        MissingDataError: The same.
    """
    found: list[U | Unusable] = []
    for row in rows:
        try:
            found.append(make(row))
        except (BadValueError, MissingDataError) as error:
            found.append(Unusable(error.with_traceback(None)))  # which would hold the row
    first = found[0] if found else None
    if isinstance(first, Unusable) and all(isinstance(one, Unusable) for one in found):
        first.fail()
    return found
