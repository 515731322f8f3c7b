"""The form that a pickle of references must have: lists, dicts with text keys, text, numbers, flags and ``None``, nothing else.

A pickle is a program for a machine with a stack. Here it is read as a text with a grammar instead, the one in which the
picklers of Python 2 and 3 write such data, and nothing of it is obeyed. What keeps to the grammar makes no objects of classes,
calls nothing, leaves nothing behind on the stack, and has no number as a key: numbers can be chosen so that a dict of them
takes hours to fill.
"""

from __future__ import annotations

import pickletools
import re
from functools import cache
from pickle import UnpicklingError

__all__ = ["check_form"]

MAX_DEPTH = 8
"""Lists and dicts inside one another: references, a reference, its sentences, a sentence, its tokens are five."""
OUTERMOST = MAX_DEPTH - 1
MAX_CONTAINERS = 8_000_000
"""An empty dict is one byte in the file and 64 in memory; gRefCOCO has about 1.5 million lists and dicts."""
MAX_SHORT = 127
"""Texts of up to so many bytes are stepped over by a regular expression; a key must be one."""

NAMES = {ord(op.code): op.name for op in pickletools.opcodes}
APPEND, APPENDS, SETITEM, SETITEMS, STOP, MARK, EMPTY_DICT = b"aesu.(}"
OPENINGS = b"(]}"
LENGTH_BYTES = {ord("U"): 1, 0x8C: 1, ord("T"): 4, ord("X"): 4}
"""By opcode of a text that says its length: how many bytes say it."""


def check_form(data: bytes) -> None:
    """Check a pickle without its head (protocol and frames).

    Raises:
        UnpicklingError: It is not of the form, or makes more lists and dicts than ``MAX_CONTAINERS``.
        IndexError: It ends too early.
    """
    if data.count(b"(") + data.count(b"]") + data.count(b"}") > MAX_CONTAINERS:
        raise UnpicklingError(f"it makes more than {MAX_CONTAINERS} lists and dicts")
    form = _Form(data)
    form.expect(STOP, form.value(0, MAX_DEPTH))


class _Form:
    """A walk over a pickle: each method takes the place where something begins and returns where it ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._ahead: dict[int, int] = {}
        """Where values end that were stepped over and given back, so that none is looked at more than twice."""

    def value(self, at: int, depth: int) -> int:
        """Step over one value, with at most ``depth`` lists and dicts inside one another."""
        if at in self._ahead:
            return self._ahead.pop(at)
        found = _pattern("value").match(self._data, at)
        if found:
            return found.end()
        code = self._data[at]
        if code in LENGTH_BYTES:
            return self._long_text(at)
        if code not in OPENINGS or (code == MARK and self._data[at + 1] not in b"ld"):
            raise self._unexpected(at)
        if not depth:
            raise UnpicklingError(f"at byte {at} it nests more than {MAX_DEPTH} lists and dicts")
        is_dict = code == EMPTY_DICT or self._data[at : at + 2] == b"(d"
        return self._dict(at, depth - 1) if is_dict else self._list(at, depth - 1)

    def expect(self, code: int, at: int) -> int:
        """Step over an opcode."""
        if self._data[at] != code:
            raise self._unexpected(at)
        return at + 1

    def _long_text(self, at: int) -> int:
        field = LENGTH_BYTES[self._data[at]]
        end = at + 1 + field + int.from_bytes(self._data[at + 1 : at + 1 + field], "little")
        return self._run("put", end)

    def _list(self, at: int, depth: int) -> int:
        by_line = self._data[at] == MARK  # as protocol 0 does it, which knows no neighbours
        at = self._run("opening", at)
        one_more = True  # list or dict that is appended alone; where none is expected, it is a neighbour of this list
        while True:
            if self._is_mark(at):
                at = self._run("items", at + 1)
                while self._data[at] != APPENDS:
                    at = self._run("items", self.value(at, depth))
                at += 1
                one_more = depth == OUTERMOST  # the last of 1,001
                continue
            at = self._run("single_items", at)
            if not one_more or not (self._data[at] in OPENINGS or self._is_long_text(at)):
                return at
            at = self.expect(APPEND, self.value(at, depth))
            one_more = by_line

    def _dict(self, at: int, depth: int) -> int:
        may_be_outer = (
            self._data[at] != MARK and depth != OUTERMOST
        )  # a key that follows may be that of the dict around
        at = self._run("opening", at)
        while True:
            if self._is_mark(at):
                at = self._run("pairs", at + 1)
                while self._data[at] != SETITEMS:
                    key = _pattern("key").match(self._data, at)
                    if not key:
                        raise self._unexpected(at)
                    at = self._run("pairs", self.value(key.end(), depth))
                at += 1
                continue
            at = self._run("single_pairs", at)
            key = _pattern("key").match(self._data, at)
            if not key or (may_be_outer and not self._is_set_alone(key.end(), depth)):
                return at
            at = self.expect(SETITEM, self.value(key.end(), depth))

    def _is_set_alone(self, at: int, depth: int) -> bool:
        """Whether a value, which is no dict, belongs to the dict just begun: the opcode behind it tells."""
        if self._data[at] not in b"]" and self._data[at] not in LENGTH_BYTES:
            return False
        end = self._ahead[at] = self.value(at, depth)
        return self._data[end] == SETITEM

    def _run(self, name: str, at: int) -> int:
        """Step over what a pattern matches, which may be nothing."""
        found = _pattern(name).match(self._data, at)
        if not found:
            raise IndexError("it ends too early")
        return found.end()

    def _is_mark(self, at: int) -> bool:
        return self._data[at] == MARK and self._data[at + 1] not in b"ld"

    def _is_long_text(self, at: int) -> bool:
        return self._data[at] in LENGTH_BYTES and not _pattern("key").match(self._data, at)

    def _unexpected(self, at: int) -> UnpicklingError:
        name = NAMES.get(self._data[at])
        return UnpicklingError(f"at byte {at} it {f'would {name}' if name else 'is no pickle'}")


@cache
def _pattern(name: str) -> re.Pattern[bytes]:
    return re.compile(_sources()[name], re.DOTALL)


@cache
def _sources() -> dict[str, bytes]:
    """Return the patterns by name; each matches a run of what needs no look at what is around it.

    A value is a text, a number, something remembered, or a list of these; ``put`` remembers what was just made. ``items`` of a
    list are appended together, ``single_items`` one by one, and so with the ``pairs`` of a dict.
    """
    put = rb"(?:p[0-9]{1,7}\n|q.|r..[\x00-\x97]\x00|\x94)?+"  # below ten million: the machine makes room for all before
    lengths = [
        b"|".join(b"\\x%02x%b.{%d}" % (n, zeros, n) for n in range(MAX_SHORT + 1)) for zeros in (b"", rb"\x00{3}")
    ]
    line_get = rb"g[0-9]{1,7}\n"
    quoted = rb"S[^\\\n]*+(?:\\(?:[\\'nrt]|x[0-9a-f]{2})[^\\\n]*+)*+\n"  # with the escapes that Python 2 writes
    line_put = rb"(?:p[0-9]{1,7}\n)?+"
    line_text = quoted + line_put + rb"|V[^\n]*+\n" + line_put
    line_number = rb"I-?[0-9]{1,19}\n|L-?[0-9]{1,19}L?\n|F[-+.0-9aefin]{1,32}\n|N"
    text = line_text + rb"|[U\x8c](?:" + lengths[0] + b")" + put + rb"|[TX](?:" + lengths[1] + b")" + put
    integer = rb"\x8a(?:" + b"|".join(b"\\x%02x.{%d}" % (n, n) for n in range(9)) + b")"
    key = _either(line_get + rb"|h.|j.{4}", text)
    scalar = _either(key, line_number, rb"K.|M..|J.{4}|G.{8}|[\x88\x89]", integer)
    line_key, line_scalar = _either(line_get, line_text), _either(line_get, line_text, line_number)
    # Before a long text or something that opens, a list that is empty so far (or written line by line) may be one of these.
    long_text = rb"[U\x8c][\x%02x-\xff]|[TX](?![\x00-\x%02x]\x00{3})" % (MAX_SHORT + 1, MAX_SHORT)
    flat = rb"\]" + put + rb"(?:(?:\(" + scalar + b"*+e|" + scalar + rb"a)++|(?![(\]}]|" + long_text + b"))"
    line_flat = rb"\(l" + line_put + b"(?:" + line_scalar + rb"a)*+(?!\()"
    value, line_value = _either(scalar, flat, line_flat), _either(line_scalar, line_flat)
    # A dict of values, a list of such dicts, and a dict that has such lists, too: a reference.
    record = rb"\}" + put + rb"\((?:" + key + value + b")*+u"
    rows = rb"\]" + put + rb"(?:\((?:" + record + b")*+e|" + record + b"a)"
    reference = rb"\}" + put + rb"\((?:" + key + _either(value, rows) + b")*+u"
    line_record = rb"\(d" + line_put + b"(?:" + line_key + line_value + b"s)*+"
    line_rows = rb"\(l" + line_put + b"(?:" + line_record + b"a)*+"
    line_reference = rb"\(d" + line_put + b"(?:" + line_key + _either(line_value, line_rows) + b"s)*+"
    return {
        "key": key, "value": value, "put": put, "opening": _either(rb"[\]}]", rb"\([ld]") + put,
        "items": _either(scalar, reference) + b"*+",
        "single_items": b"(?:" + _either(scalar, record, line_reference) + b"a)*+",
        "pairs": b"(?:" + key + value + b")*+", "single_pairs": b"(?:" + key + value + b"s)*+",
    }  # fmt: skip


def _either(*sources: bytes) -> bytes:
    return b"(?:" + b"|".join(sources) + b")"
