"""The loop in the background: what is started there ends there, whatever it raises, and whoever runs the loop."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
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


async def thread_of() -> int:
    await asyncio.sleep(0.001)
    return threading.get_ident()


async def in_steps(seconds: float) -> str:
    for _ in range(5):
        await asyncio.sleep(seconds / 5)
    return "there"


def test_who_waits_runs_the_loop() -> None:
    here = threading.get_ident()
    with waiting() as away:
        seen = []
        for _ in range(50):  # a thread that gets no processor for a while has the other one come in
            away.start([thread_of()])
            seen += take_all(away, 1)
        assert seen.count(here) > 25
        assert away.take(wait_s=0.0) == []
    assert run_in_background(thread_of()).result(5) != here


def test_waiting_ends_in_time() -> None:
    with waiting() as away:
        (late,) = away.start([asyncio.sleep(1, "late")])
        begin = time.monotonic()
        assert away.take(wait_s=0.0) == [] and away.take(wait_s=0.05) == []
        assert time.monotonic() - begin < 0.9
        assert take_all(away, 1) == ["late"] and late.done()


def test_what_nobody_waits_for_gets_on_by_itself() -> None:
    """A sample that takes long to read, or an expert, must not stop the talk with endpoints."""
    with waiting() as away:
        for _ in range(5):
            away.start([give(1)])
            assert take_all(away, 1) == [1]
            (future,) = away.start([in_steps(0.01)])
            assert future.result(5) == "there"
            assert take_all(away, 1) == ["there"]


def test_work_from_before_the_last_wait_gets_on() -> None:
    """Whoever began it may be waiting by itself: an agent, another thread, a second run."""
    with waiting() as away, waiting() as second:
        own, *_ = away.start([in_steps(0.2)])
        other, theirs = run_in_background(in_steps(0.2)), second.start([in_steps(0.2)])
        away.start([give(1)])
        assert 1 in take_all(away, 1)
        assert own.result(5) == other.result(5) == theirs[0].result(5) == "there"
        assert second.take(wait_s=5) == theirs


def test_between_two_waits_others_get_their_answers() -> None:
    with waiting() as away, ThreadPoolExecutor(1) as pool:
        for k in range(50):
            away.start([give(k)])
            assert run_in_background(give("own")).result(5) == "own"
            assert pool.submit(lambda: run_in_background(give("other")).result(5)).result(5) == "other"
            assert take_all(away, 1) == [k]


def test_others_get_their_answers_while_one_waits() -> None:
    with waiting() as away, ThreadPoolExecutor(4) as pool:
        away.start([asyncio.sleep(2, "late")])
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


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Interrupt this thread in a moment, also where a shell started us in the background, which ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.get_ident()
    yield lambda: threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_the_wait_and_nothing_else(interrupt: Callable[[], None]) -> None:
    """It must reach who waits, not the coroutine that happens to run then, which may be anybody's."""

    async def busy() -> str:
        begin = time.monotonic()
        while time.monotonic() < begin + 0.3:
            await asyncio.sleep(0)
        return "done"

    other = run_in_background(busy())
    with waiting() as away, pytest.raises(KeyboardInterrupt):
        (future,) = away.start([asyncio.sleep(60)])
        interrupt()
        away.take(wait_s=30)
    future.cancel()
    assert other.result(5) == "done" and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with waiting() as away:
        away.start([give(1)])
        assert take_all(away, 1) == [1]


def test_an_interrupt_of_one_who_sleeps(interrupt: Callable[[], None]) -> None:
    with waiting() as away, pytest.raises(KeyboardInterrupt):
        interrupt()
        away.take(wait_s=30)
    assert run_in_background(give("there")).result(5) == "there"


def test_a_second_interrupt_ends_what_does_not_end(interrupt: Callable[[], None]) -> None:
    async def stuck() -> None:
        interrupt()
        threading.Timer(0.1, interrupt).start()
        time.sleep(20)  # no coroutine should

    begin = time.monotonic()
    with waiting() as away, pytest.raises(KeyboardInterrupt):
        away.take(wait_s=0.0)  # from here on this thread runs the loop
        (future,) = away.start([stuck()])
        while not future.done():
            away.take(wait_s=30)
        future.result()
    assert time.monotonic() - begin < 10
    assert run_in_background(give("there")).result(5) == "there"


def test_who_ends_the_process_in_a_task_of_its_own_ends_nothing() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def careless() -> str:
        _tasks.append(asyncio.create_task(leave()))
        await asyncio.sleep(0.05)
        return "there"

    _tasks: list[asyncio.Task[None]] = []
    with waiting() as away:
        away.start([careless()])
        assert take_all(away, 1) == ["there"]
    assert run_in_background(careless()).result(5) == "there"
    assert [type(task.exception()) for task in _tasks] == [SystemExit] * 2


def test_what_is_cancelled_is_done() -> None:
    begin = time.monotonic()
    with waiting() as away:
        one, two = away.start([asyncio.sleep(60), asyncio.sleep(60)])
        threading.Timer(0.05, one.cancel).start()
        while not (done := away.take(wait_s=20)):
            pass
        assert done == [one] and one.cancelled()
        two.cancel()
        assert away.take(wait_s=20) == [two]
    assert time.monotonic() - begin < 10, "the wait must have been ended, not have run out"


def test_nothing_is_lost_in_a_crowd() -> None:
    """Who runs the loop changes all the time, in one thread that waits and four that ask."""
    rng, stop = random.Random(0), threading.Event()
    end = time.monotonic() + 60

    def ask() -> int:
        asked = 0
        while not stop.is_set():
            assert run_in_background(give(asked)).result(10) == asked
            asked += 1
        return asked

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(ask) for _ in range(4)]
        try:
            with waiting() as away:
                seen: list[Any] = []
                for k in range(300):
                    away.start([give((k, j)) for j in range(rng.randrange(1, 4))] + [give((k, "last"))])
                    while (k, "last") not in seen:
                        assert time.monotonic() < end
                        seen += [future.result(0) for future in away.take(wait_s=rng.choice([0.0, 0.001, 10.0]))]
                    if k % 50 == 0:
                        time.sleep(0.05)
        finally:
            stop.set()
        assert all(asker.result(20) > 0 for asker in askers)
    assert len(set(seen)) == len(seen) >= 600
