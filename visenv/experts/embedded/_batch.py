"""Answering a batch one request at a time, on a few threads."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .._protocol import Expert, Request, Result
from ._threads import ONE_THREAD

__all__ = ["BatchExpert"]


class BatchExpert(Expert):
    """An expert whose answers depend on one request each, never on the rest of the batch."""

    mixed_sizes = True

    def __init__(self, *, threads: int | None = None) -> None:
        """Use up to ``threads`` threads for a batch, by default one per core. OpenCV and numpy free them to run."""
        self.threads = max(1, threads or os.cpu_count() or 1)

    @abstractmethod
    def answer(self, request: Request) -> Result:
        """Answer one request; called from several threads."""

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Answer a batch, in order."""
        workers = min(self.threads, len(requests))
        with ONE_THREAD:
            if workers <= 1:
                return [self.answer(request) for request in requests]
            with ThreadPoolExecutor(workers, thread_name_prefix=self.name) as pool:
                return list(pool.map(self.answer, requests))
