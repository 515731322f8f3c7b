"""Any data set in COCO's form: one sample for each picture and category in it, to segment, to detect or to count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from visenv.answers import AnswerKind, Target
from visenv.errors import BadValueError, bad_value, missing_data, short, unknown_name
from visenv.task import Profile, Sample

from .annotations import Annotation, CocoFile, Damaged, box_around, box_of, check_size, labels_of, mask_of, read_coco
from .benchmark import Benchmark, Finding, data_root, inside, plain_name, whole_path
from .profiles import PROFILES
from .reading import text_of
from .unusable import Unusable

__all__ = ["COCO"]


class Pair(NamedTuple):
    """One category in one picture."""

    image_id: int
    category_id: int
    ann_ids: tuple[int, ...]


class COCO(Benchmark[Pair | Unusable]):
    """Find all objects of a category in a picture of a data set in COCO's form.

    ## Description
    COCO's own val2017 and train2017, or any file of its form: a picture, a category that is in it, and all its objects there. One
    sample for each pair, pictures in the order of the file, categories by id. Crowds ("iscrowd") keep their flag when objects are
    to be detected, where a box on them counts neither way; pairs with a crowd are left out when objects are to be segmented or
    counted, since how many there are is not known. A pair with an annotation that cannot be used keeps its place, and its sample
    says what is wrong; an annotation of a picture or category that the file does not list belongs to no pair, and is a finding of
    ``visenv data check``. A picture that its EXIF tag turns is refused: annotations are those of the stored one.

    ## Action Space
    Calls of the toolset's tools; the answer is boxes (detect), masks (segment), or the objects found or a number (count).

    ## Observation Space
    "Detect every dog.", "Segment every dog." or "Count every dog.", and the picture.

    ## Starting State
    The instruction and the whole picture.

    ## Rewards
    Primary score, by mode: F1 of the boxes, averaged over the IoU thresholds 0.5, 0.55, … 0.95, crowds on neither side (detect);
    IoU of the unions (segment); 1 - min(1, |count - truth| / max(1, truth)) (count).

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``image_id``, ``category_id``, ``ann_ids``. Samples of one picture are one cluster.

    ## Arguments
    ``split``: val, train; only val with ``annotations``. ``level``: 1. Options of the task, ``COCO:mode=count,…``:
    ``mode``: detect (default), segment or count. ``annotations``: a file in COCO's form. ``images``: the folder of its pictures;
    by default ``images`` beside the file, or the file's own folder. Names are looked up in the benchmark's folder under the data
    root, never from where Python runs, so that one name means one file to everybody; names that begin with / or ~/ may lie
    anywhere.

    ## Metrics
    ``coco/ap`` (detect), ``gres/native`` with ``coco/ap`` beside it (segment) or ``rec8k/official`` (count). Objects that an agent
    submits have no scores: for AP they are all as sure. AP over these samples is above COCO's AP of the same detector and not to be
    compared with it: a category is asked for only where it is, so nothing is found wrongly in a picture without it.

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

        Raises:
            UnknownNameError: No such mode.
            BadValueError: A name leads out of the benchmark's folder.
        """
        super().__init__(root)
        if mode not in MODES:
            raise unknown_name("mode", mode, MODES, remedy="Use COCO:mode=detect, segment or count.")
        for option, name in (("annotations", annotations), ("images", images)):
            _check_name(option, name)
        self.mode, self._annotations, self._images = mode, annotations, images
        self._files: dict[str, CocoFile] = {}
        self._strays: dict[str, tuple[Finding, ...]] = {}
        chosen = MODES[mode]
        self.kind, self.profile, self.also = chosen.kind, chosen.profile, chosen.also  # type: ignore[misc]
        if annotations is not None:
            self.splits = ("val",)  # type: ignore[misc]

    def read(self, split: str) -> Sequence[Pair | Unusable]:
        """Return the pairs of picture and category of a split."""
        path = self._annotation_file(split)
        coco = self._files[split] = read_coco(path)
        objects: dict[int, dict[int, list[int]]] = {number: {} for number in coco.pictures}
        strays: list[Finding] = []
        for number, annotation in coco.annotations.items():
            for image_id, category_id in _pairs_of(number, annotation, path.name):
                if image_id in objects and category_id in coco.categories:
                    objects[image_id].setdefault(category_id, []).append(number)
                    continue
                where = f"{path.name}, annotation {short(number, 20)}"
                what = f"of picture {image_id} and category {category_id}, not both of which are listed; it belongs to no sample"
                strays.append(Finding(split=split, where=where, kind="form", what=what))
        self._strays[split] = tuple(strays)
        pairs = [
            Pair(image_id, category_id, tuple(numbers))
            for image_id, by_category in objects.items()
            for category_id, numbers in sorted(by_category.items())
        ]
        if strays and not pairs:
            raise bad_value("annotations", strays[0].where, expected=f"`image_id` and `category_id` of {path.name}")
        return [one for pair in pairs if (one := self._asked(pair, coco)) is not None]

    def make(self, split: str, index: int, entry: Pair | Unusable) -> Sample:
        """Open a picture and make the target of one category."""
        if isinstance(entry, Unusable):
            entry.fail()
        coco = self._files[split]
        listed, name = coco.pictures[entry.image_id], coco.categories[entry.category_id]
        path = inside(self._folder_of(split), listed.name)
        image = self.picture(path)
        check_size(image, listed)
        instruction = f"{MODES[self.mode].verb} every {text_of(name, f'name of category {entry.category_id}')}."
        found = [coco.annotation(number) for number in entry.ann_ids]
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index, instruction=instruction,
            images=(image,), target=self._target(found, listed.size_hw, coco.categories), cluster=str(entry.image_id),
            files=(path,),
            meta={"image_id": entry.image_id, "category_id": entry.category_id, "ann_ids": list(entry.ann_ids)},
        )  # fmt: skip

    def audit_split(self, split: str) -> Iterator[Finding]:
        """Find annotations that belong to no sample."""
        self.entries(split)
        return iter(self._strays[split])

    def audit_entry(self, split: str, index: int, entry: Pair | Unusable) -> Iterator[Finding]:
        """Find what is wrong with one pair, boxes that its mode does without too; what lies outside has a kind of its own."""
        found = list(super().audit_entry(split, index, entry))
        if not found and not isinstance(entry, Unusable):
            found = list(self._bad_boxes(split, index, entry))
        for one in found:
            kind = "outside" if "inside the picture" in one.what else one.kind
            yield Finding(split=split, where=one.where, kind=kind, what=one.what)

    def _bad_boxes(self, split: str, index: int, entry: Pair) -> Iterator[Finding]:
        coco = self._files[split]
        for number in entry.ann_ids:
            try:
                box_of(coco.annotation(number), coco.pictures[entry.image_id].size_hw)
            except BadValueError as error:
                where = f"{self.sample_id(split, index)}, annotation {short(number, 20)}"
                yield Finding(split=split, where=where, kind="form", what=str(error))

    def _target(self, found: Sequence[Annotation], size_hw: tuple[int, int], names: Mapping[int, str]) -> Target:
        segment = self.kind is AnswerKind.MASK
        box = box_of if self.kind is AnswerKind.BOXES else box_around
        return Target(
            kind=self.kind, size_hw=size_hw, boxes_xyxy=tuple(box(a, size_hw) for a in found),
            masks=tuple(mask_of(a, size_hw)[0] for a in found) if segment else (), labels=labels_of(found, names),
            crowd=tuple(a.crowd for a in found) if any(a.crowd for a in found) else (),
        )  # fmt: skip

    def _asked(self, pair: Pair, coco: CocoFile) -> Pair | Unusable | None:
        """Return a pair, if it makes a sample: something has to be there that is known one by one."""
        try:
            crowds = sum(coco.annotation(number).crowd for number in pair.ann_ids)
        except BadValueError as error:
            return Unusable(error.with_traceback(None))
        asked = crowds < len(pair.ann_ids) and (MODES[self.mode].with_crowds or not crowds)
        return pair if asked else None

    def _annotation_file(self, split: str) -> Path:
        if self._annotations is None:
            return self.need(f"annotations/instances_{split}2017.json")
        path = self._given_path(self._annotations)
        if not path.is_file():
            what = f"the annotation file {self._annotations!r} is missing; a name from / on may lie anywhere"
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
        """Return the path that an option names.

        Raises:
            MissingDataError: It is looked up under the data root, and none is known.
        """
        own = whole_path(name)
        if own is not None:
            return own
        if data_root(self._given) is None:
            what = f"{name!r} is looked up in the data folder, and none is set; a name from / on may lie anywhere"
            raise missing_data(self.name, what, looked="$VISENV_DATA", published=self.published)
        return inside(self.root, name)

    def __getstate__(self) -> dict[str, Any]:
        return {"_given": self._given, "annotations": self._annotations, "images": self._images, "mode": self.mode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        options = {key: value for key, value in state.items() if key != "_given"}
        self.__init__(state["_given"], **options)  # type: ignore[misc]


def _pairs_of(number: int, annotation: Annotation | Damaged, where: str) -> Sequence[tuple[int, int]]:
    """Return the pairs of picture and category that an annotation is about.

    Raises:
        BadValueError: It cannot be read, not even for that: any pair may lack it.
    """
    if not isinstance(annotation, Damaged):
        return ((annotation.image_id, annotation.category_id),)
    if not annotation.pairs:
        raise bad_value("annotation", number, expected=f"an image_id and a category_id, in {where} ({annotation.why})")
    return annotation.pairs


class _Mode(NamedTuple):
    """What is asked for, and how it is scored."""

    verb: str
    kind: AnswerKind
    profile: Profile
    also: tuple[Profile, ...]
    with_crowds: bool


MODES: Mapping[str, _Mode] = {
    "detect": _Mode("Detect", AnswerKind.BOXES, PROFILES["coco/ap"], (), True),
    "segment": _Mode("Segment", AnswerKind.MASK, PROFILES["gres/native"], (PROFILES["coco/ap"],), False),
    "count": _Mode("Count", AnswerKind.COUNT, PROFILES["rec8k/official"], (), False),
}
"""What ``COCO:mode=…`` may be."""


def _check_name(option: str, name: object) -> None:
    if name is None or (isinstance(name, str) and whole_path(name) is not None):
        return
    try:
        plain_name(name if isinstance(name, str) else "")
    except BadValueError:
        expected = "a name inside the benchmark's folder, or a whole one, from / or ~/ on"
        raise bad_value(option, name, expected=expected) from None
