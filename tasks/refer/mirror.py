"""RefCOCO, RefCOCO+ and RefCOCOg in the form of ``jxu124/refcoco-benchmark``: one row a picture, everything about it inside.

The names of columns and splits are those of its published card; it was not run on the real download.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from visenv.errors import bad_value, missing_data
from visenv.images import Image

from ..annotations import CocoFile, coco_of
from ..embedded import decode_picture, picture_bytes
from ..mirror_rows import MirrorRows
from ..mirrors import Mirror, check_shards
from ..orientation import check_upright
from ..unusable import Unusable
from .expressions import Expression, references_of

__all__ = ["KNOWN", "MirroredSplit", "is_copy", "read_mirrored"]

KNOWN: Mapping[str, str | None] = {"jxu124/refcoco-benchmark": "2f2f892835bbf44b4db81f1c4ad6d46a3e9e4359"}
"""What is read, and at which commit (October 2023)."""
ANNOTATIONS = ("ref_list", "image_info")
PICTURE = "image"


class MirroredSplit:
    """One split of the mirror: what REFER's files say of it, and its pictures."""

    def __init__(
        self, expressions: Sequence[Expression], coco: CocoFile, rows: MirrorRows, row_of: Mapping[int, int]
    ) -> None:
        """Hold what :func:`read_mirrored` found; ``row_of`` is the row of each picture, by its id."""
        self.expressions, self.coco = expressions, coco
        self._rows, self._row_of = rows, row_of

    def picture(self, image_id: int) -> Image:
        """Decode a picture from the bytes in its row.

        Raises:
            BadValueError: There are none, or they are no picture, or one that an EXIF tag turns.
        """
        where = f"{self._rows.name}, row {self._row_of[image_id]}"
        data = picture_bytes(self._rows.cell(self._row_of[image_id], PICTURE), where)
        image = decode_picture(data, where)
        check_upright(data, where)
        return image


def read_mirrored(mirror: Mirror, stem: str, split: str) -> MirroredSplit:
    """Read one split.

    Expressions are in the order of their references' numbers: that of REFER's own files where these count up, as they do as
    far as is known. Ids of samples hang on it.

    Args:
        mirror: The copy.
        stem: The split's name in it, such as ``refcoco_unc_val``.
        split: What its references call it, such as ``val``.

    Raises:
        MissingDataError: The split is not there, or cannot be fetched.
        BadValueError: A file is damaged, of another form, or mixes splits.
        MissingExtraError: `datasets` is not installed.
    """
    pattern = f"{stem}-*.parquet"
    folder = mirror.fetch(f"data/{pattern}")
    found = sorted(folder.glob(f"data/{pattern}")) or sorted(folder.glob(pattern))
    if not found:
        what = f"the mirror has no file {pattern!r}"
        raise missing_data(mirror.task, what, looked=str(folder / "data"), published=mirror.published)
    check_shards(mirror.task, found, mirror.published)
    rows = MirrorRows(found, ("ref_list", PICTURE), of="RefCOCO", published=mirror.published)
    return _joined(rows, split)


def is_copy(columns: frozenset[str]) -> bool:
    """Whether files with these columns are of this form."""
    return {"ref_list", PICTURE} <= columns


def _joined(rows: MirrorRows, split: str) -> MirroredSplit:
    """Take the rows apart into what REFER's two files hold."""
    references: list[Any] = []
    annotations: dict[Any, dict[str, Any]] = {}
    pictures: dict[Any, dict[str, Any]] = {}
    row_of: dict[int, int] = {}
    for number, row in enumerate(rows.values(ANNOTATIONS)):
        for reference, annotation, picture in _parts(row, f"row {number} of {rows.name}"):
            references.append(reference)
            for held, record in ((annotations, annotation), (pictures, picture)):
                if held.setdefault(record["id"], record) != record:
                    raise bad_value("id", record["id"], expected=f"the same record in every row of {rows.name}")
            row_of.setdefault(picture["id"], number)
    read = references_of(references, rows.name)
    if set(read.by_split) - {split}:
        raise bad_value(
            "split", sorted(read.by_split), expected=f"only {split!r} in {rows.name}: a copy that mixes splits"
        )
    if read.repeated:
        raise bad_value(
            "ref_id", read.repeated[split], expected=f"each once in {rows.name}, since the order hangs on it"
        )
    expressions = sorted(map(_usable, read.by_split.get(split, ())), key=lambda expression: expression.ref_id)
    coco = coco_of(pictures.values(), annotations.values(), _categories(), rows.name)
    return MirroredSplit(expressions, coco, rows, row_of)


def _parts(row: Mapping[str, Any], where: str) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """Yield each reference of a row, its annotation and its picture, which is told of once a row or with each reference."""
    listed = row["ref_list"]
    if not isinstance(listed, list):
        raise bad_value("ref_list", listed, expected=f"a list of references in {where}")
    for one in listed:
        found = one if isinstance(one, dict) else {}
        annotation, picture = found.get("ann_info"), row["image_info"] or found.get("image_info")
        if not all(isinstance(record, dict) and type(record.get("id")) is int for record in (annotation, picture)):
            expected = f"`ref_info`, `ann_info` and `image_info`, the last two with an integer `id`, in {where}"
            raise bad_value("reference", one, expected=expected)
        yield found.get("ref_info"), annotation, picture  # type: ignore[misc]  # looked at above


def _usable(one: Expression | Unusable) -> Expression:
    """Return an expression; without one its place is not known, since the order hangs on its number."""
    if isinstance(one, Unusable):
        one.fail()
    return one


@cache
def _categories() -> list[dict[str, Any]]:
    """Return COCO's categories, which the mirror leaves out."""
    found: list[dict[str, Any]] = json.loads((files(__package__) / "data" / "coco_categories.json").read_text("utf-8"))
    return found
