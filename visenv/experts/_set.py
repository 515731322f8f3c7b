"""A set of experts, one per capability, that answers mixed batches and remembers answers."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from .. import plugins
from ..errors import ExpertError, TemporaryExpertError, bad_value, say, stops_the_process
from ..redaction import redact
from ._protocol import Capability, Expert, Request, Result
from ._replay import recorded_experts
from ._spec import ExpertsSpec
from .batcher import MicroBatcher
from .cache import Key, ResultCache
from .running import run_isolated
from .store import LIMIT_BYTES, ResultStore

__all__ = ["ExpertSet", "make_experts"]


class ExpertSet:
    """Answers requests with one expert per capability.

    Equal requests are asked once: within a batch, across batches while they stay among the latest in memory, and across
    processes where there is a folder for them. What an expert returns is checked before anybody sees it.
    """

    def __init__(
        self, experts: Mapping[Capability, Expert], *, cache_size: int = 4096, store: ResultStore | None = None,
        wait_s: float | None = None,
    ) -> None:  # fmt: skip
        """Use these experts, which :meth:`close` closes.

        Args:
            experts: Who answers, by capability.
            cache_size: How many results are remembered in memory.
            store: A folder in which results are looked up and kept.
            wait_s: Longest wait for the answers of one expert in :meth:`execute`; then its requests fail for now. Each expert runs in
                a thread of its own, which nothing can stop: what hangs goes on, and requests behind it fail in turn. By default an
                expert runs in the caller's thread, for as long as it takes.
        """
        self.experts = dict(experts)
        self.store = store
        self.wait_s = wait_s
        self._cache_size = cache_size
        self._cache = ResultCache(limit=cache_size)
        self._batchers: dict[tuple[int, int], MicroBatcher] = {}
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: object) -> ExpertSet:
        return self  # environments made from one spec share their experts: models are heavy

    def __getstate__(self) -> dict[str, object]:
        return {"experts": self.experts, "cache_size": self._cache_size, "store": self.store, "wait_s": self.wait_s}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the set can be asked for."""
        return frozenset(self.experts)

    def identities(self) -> dict[str, str]:
        """Return each capability's expert, version and weights, for records."""
        return {c: e.identity for c, e in sorted(self.experts.items())}

    def health(self) -> dict[Capability, str | ExpertError]:
        """Ask each expert whether it can answer; return what it says, or why it cannot, by capability."""
        said: dict[int, str | ExpertError] = {}
        for expert in self.experts.values():
            if id(expert) not in said:
                said[id(expert)] = _health(expert)
        return {c: said[id(e)] for c, e in sorted(self.experts.items())}

    def execute(self, requests: Sequence[Request]) -> list[Result | ExpertError]:
        """Answer requests in order; one that cannot be answered gives its error in place, alone."""
        answers: dict[Key, Result | ExpertError] = {}
        pending: dict[Capability, OrderedDict[Key, Request]] = {}
        keys = []
        for request in requests:
            expert = self.experts.get(request.capability)
            key = (expert.identity if expert else "", *request.key())
            keys.append(key)
            if key in answers:
                continue
            if expert is None:
                answers[key] = ExpertError(f"No expert of this set can {request.capability}.")
                continue
            known = self._recall(key, request)
            if known is not None:
                answers[key] = known
            else:
                pending.setdefault(request.capability, OrderedDict())[key] = request
        for capability, group in pending.items():
            found = self._ask(self.experts[capability], list(group.values()))
            answers.update(zip(group, found, strict=True))
        return [answers[key] for key in keys]

    def _ask(self, expert: Expert, requests: list[Request]) -> list[Result | ExpertError]:
        if self.wait_s is None:
            return self._run(expert, requests)
        key = os.getpid(), id(expert)  # a thread does not come along into a fork
        with self._lock:
            batcher = self._batchers.get(key)
            if batcher is None:
                batcher = self._batchers[key] = MicroBatcher(expert, answer=partial(self._run, expert))
        try:
            return batcher.submit(requests, self.wait_s)
        except TemporaryExpertError as error:
            return [error for _ in requests]

    def _run(self, expert: Expert, requests: Sequence[Request]) -> list[Result | ExpertError]:
        """Answer, and remember the answers, also those that nobody waits for any more."""
        answers = run_isolated(expert, requests)
        for request, answer in zip(requests, answers, strict=True):
            if not isinstance(answer, ExpertError):
                self._remember((expert.identity, *request.key()), answer)
        return answers

    def _recall(self, key: Key, request: Request) -> Result | None:
        known = self._cache.get(key)
        if known is None and self.store is not None:
            known = self.store.get(key, request)
            if known is not None:
                self._cache.put(key, known)
        return known

    def _remember(self, key: Key, result: Result) -> None:
        self._cache.put(key, result)
        if self.store is not None:
            self.store.put(key, result)

    def close(self) -> None:
        """Close every expert once; one that cannot be closed is a warning."""
        with self._lock:
            batchers, self._batchers = self._batchers, {}
        for (process, _), batcher in batchers.items():
            if process == os.getpid():
                batcher.close()
        _close(self.experts.values())


def make_experts(spec: str | ExpertSet) -> ExpertSet:
    """Build an expert set from its name.

    Args:
        spec: ``"embedded"`` (one provider for all it can do), ``"http://host:port"`` (a server of experts) or roles,
            ``"detector=NAME,segmenter=NAME:key=value"``; roles not named fall back to the name without a role, ``embedded`` by
            default. With ``cache=FOLDER`` results are kept in a folder (of at most 20 gigabytes, or ``cache_gb=…``), with
            ``replay=FOLDER`` they are taken from there alone and no expert is made; with ``wait_s=…`` nobody waits longer for an
            answer. An expert set is returned as it is.

    Raises:
        UnknownNameError: No such expert.
        BadValueError: No such role, option or folder.
    """
    if isinstance(spec, ExpertSet):
        return spec
    wanted = ExpertsSpec.parse(spec)
    if wanted.replay is not None:
        store = ResultStore(wanted.replay, replay=True)
        return ExpertSet(recorded_experts(store, wanted.canonical()), store=store)
    experts = _make(wanted)
    if wanted.cache is None:
        return ExpertSet(experts, wait_s=wanted.wait_s)
    limit_bytes = LIMIT_BYTES if wanted.cache_gb is None else max(1, round(wanted.cache_gb * 10**9))
    made = ExpertSet(experts, store=ResultStore(wanted.cache, limit_bytes=limit_bytes), wait_s=wanted.wait_s)
    assert made.store is not None
    made.store.note_experts(wanted.canonical(), made.identities())
    return made


def _make(wanted: ExpertsSpec) -> dict[Capability, Expert]:
    """Make the experts of a spec, one provider for several roles once; those that nobody will ask are closed again."""
    made: list[Expert] = []
    experts: dict[Capability, Expert] = {}
    try:
        found: dict[str, dict[Capability, Expert]] = {}
        for spec in wanted.specs:
            provided = plugins.build("experts", spec)
            listed = provided if isinstance(provided, (list, tuple)) else [provided]
            made += listed
            found[spec] = {capability: expert for expert in listed for capability in sorted(expert.capabilities)}
        experts |= found[wanted.specs[0]]
        for capability, spec in wanted.by_capability().items():
            if capability not in found[spec]:
                raise bad_value("experts", spec, expected=f"an expert that can {capability}")
            experts[capability] = found[spec][capability]
    except BaseException:
        _close(made)
        raise
    asked = set(map(id, experts.values()))
    _close(expert for expert in made if id(expert) not in asked)
    return experts


def _close(experts: Iterable[Expert]) -> None:
    for expert in {id(e): e for e in experts}.values():
        try:
            expert.close()
        except BaseException as error:  # the boundary to expert code
            if stops_the_process(error):
                raise
            name = getattr(expert, "name", type(expert).__name__)  # a plugin may have made anything
            warnings.warn(f"Expert {name!r} cannot be closed: {redact(say(error))}.", RuntimeWarning, stacklevel=3)


def _health(expert: Expert) -> str | ExpertError:
    try:
        return expert.health()
    except BaseException as error:  # the boundary to expert code
        if stops_the_process(error):
            raise
        return error if isinstance(error, ExpertError) else ExpertError(f"{expert.identity} failed: {say(error)}")
