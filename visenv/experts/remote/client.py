"""Experts that answer in another process or on another machine: asked as those here are, and known by the same identity."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ... import strict_json
from ...errors import ExpertError, TemporaryExpertError, bad_value, short
from .._protocol import Capability, Expert, Request, Result
from .calls import Catalogue, read_answer, read_unknown, write_call
from .forms import enlarged_bytes, read_form
from .frames import CONTENT_TYPE, VERSION, WireError, import_msgpack
from .transport import Reply, Transport

__all__ = ["RemoteExpert", "connect"]

MARGIN_BYTES = 2**20
"""Of a call or an answer, for what is not pixels."""
TOO_MUCH = "Start the server with a larger --max-body-mib."
HEALTH_S = 10.0
"""Longest wait for what a server says of its health."""


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
        self._limits = catalogue.limits
        self._batch = min(batch, self._limits.requests)
        self._parallel = parallel
        self._png = png

    @property
    def identity(self) -> str:
        """That of who answers over there."""
        return self._expected.identity

    def run(self, requests: Sequence[Request]) -> list[Result | ExpertError]:
        """Answer a batch; what the server cannot answer gives its error in place.

        Raises:
            TemporaryExpertError: The server was away or busy for longer than the patience.
        """
        chunks = list(self._chunks(requests))
        calls = [[requests[i] for i in chunk] for chunk in chunks]
        if len(calls) == 1:
            answers = [self._answer(calls[0])]
        else:
            pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="remote")
            try:
                answers = list(pool.map(self._answer, calls))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for a server that is away
        outcomes = dict(zip((i for chunk in chunks for i in chunk), (o for a in answers for o in a), strict=True))
        return [outcomes[index] for index in range(len(requests))]

    def health(self) -> str:
        """Ask the server, once."""
        reply = self._transport.look("/health", timeout_s=HEALTH_S)
        if reply.status == 503:
            raise TemporaryExpertError(f"The expert server {self._transport.url} cannot answer now. Its log says why.")
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
        most, most_back = self._limits.body_bytes - MARGIN_BYTES, self._limits.answer_bytes - MARGIN_BYTES
        chunk: list[int] = []
        call_bytes = answer_bytes = 0
        for places in by_picture.values():
            size = requests[places[0]].image.pixels.nbytes
            is_new = True
            for place in places:
                answer_size = enlarged_bytes(requests[place])
                is_full = call_bytes + is_new * size > most or answer_bytes + answer_size > most_back
                if chunk and (is_full or len(chunk) >= self._batch):
                    yield chunk
                    chunk, call_bytes, answer_bytes, is_new = [], 0, 0, True
                chunk.append(place)
                call_bytes += is_new * size
                answer_bytes += answer_size
                is_new = False
        if chunk:
            yield chunk

    def _answer(self, requests: Sequence[Request]) -> list[Result | ExpertError]:
        """Answer one call; one that is refused is halved, so that what it is refused for fails alone."""
        try:
            return self._ask(requests)
        except TemporaryExpertError:
            raise
        except ExpertError as error:
            if len(requests) == 1 or isinstance(error, _HopelessError):
                return [error] * len(requests)
        half = len(requests) // 2
        return [*self._answer(requests[:half]), *self._answer(requests[half:])]

    def _ask(self, requests: Sequence[Request]) -> list[Result | ExpertError]:
        """Send one call, with the pictures that the server turns out to lack.

        Raises:
            TemporaryExpertError: The server was away or busy for longer than the patience.
            ExpertError: The call was refused, or could not be sent.
        """
        missing: set[str] = set()
        images = {request.image.hash: request.image for request in requests}
        size, limit = sum(image.pixels.nbytes for image in images.values()), self._limits.body_bytes
        if size > limit:  # sent, it would be cut off with nobody reading why
            raise ExpertError(f"Pictures of {size} bytes for the expert server {self._transport.url}, which takes {limit} in one call. {TOO_MUCH}")  # fmt: skip
        try:
            while True:
                reply = self._transport.call("POST", "/v1/run", write_call(requests, send=missing, as_png=self._png))
                if reply.status != 409 or reply.content_type != CONTENT_TYPE:
                    break
                lacking = set(read_unknown(reply.body)) & images.keys()
                if lacking <= missing:
                    raise WireError("pictures are asked for that were sent")
                missing |= lacking
            if reply.status != 200 or reply.content_type != CONTENT_TYPE:
                raise _refused(self._transport.url, reply)
            identity, outcomes = read_answer(reply.body, requests)
        except WireError as error:
            raise ExpertError(f"The expert server {self._transport.url} and this client do not understand each other: {error}.") from None  # fmt: skip
        if identity != self._expected:
            wrong = ExpertError(
                f"The expert server {self._transport.url} answers as {identity.identity} now. Expected {self._expected.identity}, as "
                "at the beginning: results of two experts must not mix. Start the same expert again, or another run."
            )
            return [wrong] * len(requests)
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
    _check(whole=False, start_s=(start_s, 0), patience_s=(patience_s, 0), timeout_s=(timeout_s, 0.001))
    _check(whole=True, batch=(batch, 1), parallel=(parallel, 1))
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


def _check(*, whole: bool, **options: tuple[Any, float]) -> None:
    """Refuse options that are no numbers or out of range."""
    for name, (value, least) in options.items():
        is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not is_number or not least <= value < 1e6:
            raise bad_value(name, value, expected=f"a {'whole ' * whole}number of at least {least:g}")


class _HopelessError(ExpertError):
    """A refusal that has nothing to do with what was asked for, so that parts of the call would fare no better."""


def _refused(url: str, reply: Reply) -> ExpertError:
    remedy = {
        401: "Name the variable that holds its token: `remote:url=…,token_env=NAME`.",
        413: TOO_MUCH,
    }.get(reply.status, "Is it one that `visenv experts serve` runs, of the same version?")
    kind = ExpertError if reply.status in (413, 422) else _HopelessError
    return kind(f"The expert server {url} refused with status {reply.status}: {reply.words}. {remedy}")
