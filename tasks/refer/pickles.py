"""Reading pickles of plain data without running any code.

REFER distributes its expressions as pickles, and a pickle is a program: unpickled as usual it may call anything. Here the
program is looked through first. What makes objects, or asks for more memory than the file can fill, is refused before
anything is built.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

from visenv.errors import BadValueError, bad_value

from ..annotations import collection_paused

__all__ = ["load_plain_pickle"]

LIMIT_BYTES = 2**30
PLAIN = frozenset(
    """
    PROTO FRAME STOP MARK POP POP_MARK DUP MEMOIZE GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET
    """.split()
)
"""Opcodes that make nothing but containers, text, numbers, flags and ``None``."""

NAMES = {ord(op.code): op.name for op in pickletools.opcodes}
WIDTHS = {ord(op.code): 0 if op.arg is None else op.arg.n for op in pickletools.opcodes if op.name in PLAIN}
"""By opcode: how many bytes follow; below 0: up to the end of the line, or as many as the next 1, 4 or 8 bytes say."""
COUNTED = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
LONG_BINPUT, PUT, STOP = ord("r"), ord("p"), ord(".")


def _harmless() -> re.Pattern[bytes]:
    """Match a run of opcodes of fixed length, so that most of a file is walked over in C.

    Of those that make room in the memo only small ones are in it (below 2**22 entries, which take 64 MB at most).
    """
    by_width: dict[int, bytes] = {}
    for code, width in WIDTHS.items():
        if width >= 0 and code not in (LONG_BINPUT, STOP):
            by_width[width] = by_width.get(width, b"") + re.escape(bytes([code]))
    parts = [b"[" + codes + b"]" + b"." * width for width, codes in sorted(by_width.items())]
    return re.compile(b"(?:" + b"|".join([*parts, b"r..[\\x00-\\x3f]\\x00"]) + b")++", re.DOTALL)


RUN = _harmless()


class _PlainUnpickler(pickle.Unpickler):
    """A second lock: even if a name got past the first look, nothing is found under it."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle that holds containers, text, numbers and flags only, of any protocol, of Python 2 or 3.

    Text that Python 2 wrote as bytes is read as UTF-8, or as Latin-1 where it is not.

    Raises:
        BadValueError: It holds anything else, or is damaged. Nothing of it has been executed.
    """
    if path.stat().st_size > LIMIT_BYTES:
        raise bad_value("file", path.name, expected=f"at most {LIMIT_BYTES} bytes")
    data = path.read_bytes()
    try:
        _look_through(data)
        with collection_paused():
            try:
                return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
            except UnicodeDecodeError:
                return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except BadValueError:
        raise
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _refused(path.name, str(error)) from error
    except (MemoryError, RecursionError, OverflowError) as error:
        raise _refused(path.name, type(error).__name__) from error


def _look_through(data: bytes) -> None:
    """Walk over a pickle's opcodes without obeying them.

    Raises:
        UnpicklingError: One of them makes something else than plain data, or claims more bytes than there are.
    """
    at, size = 0, len(data)
    widths, run = WIDTHS, RUN.match
    while at < size:
        harmless = run(data, at)
        if harmless:
            at = harmless.end()
            if at >= size:
                break
        code = data[at]
        width = widths.get(code)
        if width is None:
            what = NAMES.get(code)
            raise pickle.UnpicklingError(f"at byte {at} it {f'would {what}' if what else 'is no pickle'}")
        if code == STOP:
            return
        if code == LONG_BINPUT and int.from_bytes(data[at + 1 : at + 5], "little") > size:
            raise pickle.UnpicklingError(f"at byte {at} it wants room for more than it holds")
        at += 1
        if width >= 0:
            at += width
        elif width == pickletools.UP_TO_NEWLINE:
            end = data.find(b"\n", at)
            if end < 0 or (code == PUT and not (end - at < 12 and 0 <= int(data[at:end]) <= size)):
                raise pickle.UnpicklingError(f"at byte {at} it wants room for more than it holds")
            at = end + 1
        else:
            field = COUNTED[width]
            at += field + int.from_bytes(data[at : at + field], "little")
    raise pickle.UnpicklingError("it ends too early")


def _refused(name: str, why: str) -> BadValueError:
    return bad_value(
        "file",
        name,
        expected=f"a pickle of lists, dicts, text and numbers only, as REFER distributes it ({why[:160]})",
        remedy="Nothing of it was executed. Take the file from its authors' archive.",
    )
