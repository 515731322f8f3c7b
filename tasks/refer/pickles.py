"""Reading pickles of plain data without running any code.

REFER distributes its expressions as pickles, and a pickle is a program: unpickled as usual it may call anything, and a few
bytes of it may ask for any amount of time or memory. Here it is looked through first, and only what has the form of such data
(:mod:`.pickle_form`) and a bounded size is unpickled at all.
"""

from __future__ import annotations

import gc
import io
import pickle
from pathlib import Path
from typing import Any

from visenv.errors import BadValueError, bad_value

from ..reading import collection_paused
from .pickle_form import MAX_DEPTH, check_form

__all__ = ["load_plain_pickle"]

LIMIT_BYTES = 128 * 2**20
"""RefCOCO's has some 25 MB. Unpickled, hostile text takes up to twenty times as much."""
MAX_FRAMES = 10_000
"""Of 64 kB each, in protocol 4."""
PREFETCH_BYTES = 2**20
PROTOCOL, FRAME = b"\x80", b"\x95"
CONTAINERS = frozenset({list, dict})


class _PlainUnpickler(pickle.Unpickler):
    """A second lock: even if a name got past the first look, nothing is found under it."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle of lists, dicts with text keys, text, numbers, flags and ``None``, of any protocol, of Python 2 or 3.

    Text that Python 2 wrote as bytes is read as UTF-8, or as Latin-1 where it is not.

    Raises:
        BadValueError: It holds anything else, is too large, or is damaged. Nothing of it has been executed.
    """
    if path.stat().st_size > LIMIT_BYTES:
        raise bad_value("file", path.name, expected=f"at most {LIMIT_BYTES} bytes")
    data = path.read_bytes()
    try:
        with collection_paused():
            body = _without_head(data)
            check_form(body)
            try:
                held = _unpickled(body, "utf-8")
            except UnicodeDecodeError:
                held = _unpickled(body, "latin1")
            _check_unfolded(held, len(body))
        return held
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _refused(path.name, str(error)) from error
    except (MemoryError, RecursionError, OverflowError) as error:
        raise _refused(path.name, type(error).__name__) from error


def _unpickled(body: bytes, encoding: str) -> Any:
    # Buffered, since the unpickler asks a file that cannot be peeked into for every opcode.
    file = io.BufferedReader(io.BytesIO(body), PREFETCH_BYTES)
    return _PlainUnpickler(file, encoding=encoding).load()


def _without_head(data: bytes) -> bytes:
    """Return a pickle without its protocol's number and without the frames of protocol 4, which it is read as well without."""
    at = 2 if data[:1] == PROTOCOL else 0
    if at and data[1] > pickle.HIGHEST_PROTOCOL:
        raise pickle.UnpicklingError(f"its protocol is {data[1]}")
    parts: list[bytes] = []
    while data[at : at + 1] == FRAME:
        size = int.from_bytes(data[at + 1 : at + 9], "little")
        parts.append(data[at + 9 : at + 9 + size])
        at += 9 + size
        if at > len(data):
            raise pickle.UnpicklingError("a frame of it is cut off")
        if len(parts) > MAX_FRAMES:
            raise pickle.UnpicklingError(f"it has more than {MAX_FRAMES} frames")
    return b"".join([*parts, data[at:]])


def _check_unfolded(held: Any, limit: int) -> None:
    """Check that what is in several places, written out in each, would still fit in a file of this size.

    A list that holds itself never would, and whoever walked over it would walk for ever.
    """
    level = [held] if type(held) in CONTAINERS else []
    number = 0
    for _ in range(2 * MAX_DEPTH):
        number += sum(map(len, level))
        if number > limit:
            raise pickle.UnpicklingError("it repeats itself without measure")
        level = [value for value in gc.get_referents(*level) if type(value) in CONTAINERS]
        if not level:
            return
    raise pickle.UnpicklingError(f"it nests more than {2 * MAX_DEPTH} lists and dicts")


def _refused(name: str, why: str) -> BadValueError:
    return bad_value(
        "file",
        name,
        expected=f"a pickle of lists, dicts, text and numbers only, as REFER distributes it ({why[:160]})",
        remedy="Nothing of it was executed. Take the file from its authors' archive.",
    )
