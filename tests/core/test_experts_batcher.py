"""Callers in many threads in front of one expert, and asking again later."""

from __future__ import annotations

import random
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from visenv import Expert, ExpertSet, Image
from visenv.errors import BadValueError, ExpertError, TemporaryExpertError
from visenv.experts import Detections, DetectRequest
from visenv.experts.batcher import MicroBatcher
from visenv.experts.retrying import ask_patiently

PICTURES = [Image(np.full((4 + k % 2, 4, 3), k, np.uint8)) for k in range(4)]


class Slow(Expert):
    """Counts the letters of a phrase; holds every batch back while ``gate`` is closed."""

    name, version, capabilities = "slow", "1", frozenset({"detect"})

    def __init__(self, *, busy_s: float = 0.0) -> None:
        self.busy_s = busy_s
        self.batches: list[list[str]] = []
        self.gate, self.entered, self.inside = threading.Event(), threading.Semaphore(0), 0
        self.gate.set()

    def run(self, requests):
        self.inside += 1
        assert self.inside == 1, "one batch at a time"
        self.batches.append([r.phrase for r in requests])
        self.entered.release()
        assert self.gate.wait(20)
        time.sleep(random.random() * self.busy_s)
        self.inside -= 1
        if any(r.phrase == "bad" for r in requests):
            raise ValueError("bad")
        return [
            Detections(boxes_xyxy=np.zeros((1, 4)), scores=np.array([len(r.phrase) / 9]), labels=(f"{r.phrase}@{r.image.hash}",))
            for r in requests
        ]  # fmt: skip


def ask(phrase, picture=PICTURES[0]):
    return DetectRequest(image=picture, phrase=phrase)


def said(answers):
    return [a if isinstance(a, ExpertError) else a.labels[0].partition("@")[0] for a in answers]


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_many_threads_get_what_the_expert_gives_alone():
    expert, alone = Slow(busy_s=0.002), Slow()
    phrases = ["a", "bb", "ccc", "bad", "eeeee", *map(str, range(20))]

    def play(seed):
        chance = random.Random(seed)
        for _ in range(15):
            requests = [ask(chance.choice(phrases), chance.choice(PICTURES)) for _ in range(chance.randint(1, 4))]
            for request, answer in zip(requests, batcher.submit(requests, 30), strict=True):
                if request.phrase == "bad":
                    assert isinstance(answer, ExpertError)
                else:
                    assert answer.labels == (f"{request.phrase}@{request.image.hash}",)
        return True

    with MicroBatcher(expert, max_batch=16) as batcher, ThreadPoolExecutor(64) as pool:
        assert all(pool.map(play, range(64), timeout=60))
        counts = batcher.counts()
    assert counts.queued == counts.refused == counts.overdue == 0
    assert counts.requests > 64 * 15 and counts.shared > 0 and counts.batches < counts.requests - counts.shared
    assert said(ExpertSet({"detect": alone}).execute([ask("a")])) == ["a"]


def test_what_arrives_meanwhile_goes_out_together_and_equal_requests_once():
    expert = Slow()
    with MicroBatcher(expert) as batcher, ThreadPoolExecutor(8) as pool:
        expert.gate.clear()
        first = pool.submit(batcher.submit, [ask("first")])
        expert.entered.acquire()
        later = [pool.submit(batcher.submit, [ask("same"), ask(f"own {k}"), ask("first")]) for k in range(4)]
        wait_until(lambda: batcher.counts().requests == 13)
        expert.gate.set()
        assert said(first.result()) == ["first"]
        assert [said(f.result()) for f in later] == [["same", f"own {k}", "first"] for k in range(4)]
    assert expert.batches[0] == ["first"] and sorted(expert.batches[1]) == ["own 0", "own 1", "own 2", "own 3", "same"]
    assert len(expert.batches) == 2 and batcher.counts().shared == 7


def test_callers_of_the_last_batch_are_waited_for_and_one_alone_is_not():
    expert = Slow()
    with MicroBatcher(expert, gather_s=5.0) as batcher, ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        for k in range(3):
            batcher.submit([ask(f"alone {k}")])
        assert time.monotonic() - began < 4, "nobody else was there"
        expert.gate.clear()
        held = pool.submit(batcher.submit, [ask("held")])
        expert.entered.acquire(timeout=5)
        for _ in range(3):
            expert.entered.acquire(timeout=5)
        pair = pool.submit(batcher.submit, [ask("one")])
        wait_until(lambda: batcher.counts().queued == 1)
        second = threading.Thread(target=batcher.submit, args=([ask("two")],))
        second.start()
        wait_until(lambda: batcher.counts().queued == 2)
        expert.gate.set()
        held.result(), pair.result(), second.join()
        turn = pool.submit(batcher.submit, [ask("three")])
        wait_until(lambda: batcher.counts().queued == 1)
        batcher.submit([ask("four")])
        turn.result()
    assert sorted(expert.batches[-2]) == ["one", "two"] and sorted(expert.batches[-1]) == ["four", "three"]


def test_a_full_queue_refuses_at_once_and_takes_more_later():
    expert = Slow()
    with MicroBatcher(expert, max_queued=3) as batcher, ThreadPoolExecutor(8) as pool:
        expert.gate.clear()
        running = pool.submit(batcher.submit, [ask("a")])
        expert.entered.acquire()
        waiting = pool.submit(batcher.submit, [ask("b"), ask("c"), ask("d")])
        wait_until(lambda: batcher.counts().queued == 3)
        began = time.monotonic()
        with pytest.raises(TemporaryExpertError, match=r"3 requests waiting; 2 more .* limit of 3"):
            batcher.submit([ask("e"), ask("f")], 30)
        assert time.monotonic() - began < 5 and batcher.counts().refused == 2
        known = pool.submit(batcher.submit, [ask("c"), ask("a")])
        expert.gate.set()
        assert said(running.result() + waiting.result() + known.result()) == ["a", "b", "c", "d", "c", "a"]
        assert said(batcher.submit([ask(c) for c in "uvwxyz"])) == list("uvwxyz"), "a large call alone is taken"


def test_nobody_waits_longer_than_allowed_and_nothing_is_done_for_those_who_left():
    expert = Slow()
    with MicroBatcher(expert) as batcher, ThreadPoolExecutor(2) as pool:
        expert.gate.clear()
        running = pool.submit(batcher.submit, [ask("a")])
        expert.entered.acquire()
        with pytest.raises(TemporaryExpertError, match=r"no answer within 0.02 s"):
            batcher.submit([ask("left"), ask("a")], 0.02)
        assert batcher.counts().queued == 0 and batcher.counts().overdue == 2
        expert.gate.set()
        assert said(running.result()) == ["a"] and said(batcher.submit([ask("b")])) == ["b"]
    assert expert.batches == [["a"], ["b"]]


def test_closing_ends_those_who_wait():
    expert = Slow()
    batcher = MicroBatcher(expert)
    with ThreadPoolExecutor(8) as pool:
        expert.gate.clear()
        calls = [pool.submit(batcher.submit, [ask("a")], 30)]
        expert.entered.acquire()
        calls += [pool.submit(batcher.submit, [ask("a"), ask(f"{k}")], 30) for k in range(4)]
        wait_until(lambda: batcher.counts().queued == 4)
        batcher.close(wait_s=0.01)
        for call in calls:
            assert all(isinstance(a, TemporaryExpertError) and "closed" in str(a) for a in call.result(5))
        with pytest.raises(TemporaryExpertError, match="closed"):
            batcher.submit([ask("late")])
        expert.gate.set()
    batcher.close()
    assert not batcher._thread.is_alive() and expert.batches == [["a"]]


def test_an_expert_that_breaks_its_thread_breaks_its_batch_only():
    class Rude(Slow):
        def run(self, requests):
            if requests[0].phrase == "die":
                raise GeneratorExit
            return super().run(requests)

    with MicroBatcher(Rude()) as batcher:
        (answer,) = batcher.submit([ask("die")], 10)
        assert isinstance(answer, ExpertError) and "GeneratorExit" in str(answer)
        assert said(batcher.submit([ask("a")], 10)) == ["a"] and batcher.submit([]) == []


def test_a_wrong_number_of_answers_breaks_its_batch_only():
    numbers = iter([0, 2, 1])
    with MicroBatcher(Slow(), answer=lambda requests: [ExpertError("said")] * next(numbers)) as batcher:
        told = [str(batcher.submit([ask(phrase)], 10)[0]) for phrase in "abc"]
    assert "0 answers for 1" in told[0] and "2 answers for 1" in told[1] and told[2] == "said"


def test_nothing_of_a_batch_is_held_once_it_is_answered():
    picture = Image(np.zeros((4, 4, 3), np.uint8))
    held = weakref.ref(picture)
    with MicroBatcher(Slow()) as batcher:
        batcher.submit([ask("a", picture)], 10)
        del picture
        wait_until(lambda: held() is None)


def test_a_set_may_answer_and_remember():
    expert = Slow()
    with MicroBatcher(expert, answer=ExpertSet({"detect": expert}).execute) as batcher:
        assert said(batcher.submit([ask("a"), ask("bad")]))[0] == "a"
        assert said(batcher.submit([ask("a")])) == ["a"]
    assert sum(batch.count("a") for batch in expert.batches) == 2, "once with the bad one and once without"


@pytest.mark.parametrize("wrong", [{"gather_s": -1}, {"gather_s": float("nan")}, {"max_batch": 0}, {"max_queued": 0}])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(BadValueError):
        MicroBatcher(Slow(), **wrong)


def test_patience_waits_longer_each_time_and_not_shorter_than_asked():
    slept, left = (
        [],
        [TemporaryExpertError("x"), TemporaryExpertError("x", retry_after_s=7.0), TemporaryExpertError("x")],
    )

    def once():
        if left:
            raise left.pop(0)
        return "there"

    assert ask_patiently(once, patience_s=60, first_wait_s=1.0, sleep=slept.append) == "there"
    assert 0.5 <= slept[0] <= 1 and slept[1] == 7 and 2 <= slept[2] <= 4


def test_patience_ends_with_the_last_error():
    asked = []

    def once():
        asked.append(1)
        raise TemporaryExpertError(f"{len(asked)}")

    with pytest.raises(TemporaryExpertError, match="1"):
        ask_patiently(once, patience_s=0)
    began = time.monotonic()
    with pytest.raises(TemporaryExpertError):
        ask_patiently(once, patience_s=0.05, first_wait_s=0.01)
    assert 0.05 <= time.monotonic() - began < 5 and len(asked) > 2
    asked.clear()

    def late():
        time.sleep(0.1 * (not asked))  # longer than the patience, which counts from the failure
        once()

    with pytest.raises(TemporaryExpertError):
        ask_patiently(late, patience_s=0.05, first_wait_s=0.01)
    assert len(asked) > 2
    with pytest.raises(ZeroDivisionError):
        ask_patiently(lambda: 1 / 0, patience_s=60)
