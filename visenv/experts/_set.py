"""A set of experts, one per capability, that answers mixed batches and remembers answers."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from .. import plugins
from ..errors import ExpertError, bad_value, say, stops_the_process
from ._check import find_problem, num_bytes
from ._protocol import Capability, Expert, Request, Result

__all__ = ["ROLES", "ExpertSet", "make_experts"]

ROLES: dict[str, Capability] = {
    "detector": "detect",
    "segmenter": "segment",
    "pointer": "point",
    "upscaler": "upscale",
    "reader": "read",
}
"""The words of the command line, ``detector=…``, for each capability."""

CACHE_BYTES = 256 * 2**20
"""What remembered results may hold in memory."""


class ExpertSet:
    """Answers requests with one expert per capability.

    Equal requests are asked once: within a batch, and across batches while they stay among the ``cache_size`` latest and
    within ``CACHE_BYTES``. What an expert returns is checked before anybody sees it.
    """

    def __init__(self, experts: Mapping[Capability, Expert], *, cache_size: int = 4096) -> None:
        self.experts = dict(experts)
        self._cache: OrderedDict[tuple[object, ...], Result] = OrderedDict()
        self._cache_size = cache_size
        self._cached_bytes = 0
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: object) -> ExpertSet:
        return self  # environments made from one spec share their experts: models are heavy

    def __getstate__(self) -> dict[str, object]:
        return {"experts": self.experts, "cache_size": self._cache_size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["experts"], cache_size=state["cache_size"])  # type: ignore[misc]

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the set can be asked for."""
        return frozenset(self.experts)

    def identities(self) -> dict[str, str]:
        """Return each capability's expert, version and weights, for records."""
        return {c: e.identity for c, e in sorted(self.experts.items())}

    def execute(self, requests: Sequence[Request]) -> list[Result | ExpertError]:
        """Answer requests in order; one that cannot be answered gives its error in place, alone."""
        answers: dict[tuple[object, ...], Result | ExpertError] = {}
        pending: dict[Capability, OrderedDict[tuple[object, ...], Request]] = {}
        keys = []
        for request in requests:
            expert = self.experts.get(request.capability)
            identity = expert.identity if expert else ""
            key = (identity, *request.key())
            keys.append(key)
            if key in answers:
                continue
            with self._lock:
                if key in self._cache:
                    self._cache.move_to_end(key)
                    answers[key] = self._cache[key]
                    continue
            if expert is None:
                answers[key] = ExpertError(f"No expert of this set can {request.capability}.")
                continue
            pending.setdefault(request.capability, OrderedDict())[key] = request
        for capability, group in pending.items():
            found = self._run(self.experts[capability], list(group.values()))
            for key, result in zip(group, found, strict=True):
                answers[key] = result
                if not isinstance(result, ExpertError):
                    self._remember(key, result)
        return [answers[key] for key in keys]

    def _run(self, expert: Expert, requests: list[Request]) -> list[Result | ExpertError]:
        try:
            results = expert.run(requests)
            if len(results) != len(requests):
                raise ExpertError(f"{expert.identity} gave {len(results)} results for {len(requests)} requests.")
            checked: list[Result | ExpertError] = []
            for request, result in zip(requests, results, strict=True):
                problem = find_problem(request, result)
                checked.append(ExpertError(f"{expert.identity} gave {problem}.") if problem else result)
            return checked
        except BaseException as error:  # the boundary to expert code: any failure must stay with its request
            if stops_the_process(error):
                raise
            if len(requests) > 1:
                return [self._run(expert, [request])[0] for request in requests]
            wrapped = (
                error if isinstance(error, ExpertError) else ExpertError(f"{expert.identity} failed: {say(error)}")
            )
            wrapped.__cause__ = None if wrapped is error else error
            return [wrapped]

    def _remember(self, key: tuple[object, ...], result: Result) -> None:
        with self._lock:
            if key not in self._cache:
                self._cached_bytes += num_bytes(result)
            self._cache[key] = result
            while len(self._cache) > self._cache_size or self._cached_bytes > CACHE_BYTES:
                _, oldest = self._cache.popitem(last=False)
                self._cached_bytes -= num_bytes(oldest)

    def close(self) -> None:
        """Close every expert once."""
        for expert in {id(e): e for e in self.experts.values()}.values():
            expert.close()


def make_experts(spec: str | ExpertSet) -> ExpertSet:
    """Build an expert set from its name.

    Args:
        spec: ``"embedded"`` (one provider for all it can do) or roles, ``"detector=NAME,segmenter=NAME:key=value"``;
            roles not named fall back to ``embedded``. An expert set is returned as it is.

    Raises:
        UnknownNameError: No such expert.
        BadValueError: No such role or option.
    """
    if isinstance(spec, ExpertSet):
        return spec
    if "=" not in spec.split(":", 1)[0]:
        return ExpertSet(_provide(spec))
    made = {"embedded": _provide("embedded")}
    experts = dict(made["embedded"])
    for part in re.split(rf",(?=(?:{'|'.join(ROLES)})=)", spec):
        role, equals, name = part.partition("=")
        if not equals or role not in ROLES:
            raise bad_value("experts", part, expected=f"ROLE=NAME with a role of {', '.join(ROLES)}")
        if name not in made:  # one provider for several roles is made once
            made[name] = _provide(name)
        provided = made[name]
        if ROLES[role] not in provided:
            raise bad_value("experts", part, expected=f"an expert that can {ROLES[role]}; {name!r} cannot")
        experts[ROLES[role]] = provided[ROLES[role]]
    return ExpertSet(experts)


def _provide(spec: str) -> dict[Capability, Expert]:
    made = plugins.build("experts", spec)
    provided = made if isinstance(made, (list, tuple)) else [made]
    return {capability: expert for expert in provided for capability in sorted(expert.capabilities)}
