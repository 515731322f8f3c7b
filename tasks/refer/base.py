"""What the referring benchmarks on COCO's pictures share: expressions joined with annotations, one sample a sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from visenv.answers import Target
from visenv.errors import VisenvError, bad_value, missing_data, say, short
from visenv.images import Image
from visenv.task import Sample

from ..annotations import Annotation, CocoFile, Picture, box_of, check_size, mask_of, read_coco
from ..benchmark import Benchmark, Finding
from ..mirrors import Mirror, columns_of, what_is_lost
from ..reading import text_of
from ..unusable import Unusable
from .expressions import Expression, References, read_expressions
from .mirror import MirroredSplit, is_copy, read_mirrored
from .places import annotation_folder, picture_path

__all__ = ["Referring"]


@dataclass(frozen=True, slots=True)
class Partition:
    """One way of splitting a data set, as one file of references has it."""

    file: Path
    references: References
    coco: CocoFile


class Referring(Benchmark[Expression | Unusable]):
    """A benchmark of sentences about pictures of COCO's train2014.

    Subclasses name the files of references and write :meth:`target`. A split is named as in the file, with the partition's name
    and ``_`` before it unless it is the first partition: ``val`` and ``google_val``.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]]
    """By partition: names that its file of references may have, the usual one first."""
    refuses_turned: ClassVar[bool] = True
    mirrored: ClassVar[str] = ""
    """What the splits of ``jxu124/refcoco-benchmark`` begin with that are this benchmark's, if there are any."""

    def __init__(self, root: str | Path | None = None, *, mirror: Mirror | None = None) -> None:
        """Look for the data under ``root``, or where :func:`visenv.tasks.benchmark.data_root` says.

        Args:
            root: The data root.
            mirror: A copy to read instead.
        """
        super().__init__(root)
        self._mirror = mirror
        self._partitions: dict[str, Partition] = {}
        self._mirrored: dict[str, MirroredSplit] = {}

    @property
    def root(self) -> Path:
        """The folder of the annotations."""
        return annotation_folder(super().root.parent, self.folder)

    @abstractmethod
    def target(self, annotations: Sequence[Annotation], size_hw: tuple[int, int], names: Mapping[int, str]) -> Target:
        """Make the target that the annotations are, none when nothing matches.

        Raises:
            BadValueError: One of them does not fit the picture.
        """

    def read(self, split: str) -> Sequence[Expression | Unusable]:
        """Return the expressions of a split, in the order of the file."""
        name, rest = self._partition_of(split)
        if self._mirror is not None:
            self._mirrored[split] = read_mirrored(self._mirror, f"{self.mirrored}_{name}_{rest}", rest)
            return self._mirrored[split].expressions
        partition = self._partition(name)
        held = partition.references.by_split
        if not held.get(rest):
            what = f"{partition.file.name!r} has no split {rest!r}, but {', '.join(map(short, list(held)[:10])) or 'none at all'}"
            raise missing_data(self.name, what, looked=str(partition.file), published=self.published)
        return held[rest]

    def make(self, split: str, index: int, entry: Expression | Unusable) -> Sample:
        """Join an expression with its annotations and its picture."""
        if isinstance(entry, Unusable):
            entry.fail()
        coco = self._coco(split)
        text = text_of(entry.text, f"sentence {entry.sent_id} of ref_id {entry.ref_id}")
        path, image, listed = self._open(split, coco, entry.image_id)
        target = self.target(self._meant(coco, entry), listed.size_hw, coco.categories)
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index, instruction=text,
            images=(image,), target=target, cluster=str(entry.image_id), files=(path,) if path else (),
            meta={"ref_id": entry.ref_id, "sent_id": entry.sent_id, "image_id": entry.image_id, "ann_ids": list(entry.ann_ids)},
        )  # fmt: skip

    def audit_entry(self, split: str, index: int, entry: Expression | Unusable) -> Iterator[Finding]:
        """Find what is wrong with one expression; what lies outside its picture or has no area has a kind of its own."""
        try:
            if isinstance(entry, Unusable):
                entry.fail()
            coco = self._coco(split)
            annotations = self._meant(coco, entry)
            # Before anything is drawn: a size that is only claimed would be drawn on, too.
            _, _, listed = self._open(split, coco, entry.image_id)
        except Exception:  # the boundary to files of others: what it is, making the sample says again
            yield from super().audit_entry(split, index, entry)
            return
        where = f"{self.sample_id(split, index)}, ref_id {entry.ref_id}"
        found = list(self._odd(annotations, listed.size_hw, split, where))
        yield from found or super().audit_entry(split, index, entry)

    def audit_split(self, split: str) -> Iterator[Finding]:
        """Find references that share a number."""
        yield from super().audit_split(split)
        if self._mirror is not None:
            return
        self.entries(split)
        partition = self._partition(self._partition_of(split)[0])
        for ref_id in partition.references.repeated.get(self._partition_of(split)[1], ()):
            what = f"ref_id {ref_id} is given again: each reference is read as it stands, where the authors' code takes the last"
            yield Finding(split=split, where=partition.file.name, kind="form", what=what)

    def _odd(
        self, annotations: Sequence[Annotation], size_hw: tuple[int, int], split: str, where: str
    ) -> Iterator[Finding]:
        for annotation in annotations:
            for look in (mask_of, box_of):
                try:
                    look(annotation, size_hw)
                except Exception as error:  # the boundary to files of others
                    what = str(error) if isinstance(error, VisenvError) else say(error)
                    kind = "outside" if "inside the picture" in what else "form"
                    yield Finding(split=split, where=where, kind=kind, what=what)

    def _partition_of(self, split: str) -> tuple[str, str]:
        name, underline, rest = split.rpartition("_")
        return (name, rest) if underline else (next(iter(self.files)), split)

    def _coco(self, split: str) -> CocoFile:
        """Return the annotations and pictures that a split's expressions are about."""
        if self._mirror is not None:
            return self._mirrored[split].coco
        return self._partition(self._partition_of(split)[0]).coco

    def _partition(self, name: str) -> Partition:
        if name not in self._partitions:
            file = self._references(name)
            references = read_expressions(file)
            coco = read_coco(self.need("instances.json"), wanted=references.wanted)
            self._partitions[name] = Partition(file, references, coco)
        return self._partitions[name]

    def _references(self, partition: str) -> Path:
        """Return the file of a partition's references."""
        names = self.files[partition]
        found = next((n for n in names if (self.root / n).is_file()), None)
        lost = None if found else what_is_lost("RefCOCO", self.root)
        if lost is None:
            return self.need(found or names[0])
        what = f"only parquet files of a mirror are there, not read since {lost}; the authors' own file is missing"
        if self.mirrored and any(is_copy(columns_of(path)) for path in self.root.rglob("*.parquet")):
            what = f"{names[0]!r} is missing; the mirror that is there is read with {self.name}:mirror={self.root}"
        raise missing_data(self.name, what, looked=str(self.root / names[0]), published=self.published)

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

    def _open(self, split: str, coco: CocoFile, image_id: int) -> tuple[Path | None, Image, Picture]:
        """Return a picture's path, the picture and its record; the name comes from the image id, not from the reference.

        Raises:
            BadValueError: It is not listed, or of another size than listed.
        """
        if image_id not in coco.pictures:
            raise bad_value("image_id", image_id, expected="one whose picture is listed")
        listed = coco.pictures[image_id]
        if self._mirror is not None:
            path, key = None, Path(split, str(image_id))
            image = self.remember(key, lambda: self._mirrored[split].picture(image_id))
        else:
            path = picture_path(super().root.parent, listed.name)
            image = self.picture(path)
        check_size(image, listed)
        return path, image, listed
