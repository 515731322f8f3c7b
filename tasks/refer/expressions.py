"""Referring expressions as REFER and gRefCOCO list them, one compact entry for each sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from visenv.errors import bad_value

from ..annotations import integer, load_json
from .pickles import load_plain_pickle

__all__ = ["Expression", "read_expressions"]

LIMIT = 10_000_000
"""Most expressions of a file; a small file that repeats itself could claim any number."""


class Expression(NamedTuple):
    """One sentence, and the annotations that it means."""

    ref_id: int
    sent_id: int
    image_id: int
    ann_ids: tuple[int, ...]
    """Empty when nothing matches."""
    text: str
    """As the annotator typed it (``raw``); the cleaned text (``sent``) where there is no other."""


class _Sentence(NamedTuple):
    sent_id: int
    text: str


class _Reference(NamedTuple):
    split: str
    expressions: tuple[Expression, ...]


def read_expressions(path: Path) -> dict[str, tuple[Expression, ...]]:
    """Read a file of references, ``.json`` or pickle, into the expressions of each split, in the file's order.

    Raises:
        BadValueError: Not of the form that REFER or gRefCOCO distribute.
    """
    held = load_json(path, hook=_compact) if path.suffix == ".json" else load_plain_pickle(path)
    if not isinstance(held, list):
        raise bad_value("file", path.name, expected="a list of references")
    by_split: dict[str, list[Expression]] = {}
    seen: set[int] = set()
    total = 0
    for reference in _references(held, path.name):
        total += len(reference.expressions)
        if total > LIMIT:
            raise bad_value("expressions", total, expected=f"at most {LIMIT} in {path.name}")
        for expression in reference.expressions[:1]:
            if expression.ref_id in seen:
                raise bad_value("ref_id", expression.ref_id, expected=f"each once in {path.name}")
            seen.add(expression.ref_id)
        by_split.setdefault(reference.split, []).extend(reference.expressions)
    return {split: tuple(expressions) for split, expressions in by_split.items()}


def _references(held: Iterable[Any], name: str) -> Iterator[_Reference]:
    for place, record in enumerate(held):
        try:
            yield record if isinstance(record, _Reference) else _reference(record)
        except (TypeError, ValueError, AttributeError) as error:
            raise bad_value(
                "reference", record, expected=f"REFER's form, at place {place} of {name} ({error})"
            ) from error


def _compact(record: dict[str, Any]) -> Any:
    """Shrink what is a sentence or a reference while the file is still being read; errors wait for their place."""
    try:
        if "ref_id" in record and "sentences" in record:
            return _reference(record)
        return _sentence(record) if "sent_id" in record else record
    except (TypeError, ValueError, AttributeError):
        return record


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
        record["split"], tuple(Expression(ref_id, s.sent_id, image_id, ann_ids, s.text) for s in sentences)
    )


def _ann_ids(record: dict[str, Any]) -> tuple[int, ...]:
    """Return the annotations that are meant: REFER names one, gRefCOCO a list, which is [-1] when there is none."""
    held = record["ann_id"]
    ids = tuple(held) if isinstance(held, list) else (held,)
    if not all(type(i) is int for i in ids):
        raise ValueError("`ann_id` is neither an integer nor a list of integers")
    if not ids or (-1 in ids and ids != (-1,)):
        raise ValueError(f"`ann_id` is {held!r:.40}; [-1] says that nothing matches")
    none = record.get("no_target", ids == (-1,))
    if none is not (ids == (-1,)):
        raise ValueError(f"`no_target` is {none!r:.40} where `ann_id` is {held!r:.40}")
    return () if none else ids
