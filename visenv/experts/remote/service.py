"""What a server of experts does with a call, whatever carries it: find its pictures, ask through the batchers, write the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...errors import ExpertError, TemporaryExpertError
from .._protocol import Capability, Expert, Result
from .._set import ExpertSet
from ..batcher import MicroBatcher
from ..store import ResultStore
from .calls import Catalogue, catalogue_of, identity_of, read_call, write_answer, write_unknown
from .forms import FormError
from .metrics import Metrics, resident_bytes
from .pictures import Pictures

__all__ = ["BODY_BYTES", "PICTURE_BYTES", "Service"]

BODY_BYTES = 2**28
"""Longest body that is read; a picture of 8192 x 8192 pixels fits."""
PICTURE_BYTES = 2**29
"""What pictures may hold in memory."""
WAIT_S = 100.0
"""Longest wait for an expert; what is answered later is remembered, and found by whoever asks again."""


class Service:
    """Answers calls from many threads with the experts of one set."""

    def __init__(
        self, experts: ExpertSet, *, body_bytes: int = BODY_BYTES, picture_bytes: int = PICTURE_BYTES, wait_s: float = WAIT_S
    ) -> None:  # fmt: skip
        """Take over the experts: :meth:`close` closes them."""
        self.experts = experts
        self.body_bytes = body_bytes
        self.metrics = Metrics()
        self._wait_s = wait_s
        self._pictures = Pictures(limit_bytes=picture_bytes)
        made: dict[int, MicroBatcher] = {}
        for expert in experts.experts.values():
            if id(expert) not in made:
                made[id(expert)] = MicroBatcher(expert, answer=_remembering(expert, experts.store).execute)
        self._batchers: dict[Capability, MicroBatcher] = {c: made[id(e)] for c, e in experts.experts.items()}

    @property
    def catalogue(self) -> Catalogue:
        """What clients may ask for, and who answers."""
        return catalogue_of(self.experts.experts, body_bytes=self.body_bytes)

    def answer(self, body: bytes | bytearray) -> tuple[int, bytes]:
        """Answer a call.

        Returns:
            The HTTP status and the body: 200 and the answer, or 409 and the pictures that must come along.

        Raises:
            WireError: The body is no call.
            TemporaryExpertError: Nothing can be answered just now.
        """
        call = read_call(body)
        if call.capability not in self._batchers:
            raise FormError(f"call.capability: no expert here can {call.capability}")
        hashes = call.hashes()
        self._pictures.keep(call.images.values())
        self.metrics.add("visenv_pictures_received_total", len(call.images))
        images = self._pictures.find(hashes) | call.images
        unknown = [name for name in hashes if name not in images]
        if unknown:
            return 409, write_unknown(unknown)
        requests = call.requests(images)
        outcomes = self._batchers[call.capability].submit(requests, timeout_s=self._wait_s)
        self._count(call.capability, outcomes)
        late = next((o for o in outcomes if isinstance(o, TemporaryExpertError)), None)
        if late is not None:
            raise late
        return 200, write_answer(identity_of(self.experts.experts[call.capability]), outcomes)

    def health(self) -> str:
        """Say that every expert can answer.

        Raises:
            ExpertError: One cannot.
        """
        said = self.experts.health()
        for words in said.values():
            if isinstance(words, ExpertError):
                raise words
        return "; ".join(f"{capability}: {words}" for capability, words in said.items())

    def metrics_text(self) -> str:
        """Return what was counted."""
        return self.metrics.to_text(self._gauges())

    def close(self) -> None:
        """End the batchers, then close the experts."""
        for batcher in set(self._batchers.values()):
            batcher.close()
        self.experts.close()

    def _count(self, capability: str, outcomes: Sequence[Result | ExpertError]) -> None:
        failed = sum(isinstance(outcome, ExpertError) for outcome in outcomes)
        for outcome, number in (("failed", failed), ("answered", len(outcomes) - failed)):
            self.metrics.add("visenv_requests_total", number, capability=capability, outcome=outcome)

    def _gauges(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        yield "visenv_pictures", {}, len(self._pictures)
        yield "visenv_picture_bytes", {}, self._pictures.num_bytes
        yield "process_resident_memory_bytes", {}, resident_bytes()
        for batcher in set(self._batchers.values()):
            counts, labels = batcher.counts(), {"expert": batcher.expert.identity}
            yield "visenv_batches_total", labels, counts.batches
            yield "visenv_requests_shared_total", labels, counts.shared
            yield "visenv_requests_refused_total", labels, counts.refused
            yield "visenv_requests_overdue_total", labels, counts.overdue
            yield "visenv_requests_queued", labels, counts.queued


def _remembering(expert: Expert, store: ResultStore | None) -> ExpertSet:
    """Return a set of one expert, which remembers what it answers."""
    return ExpertSet(dict.fromkeys(sorted(expert.capabilities), expert), store=store)
