"""Playing in several processes: each has its own agents and experts, and is fed one sample's episodes at a time.

A process that dies (out of memory, a crash in native code) is replaced. What it was playing is played again, one episode
at a time, so that the one that kills its process is found and recorded as failed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

from visenv.errors import BadValueError, PluginError, UnknownNameError, UnsuitedError, VisenvError, bad_value, say

from .cast import Cast, RunSettings
from .collector import sparing_the_collector
from .job import Job
from .lanes import Patience, play_episodes
from .recording import failed_record
from .records import EpisodeRecord, Key
from .rundir import ImageFiles, StorageError

__all__ = ["play_in_workers"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
READY = "ready"
"""What a process sends once its agents and experts are made."""
ERRORS: dict[str, type[VisenvError]] = {
    "storage": StorageError, "unsuited": UnsuitedError, "value": BadValueError, "name": UnknownNameError,
    "plugin": PluginError, "visenv": VisenvError,
}  # fmt: skip
"""What a worker process may tell the parent to raise; the first that fits."""
STILLBORN = 3
"""So many processes in a row that die before that end the run: a further one would die too."""


def play_in_workers(
    jobs: Sequence[Job], cast: Cast, *, workers: int, lanes: int, images: ImageFiles, patience: Patience
) -> Iterator[EpisodeRecord]:
    """Play episodes in ``workers`` processes and give each one's record as it ends.

    Raises:
        BadValueError: The settings hold objects that cannot be sent to another process.
        VisenvError: Processes die before they can begin; nothing more can be played.
    """
    try:
        pickle.dumps(cast.settings)
    except Exception as error:  # whatever somebody's object raises when pickled
        raise bad_value(
            "workers", workers, expected=f"1 for objects that cannot be sent to a process ({error})",
            remedy="Give names, which every process makes anew.",
        ) from error  # fmt: skip
    groups = deque(list(group) for _, group in groupby(jobs, key=lambda j: j.place))
    workers = min(workers, len(groups))
    queue = _Queue(groups, window=max(1, min(lanes, -(-len(jobs) // (2 * workers)))))
    arguments = (cast.settings, lanes, images, patience)
    team: list[_Member] = []
    stillborn = 0
    try:
        team += [_Member(arguments) for _ in range(workers)]
        for member in team:
            queue.feed(member)
        while any(m.owed for m in team):
            by_pipe: dict[Any, _Member] = {m.pipe: m for m in team if m.owed}
            for pipe in wait(list(by_pipe)):
                member = by_pipe[pipe]
                message = member.receive()
                if isinstance(message, _Trouble):
                    raise message.to_error()
                if message == READY:
                    stillborn = 0
                if isinstance(message, _Death):
                    stillborn += not message.ready
                    if stillborn >= STILLBORN:
                        raise VisenvError(
                            f"{stillborn} worker processes in a row ended before they could begin ({message.how}), perhaps "
                            "for want of memory. Expected them to live as long as the run. Everything recorded is safe; "
                            "continue with fewer --workers."
                        )
                    lost = queue.take_back(member, patience, tried=message.ready)
                    team[team.index(member)] = _Member(arguments)
                    yield from (_given_up(job, cast, message) for job in lost)
                for one in team:
                    queue.feed(one)
                if isinstance(message, EpisodeRecord):
                    yield message
        for member in team:
            member.dismiss()
    finally:
        for member in team:
            member.end()


class _Queue:
    """What is still to be played, and who is given what."""

    def __init__(self, groups: deque[list[Job]], *, window: int) -> None:
        self._groups = groups
        self._window = window
        self._suspects: deque[Job] = deque()  # were in a process that died; each is played alone

    def feed(self, member: _Member) -> None:
        if member.alone and member.owed:
            return
        member.alone = False
        if self._suspects and not member.owed:
            member.alone = True
            member.send([self._suspects.popleft()])
            return
        while self._groups and len(member.owed) < self._window:
            member.send(self._groups.popleft())

    def take_back(self, member: _Member, patience: Patience, *, tried: bool) -> list[Job]:
        """Queue what a dead process owes; return what has been tried too often."""
        if not tried:
            self._groups.extendleft([job] for job in reversed(member.owed.values()))
            return []
        owed = list(member.owed.values())
        self._suspects += [replace(j, attempt=j.attempt + 1) for j in owed if j.attempt <= patience.retries]
        return [job for job in owed if job.attempt > patience.retries]


def _given_up(job: Job, cast: Cast, death: _Death) -> EpisodeRecord:
    why = f"A worker process ended by itself ({death.how}) while it played this episode, {job.attempt} times."
    return failed_record(job, cast.tasks[job.task], run_seed=cast.settings.seed, failure=why, seconds=0.0)


@dataclass(frozen=True, slots=True)
class _Death:
    """The end of a process."""

    how: str
    ready: bool
    """Whether it had begun to play."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a process cannot go on, as plain data: somebody else's exceptions may not survive the way."""

    kind: str
    text: str

    @classmethod
    def of(cls, error: BaseException) -> _Trouble:
        for kind, known in ERRORS.items():
            if isinstance(error, known):
                return cls(kind, say(error).partition(": ")[2])
        return cls("", f"A worker process failed: {say(error)}\n{traceback.format_exc()}")

    def to_error(self) -> VisenvError:
        return ERRORS.get(self.kind, VisenvError)(self.text)


class _Member:
    """A process and which records it owes."""

    def __init__(self, arguments: tuple[RunSettings, int, ImageFiles, Patience]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *arguments), daemon=True)
        with _one_thread(), _deaf_to_ctrl_c():
            self.process.start()
        theirs.close()
        self.owed: dict[Key, Job] = {}
        self.alone = False
        """Whether it plays one episode only, which may kill it."""
        self._ready = False

    def send(self, jobs: list[Job]) -> None:
        with contextlib.suppress(OSError):  # a dead process is noticed, with its reason, on receiving
            self.pipe.send(jobs)
        self.owed |= {job.key: job for job in jobs}

    def receive(self) -> EpisodeRecord | _Trouble | _Death | str:
        """Return the next record, ``READY``, why the process cannot go on, or that it is dead."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            self.end()
            return _Death(how=f"exit code {self.process.exitcode}", ready=self._ready)
        if isinstance(message, _Trouble):
            return message
        if message == READY:
            self._ready = True
            return READY
        record = EpisodeRecord.from_json(message)
        del self.owed[record.key]
        return record

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


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start meanwhile have one thread each in their numeric libraries, which read this as they load."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that start meanwhile hear no Ctrl-C, even before they can ignore it; this one hears it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would unblock the signal when it is started along the way
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def _work(pipe: Connection, settings: RunSettings, lanes: int, images: ImageFiles, patience: Patience) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # for the programs an agent may start
    cv2.setNumThreads(1)
    try:
        cast = Cast(settings, threads=1)
        pipe.send(READY)
        with sparing_the_collector():
            for record in play_episodes(_Piped(pipe), cast, lanes=lanes, images=images, patience=patience):
                pipe.send(record.to_json())
        cast.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone; nobody is left to report to
    except (Exception, SystemExit) as error:  # the boundary between processes: the parent raises it
        pipe.send(_Trouble.of(error))
