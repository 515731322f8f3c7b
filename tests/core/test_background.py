"""The loop in the background: what is started there ends there, whatever it raises."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError
from typing import Any

import pytest

from visenv.background import run_all_in_background, run_in_background


async def give(value: Any) -> Any:
    await asyncio.sleep(0.001)
    return value


async def throw(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
def test_what_one_raises_harms_no_other(error: BaseException) -> None:
    first, bad, last = run_all_in_background([give(1), throw(error), give(3)])
    assert (first.result(5), last.result(5)) == (1, 3)
    assert type(bad.exception(5)) is type(error)
    assert run_in_background(give("there")).result(5) == "there"


def test_cancelling_gives_up_the_work() -> None:
    given_up = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            given_up.set()
            raise

    future = run_in_background(endless())
    time.sleep(0.05)
    assert future.cancel() and given_up.wait(5)
    with pytest.raises(CancelledError):
        future.result()


def test_work_that_is_given_up_at_once_leaves_nothing_behind() -> None:
    """No warning of a coroutine that nobody awaited: warnings are errors here."""
    for _ in range(200):
        for future in run_all_in_background([give(k) for k in range(5)]):
            future.cancel()
    assert run_in_background(give(1)).result(5) == 1


def test_nothing_to_do() -> None:
    assert run_all_in_background([]) == []
