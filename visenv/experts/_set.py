"""A set of experts, one per capability, that answers mixed batches and remembers answers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from .. import plugins
from ..errors import ExpertError, bad_value, say, stops_the_process
from ._protocol import Capability, Expert, Request, Result
from ._replay import recorded_experts
from ._spec import ExpertsSpec
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
        self, experts: Mapping[Capability, Expert], *, cache_size: int = 4096, store: ResultStore | None = None
    ) -> None:
        """Use these experts, which :meth:`close` closes.

        Args:
            experts: Who answers, by capability.
            cache_size: How many results are remembered in memory.
            store: A folder in which results are looked up and kept.
        """
        self.experts = dict(experts)
        self.store = store
        self._cache_size = cache_size
        self._cache = ResultCache(limit=cache_size)

    def __deepcopy__(self, memo: object) -> ExpertSet:
        return self  # environments made from one spec share their experts: models are heavy

    def __getstate__(self) -> dict[str, object]:
        return {"experts": self.experts, "cache_size": self._cache_size, "store": self.store}

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
            found = run_isolated(self.experts[capability], list(group.values()))
            for key, result in zip(group, found, strict=True):
                answers[key] = result
                if not isinstance(result, ExpertError):
                    self._remember(key, result)
        return [answers[key] for key in keys]

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
        """Close every expert once."""
        for expert in {id(e): e for e in self.experts.values()}.values():
            expert.close()


def make_experts(spec: str | ExpertSet) -> ExpertSet:
    """Build an expert set from its name.

    Args:
        spec: ``"embedded"`` (one provider for all it can do), ``"http://host:port"`` (a server of experts) or roles,
            ``"detector=NAME,segmenter=NAME:key=value"``; roles not named fall back to the name without a role, ``embedded`` by
            default. With ``cache=FOLDER`` results are kept in a folder (of at most 20 gigabytes, or ``cache_gb=…``), with
            ``replay=FOLDER`` they are taken from there alone and no expert is made. An expert set is returned as it is.

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
        return ExpertSet(experts)
    limit_bytes = LIMIT_BYTES if wanted.cache_gb is None else max(1, round(wanted.cache_gb * 10**9))
    made = ExpertSet(experts, store=ResultStore(wanted.cache, limit_bytes=limit_bytes))
    assert made.store is not None
    made.store.note_experts(wanted.canonical(), made.identities())
    return made


def _make(wanted: ExpertsSpec) -> dict[Capability, Expert]:
    """Make the experts of a spec; one provider for several roles is made once."""
    made: dict[str, dict[Capability, Expert]] = {}
    for spec in wanted.specs:
        provided = plugins.build("experts", spec)
        listed = provided if isinstance(provided, (list, tuple)) else [provided]
        made[spec] = {capability: expert for expert in listed for capability in sorted(expert.capabilities)}
    experts = dict(made[wanted.specs[0]])
    for capability, spec in wanted.by_capability().items():
        if capability not in made[spec]:
            raise bad_value("experts", spec, expected=f"an expert that can {capability}")
        experts[capability] = made[spec][capability]
    return experts


def _health(expert: Expert) -> str | ExpertError:
    try:
        return expert.health()
    except BaseException as error:  # the boundary to expert code
        if stops_the_process(error):
            raise
        return error if isinstance(error, ExpertError) else ExpertError(f"{expert.identity} failed: {say(error)}")
