"""Bodies of calls between a client and a server of experts: a msgpack map and, behind it, raw bytes.

A body is four bytes that name the form and its version, the length of the map as a big-endian ``uint32``, the map, and the blobs
that the map announces, one after the other. Whoever reads it bounds the map by itself: small values cost many times their
own bytes once they are objects, blobs only theirs.
"""

from __future__ import annotations

import struct
from typing import Any, NoReturn

from ...errors import missing_extra, short

__all__ = [
    "CONTENT_TYPE", "START_BYTES", "VERSION", "FrameError", "TooLarge", "WireError", "header_length", "import_msgpack", "pack", "read_header", "unpack",
]  # fmt: skip

VERSION = 1
CONTENT_TYPE = "application/vnd.visenv.experts+msgpack"
MAGIC = b"VEX" + bytes([VERSION])
START_BYTES = 8
"""What comes before the map: the form, its version and the length of the map."""
MAX_KEYS = 16
MAX_CONTAINERS = 2**18
"""Most lists and maps of one body, all levels together."""


class WireError(ValueError):
    """What arrived is not of the form; the message says why, in one line."""


class FrameError(WireError):
    """The body is no frame, or its map no msgpack."""


class TooLarge(WireError):  # noqa: N818 - an answer, not a fault
    """A call of the right form that asks for more than one call may."""


def pack(header: dict[str, Any]) -> bytes:
    """Write the beginning of a body, behind which its blobs come.

    Raises:
        WireError: The map holds what msgpack has no plain form for.
    """
    msgpack = import_msgpack()
    try:
        packed: bytes = msgpack.packb(header, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"a value that cannot be sent: {error}") from error
    return b"".join([MAGIC, struct.pack(">I", len(packed)), packed])


def header_length(start: bytes | bytearray | memoryview, *, max_header_bytes: int) -> int:
    """Return how long the map of a body is.

    Args:
        start: The first :data:`START_BYTES`, or more.
        max_header_bytes: Longest map.

    Raises:
        FrameError: The body does not begin as one does, or its map is longer.
    """
    begins = bytes(start[:START_BYTES])
    if begins[:3] != MAGIC[:3]:
        raise FrameError(f"the body does not begin with {MAGIC[:3]!r}")
    if begins[3:4] != MAGIC[3:]:
        raise FrameError(f"the body is of version {short(begins[3:4])}; this is version {VERSION}")
    if len(begins) < START_BYTES:
        raise FrameError("the body is cut off")
    length: int = struct.unpack(">I", begins[4:])[0]
    if length > max_header_bytes:
        raise FrameError(f"a header of {length} bytes; at most {max_header_bytes} are read")
    return length


def unpack(
    body: bytes | bytearray | memoryview, *, max_header_bytes: int, max_items: int
) -> tuple[dict[str, Any], memoryview]:
    """Read a body that is there as a whole.

    Args:
        body: All of it.
        max_header_bytes: Longest map.
        max_items: Longest list.

    Returns:
        The map, and a view of the bytes behind it.

    Raises:
        FrameError: It is not one, whatever is wrong with it.
    """
    view = memoryview(body)
    end = START_BYTES + header_length(view, max_header_bytes=max_header_bytes)
    if end > len(view):
        raise FrameError("the body is cut off")
    return read_header(view[START_BYTES:end], max_items=max_items), view[end:]


def read_header(packed: memoryview, *, max_items: int) -> dict[str, Any]:
    """Read the map of a body as plain data: no extension types, no repeated keys, everything bounded.

    Args:
        packed: The map as it came.
        max_items: Longest list; what msgpack sets aside for one follows from a number that the sender wrote.

    Raises:
        FrameError: It is none.
    """
    header = _loads(packed, max_items)
    if not isinstance(header, dict):
        raise FrameError(f"the header is a {type(header).__name__}; a map was expected")
    return header


def import_msgpack() -> Any:
    """Return the package.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import msgpack
    except ImportError as error:
        raise missing_extra("Expert 'remote'", "serve") from error
    return msgpack


def _loads(packed: memoryview, max_items: int) -> Any:
    msgpack = import_msgpack()
    left = MAX_CONTAINERS

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise FrameError(f"more than {MAX_CONTAINERS} lists and maps")

    def make_map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        count()
        made = dict(pairs)
        if len(made) != len(pairs):
            raise FrameError("a key is given twice")
        if not all(isinstance(key, str) for key in made):
            raise FrameError("a key that is no text")
        return made

    def make_list(items: list[Any]) -> list[Any]:
        count()
        return items

    def refuse(code: int, data: bytes) -> NoReturn:
        raise FrameError(f"an extension type, {code}; plain values only")

    try:
        return msgpack.unpackb(
            packed, raw=False, strict_map_key=True, use_list=True, timestamp=0, ext_hook=refuse, list_hook=make_list,
            object_pairs_hook=make_map, max_array_len=max_items, max_map_len=MAX_KEYS, max_ext_len=0,
        )  # fmt: skip
    except FrameError:
        raise
    except (
        Exception
    ) as error:  # msgpack's own classes, UnicodeDecodeError, ValueError, RecursionError: all mean "not of the form"
        raise FrameError(f"the header is no msgpack ({type(error).__name__}: {short(str(error), 120)})") from None
