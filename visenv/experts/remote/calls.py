"""What goes to and fro: a call (requests of one capability, and the pictures that the server lacks) and its answer.

A call names its pictures by hash. A server that does not have one says so, and the client sends the call again with those
pictures behind it; so each crosses the wire once, whoever sent it first, and a call that carries its pictures is always answered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from ...errors import ExpertError
from ...redaction import redact
from .._protocol import Capability, Expert, Request, Result
from .forms import (
    Blobs,
    Form,
    FormError,
    Hash,
    image_to_blob,
    printable,
    read_form,
    request_to_form,
    result_from_form,
    result_to_form,
)
from .frames import VERSION, pack, unpack

__all__ = [
    "MAX_REQUESTS", "Catalogue", "Identity", "Limits", "Pieces", "catalogue_of", "identity_of", "read_answer", "read_unknown", "write_answer", "write_call",
    "write_unknown",
]  # fmt: skip

MAX_REQUESTS = 256
"""Of one call."""
MAX_CALL_HEADER = 2**24
MAX_CALL_ITEMS = 2**10
"""Of one list: requests, pictures, clicks."""
MAX_ANSWER_HEADER = 2**28
"""Bytes of the map of an answer; masks of a dense scene are in it."""
MAX_ANSWER_ITEMS = 2**16
"""Of one list: objects, lines of text."""
MAX_WHY = 2000
"""Characters of what an expert says about a failure."""

Pieces = list[bytes | memoryview]
"""A body, to be sent one after the other: pictures are not copied together first."""
Word = Annotated[str, Field(min_length=1, max_length=400)]


class Identity(Form):
    """Who answers; the same in a record as in one process."""

    name: Word
    version: Word
    weights_hash: Annotated[str, Field(max_length=400)]
    identity: Word
    """As recorded; of a replay that of the expert it stands for."""


class Limits(Form):
    """What a server takes."""

    body_bytes: Annotated[int, Field(ge=1)]
    """Longest call, and most bytes of the pixels of all pictures that it names."""
    answer_bytes: Annotated[int, Field(ge=1)]
    """Longest answer."""
    requests: Annotated[int, Field(ge=1)]


class Catalogue(Form):
    """What a server has."""

    wire: int
    experts: Annotated[dict[Capability, Identity], Field(min_length=1)]
    limits: Limits


class _Outcome(Form):
    result: Any = None
    error: Annotated[str, Field(max_length=MAX_WHY)] | None = None


class _AnswerForm(Form):
    identity: Identity
    outcomes: Annotated[list[_Outcome], Field(max_length=MAX_REQUESTS)]


class _UnknownForm(Form):
    unknown: Annotated[list[Hash], Field(min_length=1, max_length=MAX_REQUESTS)]


def identity_of(expert: Expert) -> Identity:
    """Return who an expert is."""
    return Identity(name=str(expert.name), version=str(expert.version), weights_hash=str(expert.weights_hash), identity=expert.identity)  # fmt: skip


def write_call(requests: Sequence[Request], *, send: Collection[str], as_png: bool = False) -> Pieces:
    """Write a call.

    Args:
        requests: Of one capability, at least one.
        send: Hashes of the pictures that go along.
        as_png: Whether they are packed.
    """
    images = {r.image.hash: r.image for r in requests}
    packed = [image_to_blob(images[name], as_png=as_png) for name in images if name in send]
    header = {
        "capability": requests[0].capability, "requests": [request_to_form(r) for r in requests],
        "images": [form for form, _ in packed],
    }  # fmt: skip
    return [pack(header), *(blob for _, blob in packed)]


def write_answer(identity: Identity, outcomes: Sequence[Result | ExpertError]) -> Pieces:
    """Write an answer: for each request its result, or why there is none."""
    blobs: list[memoryview] = []
    forms: list[dict[str, Any]] = []
    for outcome in outcomes:
        try:
            if isinstance(outcome, ExpertError):
                raise outcome
            forms.append({"result": result_to_form(outcome, blobs)})
        except (ExpertError, FormError) as error:  # FormError: a result that the wire has no form for
            forms.append({"error": printable(redact(str(error)), MAX_WHY)})
    return [pack({"identity": identity.model_dump(), "outcomes": forms}), *blobs]


def read_answer(
    body: bytes | bytearray | memoryview, requests: Sequence[Request]
) -> tuple[Identity, list[Result | ExpertError]]:
    """Read the answer to a call.

    Raises:
        WireError: It is none, or does not fit the requests.
    """
    header, rest = unpack(body, max_header_bytes=MAX_ANSWER_HEADER, max_items=MAX_ANSWER_ITEMS)
    form = read_form(_AnswerForm, header, "answer")
    if len(form.outcomes) != len(requests):
        raise FormError(f"answer: {len(form.outcomes)} outcomes for {len(requests)} requests")
    blobs = Blobs(rest)
    outcomes: list[Result | ExpertError] = []
    for index, (outcome, request) in enumerate(zip(form.outcomes, requests, strict=True)):
        if (outcome.error is None) == (outcome.result is None):
            raise FormError(f"answer.{index}: a result or an error was expected")
        if outcome.error is not None:
            outcomes.append(ExpertError(outcome.error))
        else:
            outcomes.append(result_from_form(request.capability, outcome.result, blobs, f"answer.{index}"))
    blobs.check_end()
    return form.identity, outcomes


def write_unknown(hashes: Sequence[str]) -> Pieces:
    """Write which pictures a server lacks."""
    return [pack({"unknown": list(hashes)})]


def read_unknown(body: bytes | bytearray | memoryview) -> list[str]:
    """Read which pictures a server lacks.

    Raises:
        WireError: It says something else.
    """
    header, _ = unpack(body, max_header_bytes=MAX_CALL_HEADER, max_items=MAX_CALL_ITEMS)
    return read_form(_UnknownForm, header, "answer").unknown


def catalogue_of(experts: Mapping[Capability, Expert], *, body_bytes: int, answer_bytes: int) -> Catalogue:
    """Return what a server says of itself."""
    return Catalogue(
        wire=VERSION, experts={c: identity_of(e) for c, e in sorted(experts.items())},
        limits=Limits(body_bytes=body_bytes, answer_bytes=answer_bytes, requests=MAX_REQUESTS),
    )  # fmt: skip
