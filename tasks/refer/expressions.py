"""Referring expressions as REFER and gRefCOCO list them, one compact entry for each sentence.

A reference or a sentence of which nothing can be made keeps its places, so that no other sentence's index moves. Only where it does not
say how many sentences it has, and in which split, the file is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from visenv.errors import BadValueError, bad_value, short

from ..annotations import MAX_INTEGER, integer
from ..reading import collection_paused, read_json
from ..unusable import Unusable
from .pickles import load_plain_pickle

__all__ = ["Expression", "References", "read_expressions", "references_of"]

LIMIT = 10_000_000
"""Most expressions of a file."""
NO_FORM = (TypeError, ValueError, AttributeError, LookupError)
"""What a record of another form raises."""


class Expression(NamedTuple):
    """One sentence, and the annotations that it means."""

    ref_id: int
    sent_id: int
    image_id: int
    ann_ids: tuple[int, ...]
    """Empty when nothing matches."""
    text: str
    """As the annotator typed it (``raw``); the cleaned text (``sent``) where there is no other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """What a file of references holds."""

    by_split: Mapping[str, Sequence[Expression | Unusable]]
    """In the file's order."""
    repeated: Mapping[str, Sequence[int]]
    """By split: each ``ref_id`` of a reference that an earlier one, of any split, has, too."""

    @property
    def wanted(self) -> set[int]:
        """Ids of all annotations that are meant."""
        return {
            i for found in self.by_split.values() for one in found if isinstance(one, Expression) for i in one.ann_ids
        }


class _Sentence(NamedTuple):
    sent_id: int
    text: str


class _Reference(NamedTuple):
    ref_id: int | None
    split: str
    expressions: Sequence[Expression | Unusable]


def read_expressions(path: Path) -> References:
    """Read a file of references, ``.json`` or pickle.

    Raises:
        BadValueError: Not of the form that REFER or gRefCOCO distribute.
    """
    with collection_paused():
        held = read_json(path, hook=_compact) if path.suffix == ".json" else load_plain_pickle(path)
        if not isinstance(held, list):
            raise bad_value("file", path.name, expected="a list of references")
        return references_of(held, path.name)


def references_of(records: Iterable[Any], where: str) -> References:
    """Read the records of references.

    Raises:
        BadValueError: Not of the form that REFER or gRefCOCO distribute: what is wrong with the first where none can be used.
    """
    by_split: dict[str, list[Expression | Unusable]] = {}
    seen: set[int] = set()
    repeated: dict[str, list[int]] = {}
    total = 0
    for place, record in enumerate(records):
        ref_id, split, expressions = (
            record if isinstance(record, _Reference) else _at_place(record, f"place {place} of {where}")
        )
        total += len(expressions)
        if total > LIMIT:
            raise bad_value("expressions", total, expected=f"at most {LIMIT} in {where}")
        if ref_id in seen:
            repeated.setdefault(split, []).append(ref_id)
        if ref_id is not None:
            seen.add(ref_id)
        by_split.setdefault(split, []).extend(expressions)
    first = next((one for found in by_split.values() for one in found), None)
    if isinstance(first, Unusable) and all(isinstance(one, Unusable) for found in by_split.values() for one in found):
        first.fail()
    return References(by_split=by_split, repeated=repeated)


def _compact(record: dict[str, Any]) -> Any:
    """Shrink what is a sentence or a reference while the file is still being read; errors wait for their place."""
    try:
        if "ref_id" in record and "sentences" in record:
            return _reference(record)
        return _sentence(record) if "sent_id" in record else record
    except NO_FORM:
        return record


def _at_place(record: Any, where: str) -> _Reference:
    """Read a reference of which something may be wrong.

    Raises:
        BadValueError: It does not say how many sentences it has, or in which split.
    """
    try:
        return _reference(record)
    except NO_FORM as error:
        problem = _no_form("reference", record, where, error)
    sentences = record.get("sentences") if isinstance(record, dict) else None
    if not isinstance(sentences, list) or not isinstance(record.get("split"), str):
        raise problem
    try:
        ids = integer(record, "ref_id"), integer(record, "image_id"), _ann_ids(record)
    except NO_FORM:
        return _Reference(None, record["split"], [Unusable(problem)] * len(sentences))
    expressions = [_expression(ids, sentence, f"sentence {k} at {where}") for k, sentence in enumerate(sentences)]
    return _Reference(ids[0], record["split"], expressions)


def _expression(ids: tuple[int, int, tuple[int, ...]], record: Any, where: str) -> Expression | Unusable:
    try:
        sentence = _sentence(record)
    except NO_FORM as error:
        return Unusable(_no_form("sentence", record, where, error))
    return Expression(ids[0], sentence.sent_id, ids[1], ids[2], sentence.text)


def _no_form(what: str, record: Any, where: str, error: Exception) -> BadValueError:
    said = f"no field {error}" if isinstance(error, KeyError) else str(error)
    return bad_value(what, record, expected=f"REFER's form, at {where} ({said})")


def _sentence(record: Any) -> _Sentence:
    if isinstance(record, _Sentence):
        return record
    text = record.get("raw")
    if not isinstance(text, str) or not text.strip():
        text = record.get("sent")
    if not isinstance(text, str):
        raise ValueError("a sentence without text")
    return _Sentence(integer(record, "sent_id"), text)


def _reference(record: Any) -> _Reference:
    if not isinstance(record["split"], str) or not isinstance(record["sentences"], list):
        raise ValueError("`split` is no text or `sentences` no list")
    ref_id, image_id, ann_ids = integer(record, "ref_id"), integer(record, "image_id"), _ann_ids(record)
    sentences = map(_sentence, record["sentences"])
    return _Reference(
        ref_id, record["split"], [Expression(ref_id, s.sent_id, image_id, ann_ids, s.text) for s in sentences]
    )


def _ann_ids(record: dict[str, Any]) -> tuple[int, ...]:
    """Return the annotations that are meant: REFER names one, gRefCOCO a list, which is [-1] when there is none."""
    held = record["ann_id"]
    ids = tuple(held) if isinstance(held, list) else (held,)
    if not all(type(i) is int and abs(i) < MAX_INTEGER for i in ids):
        raise ValueError("`ann_id` is neither an integer nor a list of integers")
    if not ids or (-1 in ids and ids != (-1,)):
        raise ValueError(f"`ann_id` is {short(held, 40)}; [-1] says that nothing matches")
    none = record.get("no_target", ids == (-1,))
    if none is not (ids == (-1,)):
        raise ValueError(f"`no_target` is {short(none, 40)} where `ann_id` is {short(held, 40)}")
    return () if none else ids
