"""The loop in the background: what is started there ends there, whatever it raises, and whoever runs the loop."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest

from visenv.background import Waiting, run_all_in_background, run_in_background, waiting


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


def take_all(away: Waiting, number: int, *, within_s: float = 10) -> list[Any]:
    done: list[Future[Any]] = []
    end = time.monotonic() + within_s
    while len(done) < number and time.monotonic() < end:
        done += away.take(wait_s=within_s)
    return [future.result(0) for future in done]


async def thread_of(wait_s: float = 0.001) -> int:
    await asyncio.sleep(wait_s)
    return threading.get_ident()


def test_who_waits_runs_the_loop() -> None:
    here = threading.get_ident()
    with waiting() as away:
        away.start([thread_of() for _ in range(20)])
        assert take_all(away, 20) == [here] * 20
        assert away.take(wait_s=0.0) == []
    assert run_in_background(thread_of()).result(5) != here


def test_waiting_ends_in_time() -> None:
    with waiting() as away:
        (late,) = away.start([asyncio.sleep(0.3, "late")])
        begin = time.monotonic()
        assert away.take(wait_s=0.0) == [] and away.take(wait_s=0.05) == []
        assert 0.04 < time.monotonic() - begin < 0.25
        assert away.take(wait_s=None) == [late] and late.result() == "late"


def test_what_is_let_go_gets_on() -> None:
    with waiting() as away:
        (future,) = away.start([give("done")])
        away.let_go()
        assert future.result(5) == "done"
        assert away.take(wait_s=None) == [future]


def test_between_two_waits_others_get_their_answers() -> None:
    """An agent that waits by itself in the thread that drives the loop, or in one of its own, must not wait for ever."""
    with waiting() as away, ThreadPoolExecutor(1) as pool:
        for k in range(50):
            away.start([give(k)])
            assert run_in_background(give("own")).result(5) == "own"
            assert pool.submit(lambda: run_in_background(give("other")).result(5)).result(5) == "other"
            assert take_all(away, 1) == [k]


def test_others_get_their_answers_while_one_waits() -> None:
    with waiting() as away, ThreadPoolExecutor(4) as pool:
        away.start([asyncio.sleep(0.3, "late")])
        others = [pool.submit(lambda: run_in_background(give("other")).result(5)) for _ in range(20)]
        assert take_all(away, 1) == ["late"]
        assert all(other.done() for other in others)


def test_two_wait_at_a_time() -> None:
    def wait_for(number: int) -> list[int]:
        with waiting() as away:
            away.start([give(k) for k in range(number)])
            return sorted(take_all(away, number))

    with waiting() as away, ThreadPoolExecutor(3) as pool:
        away.start([asyncio.sleep(0.2, "mine")])
        others = [pool.submit(wait_for, 30) for _ in range(3)]
        assert [other.result(5) for other in others] == [list(range(30))] * 3, "though the first holds the loop"
        assert take_all(away, 1) == ["mine"]


def test_in_a_thread_with_a_loop_of_its_own() -> None:
    """As in a notebook, whose cells run inside a loop."""

    async def cell() -> list[Any]:
        with waiting() as away:
            away.start([give(k) for k in range(3)])
            return sorted(take_all(away, 3))

    assert asyncio.run(cell()) == [0, 1, 2]


def test_an_interrupt_ends_the_wait_and_not_the_loop() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background shells ignore interrupts
    try:
        with waiting() as away, pytest.raises(KeyboardInterrupt):
            (future,) = away.start([asyncio.sleep(60)])
            threading.Timer(0.1, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()
            away.take(wait_s=30)
    finally:
        signal.signal(signal.SIGINT, before)
    future.cancel()
    assert run_in_background(give("there")).result(5) == "there"
    with waiting() as away:
        away.start([give(1)])
        assert take_all(away, 1) == [1]


def test_what_is_cancelled_is_done() -> None:
    with waiting() as away:
        one, two = away.start([asyncio.sleep(60), asyncio.sleep(60)])
        threading.Timer(0.05, one.cancel).start()
        assert away.take(wait_s=5) == [one] and one.cancelled()
        two.cancel()
        assert away.take(wait_s=5) == [two]


def test_nothing_is_lost_in_a_crowd() -> None:
    """Who runs the loop changes all the time, in one thread that waits and four that ask."""
    rng, stop = random.Random(0), threading.Event()

    def ask() -> int:
        asked = 0
        while not stop.is_set():
            assert run_in_background(give(asked)).result(10) == asked
            asked += 1
        return asked

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(ask) for _ in range(4)]
        with waiting() as away:
            seen: list[Any] = []
            for k in range(300):
                away.start([give((k, j)) for j in range(rng.randrange(1, 4))] + [give((k, "last"))])
                if rng.random() < 0.3:
                    away.let_go()
                while (k, "last") not in seen:
                    seen += [future.result(0) for future in away.take(wait_s=rng.choice([0.0, 0.001, 10.0]))]
        stop.set()
        assert all(asker.result(20) > 20 for asker in askers)
    assert len(set(seen)) == len(seen) >= 600
