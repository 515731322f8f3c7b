"""What the referring benchmarks on COCO's pictures share: expressions joined with annotations, one sample a sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from visenv.answers import Target
from visenv.errors import BadValueError, bad_value, missing_data
from visenv.images import Image
from visenv.task import Sample

from ..annotations import Annotation, CocoFile, Picture, box_of, check_size, mask_of, read_coco
from ..benchmark import Benchmark, Finding, inside
from ..reading import text_of
from .expressions import Expression, read_expressions
from .places import annotation_folder, picture_folder

__all__ = ["Referring"]

MIRROR = (
    "only parquet files of a mirror are there. Mirrors merge splits or leave fields out (lmms-lab's `val` of RefCOCO is "
    "unc's and google's together), so they are not read; the authors' own annotation file is missing"
)


@dataclass(frozen=True, slots=True)
class Partition:
    """One way of splitting a data set, as one file of references has it."""

    by_split: Mapping[str, Sequence[Expression]]
    coco: CocoFile


class Referring(Benchmark[Expression]):
    """A benchmark of sentences about pictures of COCO's train2014.

    Subclasses name the files of references and write :meth:`target`. A split is named as in the file, with the partition's name
    and ``_`` before it unless it is the first partition: ``val`` and ``google_val``.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]]
    """By partition: names that its file of references may have, the usual one first."""

    def __init__(self, root: str | Path | None = None) -> None:
        """Look for the data under ``root``, or where :func:`visenv.tasks.benchmark.data_root` says."""
        super().__init__(root)
        self._partitions: dict[str, Partition] = {}

    @property
    def root(self) -> Path:
        """The folder of the annotations."""
        return annotation_folder(super().root.parent, self.folder)

    @property
    def pictures(self) -> Path:
        """The folder of the pictures, those of COCO's train2014."""
        return picture_folder(super().root.parent)

    @abstractmethod
    def target(self, annotations: Sequence[Annotation], size_hw: tuple[int, int], names: Mapping[int, str]) -> Target:
        """Make the target that the annotations are, none when nothing matches.

        Raises:
            BadValueError: One of them does not fit the picture.
        """

    def read(self, split: str) -> Sequence[Expression]:
        """Return the expressions of a split, in the order of the file."""
        name, rest = self._partition_of(split)
        return self._partition(name).by_split.get(rest, ())

    def make(self, split: str, index: int, entry: Expression) -> Sample:
        """Join an expression with its annotations and its picture."""
        coco = self._partition(self._partition_of(split)[0]).coco
        text = text_of(entry.text, f"sentence {entry.sent_id} of ref_id {entry.ref_id}")
        path, image, listed = self._open(coco, entry.image_id)
        target = self.target(self._meant(coco, entry), listed.size_hw, coco.categories)
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index, instruction=text,
            images=(image,), target=target, cluster=str(entry.image_id), files=(path,),
            meta={"ref_id": entry.ref_id, "sent_id": entry.sent_id, "image_id": entry.image_id, "ann_ids": list(entry.ann_ids)},
        )  # fmt: skip

    def audit_entry(self, split: str, index: int, entry: Expression) -> Iterator[Finding]:
        """Find what is wrong with one expression; what lies outside its picture or has no area has a kind of its own."""
        try:
            coco = self._partition(self._partition_of(split)[0]).coco
            annotations, size_hw = self._meant(coco, entry), coco.pictures[entry.image_id].size_hw
        except (BadValueError, KeyError):
            yield from super().audit_entry(split, index, entry)
            return
        problems = 0
        for annotation in annotations:
            for look in (mask_of, box_of):
                try:
                    look(annotation, size_hw)
                except BadValueError as error:
                    problems += 1
                    kind = "outside" if "inside the picture" in str(error) else "form"
                    where = f"{self.sample_id(split, index)}, ref_id {entry.ref_id}"
                    yield Finding(split=split, where=where, kind=kind, what=str(error))
        if not problems:
            yield from super().audit_entry(split, index, entry)

    def _partition_of(self, split: str) -> tuple[str, str]:
        name, underline, rest = split.rpartition("_")
        return (name, rest) if underline else (next(iter(self.files)), split)

    def _partition(self, name: str) -> Partition:
        if name not in self._partitions:
            by_split = read_expressions(self._references(name))
            wanted = {number for found in by_split.values() for one in found for number in one.ann_ids}
            self._partitions[name] = Partition(by_split, read_coco(self.need("instances.json"), wanted=wanted))
        return self._partitions[name]

    def _references(self, partition: str) -> Path:
        """Return the file of a partition's references."""
        names = self.files[partition]
        found = next((n for n in names if (self.root / n).is_file()), None)
        if found is None and self.root.is_dir() and any(self.root.rglob("*.parquet")):
            raise missing_data(self.name, MIRROR, looked=str(self.root / names[0]), published=self.published)
        return self.need(found or names[0])

    def _meant(self, coco: CocoFile, entry: Expression) -> list[Annotation]:
        """Return the annotations that an expression means, without those of crowds.

        Raises:
            BadValueError: One cannot be used, belongs to another picture, or only crowds are meant.
        """
        found = [coco.annotation(number) for number in entry.ann_ids]
        for number, annotation in zip(entry.ann_ids, found, strict=True):
            if annotation.image_id != entry.image_id:
                raise bad_value(
                    "annotation", number, expected=f"one of picture {entry.image_id}, as ref_id {entry.ref_id} says"
                )
        kept = [annotation for annotation in found if not annotation.crowd]
        if found and not kept:
            raise bad_value("ann_id", list(entry.ann_ids), expected="at least one annotation that is not of a crowd")
        return kept

    def _open(self, coco: CocoFile, image_id: int) -> tuple[Path, Image, Picture]:
        """Return a picture's path, the picture and its record; the name comes from the image id, not from the reference.

        Raises:
            BadValueError: It is not listed, or of another size than listed.
        """
        if image_id not in coco.pictures:
            raise bad_value("image_id", image_id, expected="one that instances.json lists")
        listed = coco.pictures[image_id]
        path = inside(self.pictures, listed.name)
        image = self.picture(path)
        check_size(image, listed)
        return path, image, listed
