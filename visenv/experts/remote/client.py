"""Experts that answer in another process or on another machine: asked as those here are, and known by the same identity."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ... import strict_json
from ...errors import ExpertError, bad_value, short
from .._protocol import Capability, Expert, Request, Result
from .calls import Catalogue, Identity, read_answer, read_unknown, write_call
from .forms import read_form
from .frames import CONTENT_TYPE, VERSION, WireError, import_msgpack
from .transport import Reply, Transport

__all__ = ["RemoteExpert", "connect"]

MARGIN_BYTES = 2**20
"""Of a body, for what is not pixels."""


class RemoteExpert(Expert):
    """One capability of a server.

    Batches go out in calls of at most ``batch`` requests, those over one picture together, ``parallel`` calls at a time.
    """

    mixed_sizes = True
    batch_pixels = 2**62  # the server cuts batches to fit its models

    def __init__(
        self, transport: Transport, capability: Capability, catalogue: Catalogue, *, batch: int, parallel: int, png: bool
    ) -> None:  # fmt: skip
        """Take the identity of who answers over there."""
        identity = catalogue.experts[capability]
        self.name, self.version, self.weights_hash = identity.name, identity.version, identity.weights_hash
        self.capabilities = frozenset({capability})
        self._expected = identity
        self._transport = transport
        self._batch = min(batch, catalogue.limits.requests)
        self._call_bytes = max(1, catalogue.limits.body_bytes - MARGIN_BYTES)
        self._parallel = parallel
        self._png = png

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Answer a batch.

        Raises:
            TemporaryExpertError: The server was away or busy for longer than the patience.
            ExpertError: A request cannot be answered, or somebody else answers than at the beginning.
        """
        chunks = list(self._chunks(requests))
        calls = [[requests[i] for i in chunk] for chunk in chunks]
        if len(calls) == 1:
            answers = [self._ask(calls[0])]
        else:
            pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="remote")
            try:
                answers = list(pool.map(self._ask, calls))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for a server that is away
        outcomes = dict(zip((i for chunk in chunks for i in chunk), (o for a in answers for o in a), strict=True))
        results: list[Result] = []
        for index in range(len(requests)):
            outcome = outcomes[index]
            if isinstance(outcome, ExpertError):
                raise outcome
            results.append(outcome)
        return results

    def health(self) -> str:
        """Ask the server."""
        reply = self._transport.call("GET", "/health")
        if reply.status != 200:
            raise _refused(self._transport.url, reply)
        return f"{self._transport.url} answers"

    def close(self) -> None:
        """Close the connections; whoever waits gets an error."""
        self._transport.close()

    def _chunks(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Give the calls as places in ``requests``."""
        by_picture: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            by_picture.setdefault(request.image.hash, []).append(place)
        chunk: list[int] = []
        num_bytes = 0
        for places in by_picture.values():
            size = requests[places[0]].image.pixels.nbytes
            while places:
                if chunk and (len(chunk) >= self._batch or num_bytes + size > self._call_bytes):
                    yield chunk
                    chunk, num_bytes = [], 0
                room = self._batch - len(chunk)
                chunk += places[:room]
                places = places[room:]
                num_bytes += size
        if chunk:
            yield chunk

    def _ask(self, requests: Sequence[Request]) -> list[Result | ExpertError]:
        """Send one call, with the pictures that the server turns out to lack."""
        missing: set[str] = set()
        known = {request.image.hash for request in requests}
        try:
            while True:
                reply = self._transport.call("POST", "/v1/run", write_call(requests, send=missing, as_png=self._png))
                if reply.status != 409 or reply.content_type != CONTENT_TYPE:
                    break
                lacking = set(read_unknown(reply.body)) & known
                if lacking <= missing:
                    raise WireError("pictures are asked for that were sent")
                missing |= lacking
            if reply.status != 200 or reply.content_type != CONTENT_TYPE:
                raise _refused(self._transport.url, reply)
            identity, outcomes = read_answer(reply.body, requests)
        except WireError as error:
            raise ExpertError(f"The expert server {self._transport.url} and this client do not understand each other: {error}.") from None  # fmt: skip
        if identity != self._expected:
            raise ExpertError(
                f"The expert server {self._transport.url} answers as {_words(identity)} now. Expected {_words(self._expected)}, as "
                "at the beginning: results of two experts must not mix. Start the same expert again, or another run."
            )
        return outcomes


def connect(
    url: str,
    *,
    token_env: str,
    start_s: float,
    patience_s: float,
    timeout_s: float,
    batch: int,
    parallel: int,
    png: bool,
) -> list[Expert]:
    """Ask a server what it has and return an expert for each capability.

    Raises:
        BadValueError: An option is out of range.
        TemporaryExpertError: Nobody answers within ``start_s``.
        ExpertError: Who answers is no such server.
    """
    _check(
        start_s=(start_s, 0),
        patience_s=(patience_s, 0),
        timeout_s=(timeout_s, 0.001),
        batch=(batch, 1),
        parallel=(parallel, 1),
    )
    import_msgpack()
    make = functools.partial(Transport, url, token_env=token_env, timeout_s=float(timeout_s))
    with contextlib.closing(make(patience_s=float(start_s))) as transport:
        reply = transport.call("GET", "/v1/experts")
        if reply.status != 200:
            raise _refused(transport.url, reply)
    catalogue = _read_catalogue(transport.url, reply)
    return [
        RemoteExpert(make(patience_s=float(patience_s)), capability, catalogue, batch=batch, parallel=parallel, png=png)
        for capability in sorted(catalogue.experts)
    ]


def _read_catalogue(url: str, reply: Reply) -> Catalogue:
    try:
        said = strict_json.loads(reply.body.decode("utf-8"))
        wire = said.get("wire", VERSION) if isinstance(said, dict) else VERSION
        if wire != VERSION:
            raise ExpertError(
                f"The expert server {url} speaks version {short(wire)}. Expected {VERSION}. Install the same visenv on both sides."
            )
        return read_form(Catalogue, said, "experts")
    except (strict_json.StrictJSONError, UnicodeDecodeError, WireError) as error:
        raise ExpertError(
            f"{url} is no expert server: {error}. Expected one that `visenv experts serve` runs."
        ) from None


def _check(**options: tuple[Any, float]) -> None:
    for name, (value, least) in options.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1e6:
            raise bad_value(name, value, expected=f"a number of at least {least:g}")


def _refused(url: str, reply: Reply) -> ExpertError:
    remedy = {
        401: "Name the variable that holds its token: `remote:url=…,token_env=NAME`.",
        413: "Start the server with a larger --max-body-mib.",
    }.get(reply.status, "Is it one that `visenv experts serve` runs, of the same version?")
    return ExpertError(f"The expert server {url} refused with status {reply.status}: {reply.words}. {remedy}")


def _words(identity: Identity) -> str:
    weights = f"+{identity.weights_hash[:12]}" if identity.weights_hash else ""
    return f"{identity.name}@{identity.version}{weights}"
