"""What a server of experts does with a call, whatever carries it: find its pictures, ask through the batchers, write the answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...errors import ExpertError, TemporaryExpertError
from ...images import Image
from .._protocol import Capability, Expert, Request, Result
from .._set import ExpertSet
from ..batcher import MicroBatcher
from ..store import ResultStore
from .arrival import Arrival, Call
from .budget import Budget
from .calls import Catalogue, Pieces, catalogue_of, identity_of, write_answer, write_unknown
from .forms import FormError, enlarged_bytes
from .frames import TooLarge
from .metrics import Metrics, resident_bytes
from .pictures import Pictures

__all__ = ["BODY_BYTES", "PICTURE_BYTES", "Service"]

BODY_BYTES = 2**28
"""Longest body that is read; a picture of 8192 x 8192 pixels fits."""
PICTURE_BYTES = 2**29
"""What pictures may hold in memory."""
ANSWER_BYTES = 2**30 - 2**20
"""Longest answer, however long a body may be; clients read no more."""
CALLS_HELD = 8
"""How many times the longest body the pixels may be that all calls in flight name and ask for."""
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
        self.answer_bytes = min(body_bytes, ANSWER_BYTES)
        self.metrics = Metrics()
        self._budget = Budget(limit_bytes=CALLS_HELD * body_bytes)
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
        return catalogue_of(self.experts.experts, body_bytes=self.body_bytes, answer_bytes=self.answer_bytes)

    def lacking(self, call: Call) -> Pieces | None:
        """Return what there is to say to a call when a picture of it neither came along nor is here; takes no time.

        Raises:
            FormError: A request names no picture, or nobody here can do what is asked for.
        """
        _, unknown = self._find(call)
        return write_unknown(unknown) if unknown else None

    def answer(self, arrival: Arrival, held: contextlib.ExitStack) -> tuple[int, Pieces]:
        """Answer a call.

        Args:
            arrival: The call, all of it.
            held: Closed once the answer is sent; what pixels the call holds is given back then.

        Returns:
            The HTTP status and the body: 200 and the answer, or 409 and the pictures that must come along.

        Raises:
            WireError: This is no call.
            TooLarge: It asks for more than one call may.
            TemporaryExpertError: Nothing can be answered just now.
        """
        held.enter_context(self._budget.hold(arrival.num_bytes))
        call = arrival.finish()
        known, unknown = self._find(call)
        self._pictures.keep(call.images.values())
        self.metrics.add("visenv_pictures_received_total", len(call.images))
        if unknown:
            return 409, write_unknown(unknown)
        images = known | call.images
        requests = call.requests(images)
        self._check_size(images.values(), requests)
        asked = sum(map(enlarged_bytes, requests)) + sum(image.pixels.nbytes for image in known.values())
        held.enter_context(self._budget.hold(asked))
        outcomes = self._batchers[call.capability].submit(requests, timeout_s=self._wait_s)
        self._count(call.capability, outcomes)
        late = next((o for o in outcomes if isinstance(o, TemporaryExpertError)), None)
        if late is not None:
            raise late
        pieces = write_answer(identity_of(self.experts.experts[call.capability]), outcomes)
        if sum(map(len, pieces)) > self.answer_bytes:
            raise TooLarge(f"an answer longer than {self.answer_bytes} bytes; ask for less at once")
        return 200, pieces

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

    def _find(self, call: Call) -> tuple[dict[str, Image], list[str]]:
        """Return the pictures of a call that did not come along but are here, and the hashes of those that are not."""
        if call.capability not in self._batchers:
            raise FormError(f"call.capability: no expert here can {call.capability}")
        named = [name for name in call.hashes() if name not in call.images]
        known = self._pictures.find(named)
        return known, [name for name in named if name not in known]

    def _check_size(self, images: Iterable[Image], requests: Sequence[Request]) -> None:
        """Refuse what would hold too much, before it does; pictures that are here already count like those that are sent."""
        if sum(image.pixels.nbytes for image in images) > self.body_bytes:
            raise TooLarge(f"pictures of more than the {self.body_bytes} bytes that one call may name")
        if sum(map(enlarged_bytes, requests)) > self.answer_bytes:
            raise TooLarge(f"enlarged pictures of more than the {self.answer_bytes} bytes of the longest answer")

    def _count(self, capability: str, outcomes: Sequence[Result | ExpertError]) -> None:
        failed = sum(isinstance(outcome, ExpertError) for outcome in outcomes)
        for outcome, number in (("failed", failed), ("answered", len(outcomes) - failed)):
            self.metrics.add("visenv_requests_total", number, capability=capability, outcome=outcome)

    def _gauges(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        yield "visenv_pictures", {}, len(self._pictures)
        yield "visenv_picture_bytes", {}, self._pictures.num_bytes
        yield "visenv_call_bytes", {}, self._budget.num_bytes
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
