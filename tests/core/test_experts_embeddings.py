"""Embeddings by picture: made once, bounded, shared by threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from visenv import Image
from visenv.errors import TemporaryExpertError
from visenv.experts.embeddings import ENTRY_BYTES, EmbeddingCache

PICTURES = [Image(np.full((2, 2, 3), k, np.uint8)) for k in range(8)]

SIZE = 80 + ENTRY_BYTES
"""Of what :class:`Model` makes."""


class Model:
    def __init__(self):
        self.batches: list[list[int]] = []

    def embed(self, images):
        self.batches.append([int(i.pixels[0, 0, 0]) for i in images])
        return [np.full(10, i.pixels[0, 0, 0], np.float64) for i in images]


def first(values):
    return [int(v[0]) for v in values]


def test_each_picture_is_embedded_once_and_order_kept():
    cache, model = EmbeddingCache(), Model()
    order = [2, 0, 2, 1, 0]
    assert first(cache.get([PICTURES[k] for k in order], model.embed)) == order
    assert first(cache.get([Image(PICTURES[k].pixels.copy()) for k in (1, 3, 2)], model.embed)) == [1, 3, 2]
    assert model.batches == [[2, 0, 1], [3]] and len(cache) == 4 and cache.num_bytes == 4 * SIZE
    assert cache.get([], model.embed) == [] and cache.clear() and not cache.clear() and cache.num_bytes == 0


def test_the_oldest_make_room_and_what_is_too_large_is_not_kept():
    cache, model = EmbeddingCache(limit_bytes=2 * SIZE + 10), Model()
    for k in (0, 1, 0, 2, 0, 1):
        cache.get([PICTURES[k]], model.embed)
        assert cache.num_bytes <= 2 * SIZE + 10
    assert model.batches == [[0], [1], [2], [1]]
    assert first(cache.get(PICTURES, model.embed)) == list(range(8)), "a call may need more than is kept"
    small = EmbeddingCache(limit_bytes=SIZE - 1)
    assert first(small.get(PICTURES[:1], model.embed)) == [0] and len(small) == 0


def test_of_many_pictures_without_anything_to_keep_few_are_kept():
    cache: EmbeddingCache[None] = EmbeddingCache(limit_bytes=4 * ENTRY_BYTES, size_of=lambda _: 0)
    for image in PICTURES:
        cache.get([image], lambda images: [None] * len(images))
    assert len(cache) == 4


def test_threads_wait_for_one_that_embeds():
    cache, model = EmbeddingCache(), Model()
    barrier = threading.Barrier(8)

    def play(k):
        barrier.wait()
        order = [(k + j) % 8 for j in range(8)]
        return first(cache.get([PICTURES[j] for j in order], model.embed)) == order

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(play, range(8)))
    assert sorted(k for batch in model.batches for k in batch) == list(range(8))


def test_a_failure_is_of_who_met_it_and_others_try_for_themselves():
    cache, model = EmbeddingCache(), Model()
    entered, go = threading.Event(), threading.Event()

    def fail(images):
        entered.set()
        assert go.wait(10)
        raise MemoryError("full")

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(cache.get, PICTURES[:2], fail)
        assert entered.wait(10)
        waiting = pool.submit(cache.get, PICTURES[1:3], model.embed)
        while len(cache) < 1:  # its own picture is made before it waits
            threading.Event().wait(0.001)
        go.set()
        with pytest.raises(MemoryError):
            failing.result(10)
        assert first(waiting.result(10)) == [1, 2]
    assert model.batches == [[2], [1]]
    with pytest.raises(ValueError):
        cache.get(PICTURES[5:7], lambda images: [np.zeros(1)])
    assert first(cache.get(PICTURES[5:7], model.embed)) == [5, 6]


def test_a_thread_that_never_ends_is_not_waited_for_ever():
    cache, model = EmbeddingCache(wait_s=0.05), Model()
    entered, go = threading.Event(), threading.Event()

    def hang(images):
        entered.set()
        assert go.wait(10)
        return model.embed(images)

    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(cache.get, PICTURES[:1], hang)
        assert entered.wait(10)
        with pytest.raises(TemporaryExpertError, match=r"more than 0.05 s by another thread"):
            cache.get(PICTURES[:2], model.embed)
        go.set()
        assert first(hanging.result(10)) == [0]
    assert first(cache.get(PICTURES[:2], model.embed)) == [0, 1] and model.batches == [[1], [0]]
