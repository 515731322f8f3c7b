"""Playing in several processes: each has its own agents and experts, and is fed one sample's episodes at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

from visenv.errors import VisenvError, bad_value

from .cast import Cast, RunSettings
from .records import EpisodeRecord, ImageFiles
from .runner import Job, play_episodes

__all__ = ["play_in_workers"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def play_in_workers(
    jobs: Sequence[Job], settings: RunSettings, *, workers: int, lanes: int, images: ImageFiles
) -> Iterator[EpisodeRecord]:
    """Play episodes in ``workers`` processes and give each one's record as it ends.

    Raises:
        BadValueError: The settings hold objects that cannot be sent to another process.
        VisenvError: A process died; what it had not yet reported was not recorded.
    """
    try:
        pickle.dumps(settings)
    except Exception as error:  # whatever somebody's object raises when pickled
        raise bad_value(
            "workers", workers, expected=f"1 for objects that cannot be sent to a process ({error})",
            remedy="Give names, which every process makes anew.",
        ) from error  # fmt: skip
    groups = deque(list(group) for _, group in groupby(jobs, key=lambda j: j.place))
    workers = min(workers, len(groups))
    window = max(1, min(lanes, -(-len(jobs) // (2 * workers))))
    team = _start(workers, settings, lanes, images)
    try:
        for member in team:
            member.feed(groups, window)
        while any(m.owed for m in team):
            by_pipe: dict[Any, _Member] = {m.pipe: m for m in team if m.owed}
            for pipe in wait(list(by_pipe)):
                record = by_pipe[pipe].receive()
                by_pipe[pipe].feed(groups, window)
                yield record
        for member in team:
            member.dismiss()
    finally:
        for member in team:
            member.end()


class _Member:
    """A process and how many records it owes."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self.process = process
        self.pipe = pipe
        self.owed = 0

    def feed(self, groups: deque[list[Job]], window: int) -> None:
        while groups and self.owed < window:
            group = groups.popleft()
            with contextlib.suppress(OSError):  # a dead process is noticed, with its reason, on receiving
                self.pipe.send(group)
            self.owed += len(group)

    def receive(self) -> EpisodeRecord:
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise VisenvError(
                f"A worker process ended by itself (exit code {self.process.exitcode}), perhaps for want of memory. "
                "Expected it to live as long as the run. Everything recorded is safe; continue with fewer --workers."
            ) from None
        if isinstance(message, BaseException):
            raise message
        self.owed -= 1
        return EpisodeRecord.from_json(message)

    def dismiss(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(10)

    def end(self) -> None:
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(5)
        self.pipe.close()


def _start(number: int, settings: RunSettings, lanes: int, images: ImageFiles) -> list[_Member]:
    context = multiprocessing.get_context("spawn")
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # read by the libraries of the new processes as they load
    team = []
    try:
        for _ in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, settings, lanes, images), daemon=True)
            process.start()
            theirs.close()
            team.append(_Member(process, ours))
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return team


class _Piped:
    """Jobs from the parent."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._jobs: deque[Job] = deque()
        self._over = False

    def take(self, number: int, *, idle: bool) -> Sequence[Job]:
        while not self._over and len(self._jobs) < number and (self._pipe.poll() or (idle and not self._jobs)):
            group = self._pipe.recv()
            if group is None:
                self._over = True
            else:
                self._jobs += group
        return [self._jobs.popleft() for _ in range(min(number, len(self._jobs)))]


def _work(pipe: Connection, settings: RunSettings, lanes: int, images: ImageFiles) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    cv2.setNumThreads(1)
    try:
        cast = Cast(settings, threads=1)
        for record in play_episodes(_Piped(pipe), cast, lanes=lanes, images=images):
            pipe.send(record.to_json())
        cast.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone; nobody is left to report to
    except Exception as error:  # the boundary between processes: the parent raises it
        if not isinstance(error, VisenvError):
            error = VisenvError(f"A worker process failed: {type(error).__name__}: {error}\n{traceback.format_exc()}")
        pipe.send(error)
