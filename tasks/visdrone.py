"""VisDrone-DET: small objects of ten categories from drones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from visenv.answers import AnswerKind, Box, Target
from visenv.errors import bad_value, missing_data
from visenv.task import Profile, Sample

from .benchmark import Benchmark, Finding
from .dense200 import box_findings, request, turned_findings
from .orientation import orientation_of, upright_boxes
from .partners import Partners, find_partners
from .profiles import PROFILES
from .profiles.visdrone_toolkit import CLASSES
from .reading import read_text

__all__ = ["CATEGORIES", "VisDrone", "read_annotation"]

CATEGORIES = CLASSES
"""Categories 1 to 10, which are scored."""
OTHERS = 11
"""The category of other objects, which are not asked for and not scored."""
MAX_BYTES = 16 * 2**20
PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class _Annotation:
    boxes_xyxy: tuple[Box, ...]
    labels: tuple[str, ...]
    crowd: tuple[bool, ...]
    ignored_xyxy: tuple[Box, ...]
    others_xyxy: tuple[Box, ...]
    skipped: tuple[str, ...]
    """Rows without width or height, as text."""


class VisDrone(Benchmark[str]):
    """Put a box around every object of ten categories, and say of which it is.

    ## Description
    Pictures from drones, 548 in ``val`` and 1,610 in ``test-dev``, with some 50 mostly small objects each. Read from
    ``VisDrone/VisDrone2019-DET-<split>/images/*.jpg`` and ``annotations/*.txt`` as published; an archive that has no folder of that
    name in it is unpacked into one (``unzip -d``). A picture or an annotation file without its partner is an error, since it may have
    moved every later sample. Ignored regions (category 0)
    become the target's ``ignore_boxes_xyxy``; boxes with score 0 are flagged in ``crowd``: not to be scored. Boxes of category
    11 (others), which nobody asks for and no metric scores, are in ``meta`` only. A row without width or height is left out.
    ``test-challenge`` has no public annotations.

    ## Action Space
    Calls of the toolset's tools; the answer is the objects found, each with a box and the name of its category, or that there is
    none.

    ## Observation Space
    A request that lists the ten categories, and the picture, upright; the boxes, which are those of the stored picture, are turned
    with it where its EXIF tag turns it.

    ## Starting State
    The whole picture is visible; there are no objects.

    ## Rewards
    Primary score: F1 of the boxes by category, averaged over the IoU thresholds 0.5, 0.55, … 0.95; what is ignored counts on
    neither side.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``image`` (the file's name), ``others_xyxy``. Each picture is its own cluster.

    ## Arguments
    ``split``: train, val, test-dev. There is one level.

    ## Metrics
    ``visdrone/toolkit``: AP, AP50, AP75 and AR at 1, 10, 100 and 500 detections, as the authors' MATLAB code computes them;
    beside it ``visdrone/coco`` and ``visdrone/rexf1``. Objects that an agent submits have no scores: for AP they are all as sure.

    ## References
    Zhu et al., "Detection and Tracking Meet Drones Challenge", TPAMI 2021.
    Source of the format: VisDrone/VisDrone2018-DET-toolkit@00544578 README.md and utils/.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "VisDrone"
    kind: ClassVar[AnswerKind] = AnswerKind.BOXES
    max_turns: ClassVar[int] = 20
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test-dev")
    profile: ClassVar[Profile] = PROFILES["visdrone/toolkit"]
    also: ClassVar[tuple[Profile, ...]] = (
        PROFILES["visdrone/coco"],
        PROFILES["visdrone/rexf1"],
    )
    folder: ClassVar[str] = "VisDrone"
    published: ClassVar[str] = "https://github.com/VisDrone/VisDrone-Dataset"
    licence: ClassVar[str] = "academic use"
    sizes: ClassVar[Mapping[str, int]] = {"train": 6_471, "val": 548, "test-dev": 1_610}
    takes_turned: ClassVar[bool] = True

    def __init__(self, root: str | Path | None = None) -> None:
        """Look for the data under ``root``, or where :func:`visenv.tasks.benchmark.data_root` says."""
        super().__init__(root)
        self._partners: dict[str, Partners] = {}

    def read(self, split: str) -> Sequence[str]:
        """List the pictures of a split by name; their annotations are files of their own, read with them."""
        folder = self._folder(split)
        found = find_partners(
            [(folder / "images", folder / "annotations")], pictures=PICTURES, note_of=_note_of, key=lambda path: path.name
        )  # fmt: skip
        found.check(self.name, split, official=self.sizes.get(split), looked=folder, published=self.published)
        self._partners[split] = found
        return [path.name for path in found.pictures]

    def make(self, split: str, index: int, entry: str) -> Sample:
        """Make the sample of a picture."""
        path = self.find(self._folder(split) / "images", entry)
        image = self.picture(path)
        found = self._annotation(split, entry)
        tag, size_wh = orientation_of(path), image.size_wh
        target = Target(
            kind=self.kind, size_hw=size_wh[::-1], boxes_xyxy=upright_boxes(found.boxes_xyxy, tag, size_wh), labels=found.labels,
            crowd=found.crowd, ignore_boxes_xyxy=upright_boxes(found.ignored_xyxy, tag, size_wh),
        )  # fmt: skip
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index, images=(image,),
            instruction=request(CATEGORIES), target=target, cluster=entry, files=(path,),
            meta={"image": entry, "others_xyxy": upright_boxes(found.others_xyxy, tag, size_wh)},
        )  # fmt: skip

    def audit_entry(self, split: str, index: int, entry: str) -> Iterator[Finding]:
        """Find, beside what keeps the sample from being made, rows left out, boxes outside of the picture and turned pictures."""
        found = list(super().audit_entry(split, index, entry))
        yield from found
        if not found:
            sample = self.make(split, index, entry)
            yield from box_findings(sample)
            yield from turned_findings(sample, self.find(self._folder(split) / "images", entry))
            for row in self._annotation(split, entry).skipped:
                yield Finding(
                    split=split, where=f"{entry}: {row}", kind="empty", what="a box without width or height, left out"
                )

    def audit_split(self, split: str) -> Iterator[Finding]:
        """Find annotation files without a picture."""
        self.entries(split)
        return self._partners[split].findings(split)

    def _folder(self, split: str) -> Path:
        """Return the folder that holds ``images`` and ``annotations``; it may lie in one of its own name (``unzip -d``).

        Raises:
            MissingDataError: There is none.
        """
        name = f"VisDrone2019-DET-{split}"
        places = self.root / name, self.root / name / name
        found = next((p for p in places if all((p / part).is_dir() for part in ("images", "annotations"))), None)
        if found is None:
            what = f"there is no folder {name!r} with the folders 'images' and 'annotations'"
            if (self.root / "images").is_dir():
                what += f"; of those that lie in {self.root.name!r} itself nothing says which split they are"
            what += f": an archive without a folder in it is unpacked by `unzip {name}.zip -d {name}`"
            raise missing_data(self.name, what, looked=str(places[0]), published=self.published)
        return found

    def _annotation(self, split: str, image: str) -> _Annotation:
        return read_annotation(self.find(self._folder(split) / "annotations", _note_of(image)))


def _note_of(image: str) -> str:
    return f"{Path(image).stem}.txt"


def read_annotation(path: Path) -> _Annotation:
    """Read rows of ``left,top,width,height,score,category,truncation,occlusion``, integers, with or without a last comma.

    Raises:
        BadValueError: A row is not of that form.
    """
    boxes: list[Box] = []
    labels: list[str] = []
    crowd: list[bool] = []
    ignored: list[Box] = []
    others: list[Box] = []
    skipped: list[str] = []
    for number, line in enumerate(read_text(path, limit_bytes=MAX_BYTES).splitlines(), 1):
        if not line.strip():
            continue
        left, top, width, height, score, category = _numbers(line, f"{path.name}, line {number}")
        box = (float(left), float(top), float(left + width), float(top + height))
        if width <= 0 or height <= 0:
            skipped.append(line.strip())
        elif category in (0, OTHERS):
            (others if category else ignored).append(box)
        else:
            boxes.append(box)
            labels.append(CATEGORIES[category - 1])
            crowd.append(score == 0)
    return _Annotation(
        tuple(boxes), tuple(labels), tuple(crowd) if any(crowd) else (), tuple(ignored), tuple(others), tuple(skipped)
    )


def _numbers(line: str, where: str) -> list[int]:
    """Return left, top, width, height, score and category."""
    parts = [part.strip() for part in line.strip().removesuffix(",").split(",")]
    if len(parts) != 8 or not all(part.removeprefix("-").isascii() and part.removeprefix("-").isdigit() and len(part) < 10 for part in parts):  # fmt: skip
        raise bad_value(
            where, line, expected="eight integers: left,top,width,height,score,category,truncation,occlusion"
        )
    numbers = list(map(int, parts[:6]))
    if numbers[4] not in (0, 1) or not 0 <= numbers[5] <= OTHERS:
        raise bad_value(where, line, expected="a score of 0 or 1 and a category from 0 to 11")
    return numbers
