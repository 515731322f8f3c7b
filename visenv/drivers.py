"""Drivers: they execute the expert requests of running episodes, one by one or many in company."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from .errors import ExpertError, InfrastructureError
from .experts import ExpertSet, Request, Result

__all__ = ["ExpertWork", "drive", "drive_all"]

T = TypeVar("T")

ExpertWork = Generator[Sequence[Request], list[Result], T]
"""Work that yields expert requests and is sent their results; an expert's failure is thrown into it."""


def drive(work: ExpertWork[T], experts: ExpertSet) -> T:
    """Run one piece of work to its end and return its value."""
    return drive_all([work], experts)[0]


def drive_all(works: Sequence[ExpertWork[T]], experts: ExpertSet) -> list[T]:
    """Run pieces of work together, each round's requests of all of them in one call to the experts.

    A request that fails throws :class:`InfrastructureError` into its own work only.

    Args:
        works: Fresh generators.
        experts: Who answers.

    Returns:
        The values of the works, in order.
    """
    values: dict[int, T] = {}
    sent: dict[int, list[Result] | InfrastructureError | None] = dict.fromkeys(range(len(works)))
    while sent:
        waiting: dict[int, Sequence[Request]] = {}
        for index, message in sent.items():
            work = works[index]
            try:
                if isinstance(message, InfrastructureError):
                    waiting[index] = work.throw(message)
                else:
                    waiting[index] = work.send(message)  # type: ignore[arg-type]  # the first send is None
            except StopIteration as stop:
                values[index] = stop.value
        answers = iter(experts.execute([r for requests in waiting.values() for r in requests]))
        sent = {}
        for index, requests in waiting.items():
            results = [next(answers) for _ in requests]
            failed = next((r for r in results if isinstance(r, ExpertError)), None)
            sent[index] = InfrastructureError(str(failed)) if failed else results  # type: ignore[assignment]
    return [values[i] for i in range(len(works))]
