"""Any data set in COCO's form: one sample for each picture and category in it, to segment, to detect or to count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from visenv.answers import AnswerKind, Target
from visenv.errors import bad_value, missing_data, unknown_name
from visenv.task import Profile, Sample

from .annotations import Annotation, CocoFile, Damaged, box_of, check_size, labels_of, mask_of, read_coco
from .benchmark import Benchmark, Finding, data_root, inside
from .profiles import PROFILES
from .reading import text_of

__all__ = ["COCO"]


class Pair(NamedTuple):
    """One category in one picture."""

    image_id: int
    category_id: int
    ann_ids: tuple[int, ...]


class COCO(Benchmark[Pair]):
    """Find all objects of a category in a picture of a data set in COCO's form.

    ## Description
    COCO's own val2017 and train2017, or any file of its form: a picture, a category that is in it, and all its objects there. One
    sample for each pair, pictures in the order of the file, categories by id. Crowds ("iscrowd") keep their flag when objects are
    to be detected, where a box on them counts neither way; pairs with a crowd are left out when objects are to be segmented or
    counted, since how many there are is not known.

    ## Action Space
    Calls of the toolset's tools; the answer is boxes with scores (detect), masks (segment) or a count (count).

    ## Observation Space
    "Detect every dog.", "Segment every dog." or "Count every dog.", and the picture.

    ## Starting State
    The instruction and the whole picture.

    ## Rewards
    Primary score, by mode: that of ``coco/ap`` (detect), IoU of the unions (segment), 1 minus the relative error (count).

    ## Episode End
    A submitted answer, or the limit of turns.

    ## Information
    ``meta``: ``image_id``, ``category_id``, ``ann_ids``. Samples of one picture are one cluster.

    ## Arguments
    ``split``: val, train; only val with ``annotations``. ``level``: 1. Options of the task, ``COCO:mode=count,…``:
    ``mode``: detect (default), segment or count. ``annotations``: a file in COCO's form. ``images``: the folder of its pictures;
    by default ``images`` beside the file, or the file's own folder. Names that do not begin with / are looked up in the
    benchmark's folder, then from here.

    ## Metrics
    ``coco/ap`` (detect), ``gres/native`` (segment) or ``rec8k/official`` (count); ``coco/ap`` beside the second.

    ## References
    Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; cocodataset.org, "Data format". Layout:
    ``coco/annotations/instances_val2017.json``, ``coco/val2017/`` (or ``coco/images/val2017/``).

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "COCO"
    kind: ClassVar[AnswerKind] = AnswerKind.BOXES
    splits: ClassVar[tuple[str, ...]] = ("val", "train")
    profile: ClassVar[Profile] = PROFILES["coco/ap"]
    folder: ClassVar[str] = "coco"
    published: ClassVar[str] = "https://cocodataset.org/#download"
    licence: ClassVar[str] = "annotations: CC-BY-4.0; pictures: Flickr's terms, see cocodataset.org"
    sizes: ClassVar[Mapping[str, int]] = {}
    verb: ClassVar[str] = "Detect"
    with_crowds: ClassVar[bool] = True

    def __new__(cls, root: str | Path | None = None, *, mode: str = "detect", **options: Any) -> COCO:
        """Choose the class of the mode, since what is asked for and how it is scored belong to the class."""
        if mode not in MODES:
            raise unknown_name("mode", mode, MODES, remedy="Use COCO:mode=detect, segment or count.")
        return super().__new__(MODES[mode] if cls is COCO else cls)

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        annotations: str | None = None,
        images: str | None = None,
        mode: str = "detect",
    ) -> None:
        """Look for the data under ``root``, or where :func:`visenv.tasks.benchmark.data_root` says; nothing is read yet.

        Args:
            root: The data root.
            annotations: A file in COCO's form instead of COCO's own.
            images: The folder of its pictures.
            mode: detect, segment or count.
        """
        super().__init__(root)
        self._annotations, self._images = annotations, images
        self._files: dict[str, CocoFile] = {}
        if annotations is not None:
            self.splits = ("val",)  # type: ignore[misc]

    def read(self, split: str) -> Sequence[Pair]:
        """Return the pairs of picture and category of a split."""
        path = self._annotation_file(split)
        coco = self._files[split] = read_coco(path)
        objects: dict[int, dict[int, list[int]]] = {number: {} for number in coco.pictures}
        for number, annotation in coco.annotations.items():
            if isinstance(annotation, Damaged):
                why = f"one that can be used, in {path.name} ({annotation.why})"
                raise bad_value("annotation", number, expected=why)
            if annotation.image_id not in objects or annotation.category_id not in coco.categories:
                where = (annotation.image_id, annotation.category_id)
                raise bad_value(
                    "annotation", number, expected=f"`image_id` and `category_id` of {path.name}, not {where}"
                )
            objects[annotation.image_id].setdefault(annotation.category_id, []).append(number)
        return [
            Pair(image_id, category_id, tuple(numbers))
            for image_id, by_category in objects.items()
            for category_id, numbers in sorted(by_category.items())
            if self._is_asked([coco.annotation(n) for n in numbers])
        ]

    def make(self, split: str, index: int, entry: Pair) -> Sample:
        """Open a picture and make the target of one category."""
        coco = self._files[split]
        listed, name = coco.pictures[entry.image_id], coco.categories[entry.category_id]
        path = inside(self._folder_of(split), listed.name)
        image = self.picture(path)
        check_size(image, listed)
        instruction = f"{self.verb} every {text_of(name, f'name of category {entry.category_id}')}."
        found = [coco.annotation(number) for number in entry.ann_ids]
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index, instruction=instruction,
            images=(image,), target=self._target(found, listed.size_hw, coco.categories), cluster=str(entry.image_id),
            files=(path,),
            meta={"image_id": entry.image_id, "category_id": entry.category_id, "ann_ids": list(entry.ann_ids)},
        )  # fmt: skip

    def audit_entry(self, split: str, index: int, entry: Pair) -> Iterator[Finding]:
        """Find what is wrong with one pair; what lies outside its picture has a kind of its own."""
        for one in super().audit_entry(split, index, entry):
            kind = "outside" if "inside the picture" in one.what else one.kind
            yield Finding(split=split, where=one.where, kind=kind, what=one.what)

    def _target(self, found: Sequence[Annotation], size_hw: tuple[int, int], names: Mapping[int, str]) -> Target:
        segment = self.kind is AnswerKind.MASK
        return Target(
            kind=self.kind, size_hw=size_hw, boxes_xyxy=tuple(box_of(a, size_hw) for a in found),
            masks=tuple(mask_of(a, size_hw)[0] for a in found) if segment else (), labels=labels_of(found, names),
            crowd=tuple(a.crowd for a in found) if any(a.crowd for a in found) else (),
        )  # fmt: skip

    def _is_asked(self, found: Sequence[Annotation]) -> bool:
        """Whether a pair makes a sample: something has to be there that is known one by one."""
        crowds = sum(a.crowd for a in found)
        return crowds < len(found) and (self.with_crowds or not crowds)

    def _annotation_file(self, split: str) -> Path:
        if self._annotations is None:
            return self.need(f"annotations/instances_{split}2017.json")
        path = self._given_path(self._annotations)
        if not path.is_file():
            what = f"the annotation file {self._annotations!r} is missing"
            raise missing_data(self.name, what, looked=str(path), published=self.published)
        return path

    def _folder_of(self, split: str) -> Path:
        """Return the folder of the pictures."""
        if self._images is not None:
            return self._given_path(self._images)
        if self._annotations is not None:
            beside = self._given_path(self._annotations).parent
            return beside / "images" if (beside / "images").is_dir() else beside
        nested = self.root / "images" / f"{split}2017"
        return nested if nested.is_dir() else self.root / f"{split}2017"

    def _given_path(self, name: str) -> Path:
        """Return the path that an option names: it is the caller's own, so it may lie anywhere."""
        data = data_root(self._given)
        held = data / self.folder / name if data is not None else None
        return held if held is not None and held.exists() else Path(name).expanduser()

    def __getstate__(self) -> dict[str, Any]:
        return {"_given": self._given, "annotations": self._annotations, "images": self._images}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_given"], annotations=state["annotations"], images=state["images"])  # type: ignore[misc]


class _Segment(COCO):
    kind: ClassVar[AnswerKind] = AnswerKind.MASK
    profile: ClassVar[Profile] = PROFILES["gres/native"]
    also: ClassVar[tuple[Profile, ...]] = (PROFILES["coco/ap"],)
    verb: ClassVar[str] = "Segment"
    with_crowds: ClassVar[bool] = False


class _Count(COCO):
    kind: ClassVar[AnswerKind] = AnswerKind.COUNT
    profile: ClassVar[Profile] = PROFILES["rec8k/official"]
    verb: ClassVar[str] = "Count"
    with_crowds: ClassVar[bool] = False


MODES: Mapping[str, type[COCO]] = {"detect": COCO, "segment": _Segment, "count": _Count}
"""What a task ``COCO:mode=…`` is."""
