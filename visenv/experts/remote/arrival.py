"""A call as it arrives: its map first, then its pictures, whose bytes are put at once where they stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from ...images import Image, begin_hash
from .._protocol import Capability, Request
from .calls import MAX_CALL_HEADER, MAX_CALL_ITEMS, MAX_REQUESTS
from .forms import (
    Form,
    FormError,
    ImageForm,
    check_image,
    image_from_blob,
    make_room,
    pixel_bytes,
    read_form,
    request_from_form,
)
from .frames import START_BYTES, FrameError, TooLarge, header_length, read_header

__all__ = ["Arrival", "Call"]

HASH = re.compile("[0-9a-f]{64}")


class _CallForm(Form):
    capability: Capability
    requests: Annotated[list[Any], Field(min_length=1, max_length=MAX_REQUESTS)]
    images: Annotated[list[ImageForm], Field(max_length=MAX_REQUESTS)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A call as it arrived: forms not looked into, pictures checked against their hashes."""

    capability: Capability
    forms: list[Any]
    images: dict[str, Image]
    """Those that came with it."""

    def hashes(self) -> list[str]:
        """Return the hashes that the requests name, each once.

        Raises:
            FormError: A request names none.
        """
        found: dict[str, None] = {}
        for index, form in enumerate(self.forms):
            named = form.get("image") if isinstance(form, dict) else None
            if not isinstance(named, str) or not HASH.fullmatch(named):
                raise FormError(f"requests.{index}.image: the hash of an image was expected")
            found[named] = None
        return list(found)

    def requests(self, images: Mapping[str, Image]) -> list[Request]:
        """Read the requests.

        Raises:
            FormError: One is none.
        """
        return [request_from_form(self.capability, form, images, f"requests.{i}") for i, form in enumerate(self.forms)]


class _Room:
    """Where one picture's bytes go; those of pixels are hashed while others arrive."""

    def __init__(self, form: ImageForm, where: str) -> None:
        self.form = form
        self._where = where
        self._array = make_room(form, where)
        self._bytes = self._array.data.cast("B")
        self._digest = begin_hash(form.size_hw) if form.encoding == "raw" else None
        self._filled = self._hashed = 0

    @property
    def is_full(self) -> bool:
        return self._filled == self._bytes.nbytes

    @property
    def unhashed(self) -> int:
        """How many bytes wait to be hashed."""
        return 0 if self._digest is None else self._filled - self._hashed

    def fill(self, piece: memoryview) -> int:
        """Take what there is room for of a piece, and return how much that is."""
        number = min(self._bytes.nbytes - self._filled, piece.nbytes)
        self._bytes[self._filled : self._filled + number] = piece[:number]
        self._filled += number
        return number

    def hash(self) -> None:
        """Hash what is there by now."""
        if self._digest is not None:
            end = self._filled
            self._digest.update(self._bytes[self._hashed : end])
            self._hashed = end

    def image(self) -> Image:
        if self._digest is None:
            return image_from_blob(self.form, self._bytes, self._where)
        self.hash()
        return check_image(self.form, Image.with_hash(self._array, self._digest.hexdigest()), self._where)


class Arrival:
    """Takes the body of a call piece by piece: :meth:`take` all of it, :meth:`open` when that says so, :meth:`finish` at the end."""

    def __init__(self, *, limit_bytes: int) -> None:
        """Wait for the first piece.

        Args:
            limit_bytes: Most bytes of the pictures, as they come and once they are decoded.
        """
        self.num_bytes = 0
        """Of the pictures' pixels; known once the map is read."""
        self._limit_bytes = limit_bytes
        self._start = bytearray()
        self._end: int | None = None  # of the map
        self._form: _CallForm | None = None
        self._rooms: list[_Room] = []
        self._place = 0  # the room that is filled next

    @property
    def unhashed(self) -> int:
        """How many bytes of pixels wait for :meth:`hash`."""
        return sum(room.unhashed for room in self._rooms)

    def take(self, piece: bytes | memoryview) -> bool:
        """Take the next piece; return whether the map is whole now and waits to be read.

        Raises:
            WireError: This is no call, or more than one.
        """
        if self._form is not None:
            self._fill(memoryview(piece))
            return False
        self._start += piece
        if self._end is None and len(self._start) >= START_BYTES:
            self._end = START_BYTES + header_length(self._start, max_header_bytes=MAX_CALL_HEADER)
        return self._end is not None and len(self._start) >= self._end

    def open(self) -> None:
        """Read the map and set room aside for the pictures; before that nothing is known of them.

        Raises:
            WireError: It is none.
            TooLarge: The pictures are more than one call may bring.
        """
        start = memoryview(self._start)
        form = read_form(_CallForm, read_header(start[START_BYTES : self._end], max_items=MAX_CALL_ITEMS), "call")
        self.num_bytes = sum(pixel_bytes(one.size_hw) for one in form.images)
        if max(self.num_bytes, sum(one.num_bytes for one in form.images)) > self._limit_bytes:
            raise TooLarge(f"pictures of more than the {self._limit_bytes} bytes that one call may bring")
        self._rooms = [_Room(one, f"images.{i}") for i, one in enumerate(form.images)]
        self._form = form
        self._fill(start[self._end :])

    def hash(self) -> None:
        """Hash what has arrived, in another thread than the one that takes the next pieces."""
        for room in self._rooms:
            room.hash()

    def finish(self) -> Call:
        """Return the call.

        Raises:
            WireError: It was cut off, or a picture has not the hash it is sent under.
        """
        if self._form is None:
            raise FrameError("the body is cut off")
        if not all(room.is_full for room in self._rooms):
            raise FormError("the bytes of a picture are cut off")
        images = {room.form.hash: room.image() for room in self._rooms}
        return Call(capability=self._form.capability, forms=self._form.requests, images=images)

    def _fill(self, piece: memoryview) -> None:
        while piece.nbytes:
            if self._place == len(self._rooms):
                raise FormError(f"{piece.nbytes} bytes behind the last picture")
            room = self._rooms[self._place]
            piece = piece[room.fill(piece) :]
            self._place += room.is_full
