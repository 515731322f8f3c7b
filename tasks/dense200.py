"""Dense200: every object of several categories in crowded pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from visenv.answers import AnswerKind, Box, Target
from visenv.errors import bad_value, missing_data
from visenv.task import Profile, Sample

from .benchmark import Benchmark, Finding, inside, plain_name
from .orientation import orientation_of, upright_boxes
from .profiles import PROFILES
from .profiles.dense200_rexomni import normalised
from .reading import field_of, number_of, read_json_lines, text_of, texts_of
from .unusable import Unusable, each_usable

__all__ = ["Dense200", "box_findings", "request", "turned_findings"]

ANNOTATIONS = tuple(
    f"{folder}/{name}"
    for folder in ("_annotations/box_eval", "annotations/box_eval", "_annotations", "annotations", ".")
    for name in ("Dense200.jsonl", "dense200.jsonl")
)
"""Where the file of annotations may lie; the first that is there is read."""
PICTURES = (".", "dense200", "Dense200", "images")
"""Folders that ``image_path`` may start from; the first that has the picture counts."""
MAX_BOXES = 20_000


@dataclass(frozen=True, slots=True)
class _Entry:
    image: str
    categories: tuple[str, ...]
    """What is asked for."""
    labels: tuple[str, ...]
    boxes_xyxy: tuple[Box, ...]
    """Parallel to ``labels``, in the order of the annotation: it decides ties of the metric."""
    without_boxes: tuple[str, ...]
    """Categories annotated with an empty list."""
    unlisted: tuple[str, ...]
    """Categories annotated, but not among the record's ``categories``; they are asked for all the same."""


class Dense200(Benchmark[_Entry | Unusable]):
    """Put a box around each of many objects, and say of which category it is.

    ## Description
    200 pictures with 91 boxes each on average, of one or more of 109 categories. One sample asks for all annotated categories of
    a picture, under the names that the annotation of the boxes has, and for others that the record lists. Read from ``Dense200/_annotations/box_eval/Dense200.jsonl`` (or ``annotations/…``) and the pictures of
    ``dense200.tar.gz``, unpacked beside it.

    ## Action Space
    Calls of the toolset's tools; the answer is the objects found, each with a box and the name of its category, or that there is
    none.

    ## Observation Space
    A request that lists the categories, and the picture, upright; the boxes, which are those of the stored picture, are turned with
    it where its EXIF tag turns it.

    ## Starting State
    The whole picture is visible; there are no objects.

    ## Rewards
    Primary score: F1, averaged over the IoU thresholds 0.5, 0.55, … 0.95.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``categories``, those asked for. Each picture is its own cluster.

    ## Arguments
    ``split``: test. There is one level. A record that cannot be used keeps its place, and its sample says what is wrong.

    ## Metrics
    ``dense200/rexomni``: F1 at IoU 0.5 and 0.95 and its mean over ten thresholds. A box under a name that the picture's
    annotation does not have counts as wrong, and so does one without a name. Beside it ``dense200/visharness``.

    ## References
    Jiang et al., "Detect Anything via Next Point Prediction" (Rex-Omni), 2025.
    Source of the format: IDEA-Research/Rex-Omni@478e44f8 evaluation/metrics/other_metric.py and the data card. A category
    annotated with an empty list cannot be told from one that was not asked about in a target; the audit names such pictures.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "Dense200"
    kind: ClassVar[AnswerKind] = AnswerKind.BOXES
    max_turns: ClassVar[int] = 20
    splits: ClassVar[tuple[str, ...]] = ("test",)
    profile: ClassVar[Profile] = PROFILES["dense200/rexomni"]
    also: ClassVar[tuple[Profile, ...]] = (PROFILES["dense200/visharness"],)
    folder: ClassVar[str] = "Dense200"
    published: ClassVar[str] = "https://huggingface.co/datasets/Mountchicken/Rex-Omni-EvalData"
    licence: ClassVar[str] = "IDEA License 1.0: non-commercial research"
    sizes: ClassVar[Mapping[str, int]] = {"test": 200}
    takes_turned: ClassVar[bool] = True

    def read(self, split: str) -> Sequence[_Entry | Unusable]:
        """Read the file of annotations."""
        path = next((self.root / name for name in ANNOTATIONS if (self.root / name).is_file()), None)
        if path is None:
            raise missing_data(
                self.name, "the annotations are missing", looked=str(self.root / ANNOTATIONS[0]), published=self.published
            )  # fmt: skip
        return each_usable(_entry, read_json_lines(path))

    def make(self, split: str, index: int, entry: _Entry | Unusable) -> Sample:
        """Make the sample of a picture."""
        if isinstance(entry, Unusable):
            entry.fail()
        path = self._path(entry.image)
        image = self.picture(path)
        boxes = upright_boxes(entry.boxes_xyxy, orientation_of(path), image.size_wh)
        target = Target(kind=self.kind, size_hw=image.size_wh[::-1], boxes_xyxy=boxes, labels=entry.labels)
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index, images=(image,),
            instruction=request(entry.categories), target=target, cluster=entry.image, files=(path,),
            meta={"categories": entry.categories},
        )  # fmt: skip

    def audit_entry(self, split: str, index: int, entry: _Entry | Unusable) -> Iterator[Finding]:
        """Find, beside what keeps the sample from being made, odd boxes, a turned picture and categories that are odd."""
        found = list(super().audit_entry(split, index, entry))
        yield from found
        if found or isinstance(entry, Unusable):
            return
        sample = self.make(split, index, entry)
        yield from box_findings(sample)
        yield from turned_findings(sample, self._path(entry.image))
        if entry.without_boxes:
            what = (
                f"annotated without boxes: {', '.join(entry.without_boxes)}; the authors' code would know these names"
            )
            yield Finding(split=split, where=sample.id, kind="form", what=what)
        if entry.unlisted:
            what = f"annotated, but not among `categories`: {', '.join(entry.unlisted)}; asked for all the same"
            yield Finding(split=split, where=sample.id, kind="form", what=what)

    def _path(self, image: str) -> Path:
        """Return the file of a picture, whichever of the documented folders its name starts from."""
        head, _, rest = image.partition("/")
        own = (head, rest) if rest and head in PICTURES else (".", image)  # such a folder may be a link
        for start, name in (own, *((start, image) for start in PICTURES)):
            if (self.root / start / name).is_file():
                return inside(self.root / start, name)
        raise missing_data(
            self.name, f"picture {image!r} is missing", looked=str(self.root / image), published=self.published
        )


def request(categories: Sequence[str]) -> str:
    """Word the request for boxes of some categories."""
    listed = ", ".join(categories)
    if len(categories) == 1:
        return f"Put a box around every object of this category: {listed}."
    return f"Put a box around every object of these categories, and name each object by its category: {listed}."


def box_findings(sample: Sample) -> Iterator[Finding]:
    """Find target boxes that leave the picture or have no area; they are scored as they are."""
    height, width = sample.target.size_hw
    boxes = sample.target.boxes_xyxy
    outside = [k for k, (x1, y1, x2, y2) in enumerate(boxes) if x1 < 0 or y1 < 0 or x2 > width or y2 > height]
    empty = [k for k, (x1, y1, x2, y2) in enumerate(boxes) if x2 <= x1 or y2 <= y1]
    for kind, numbers, what in (("outside", outside, f"leave {width} x {height} px"), ("empty", empty, "have no area")):
        if numbers:
            shown = ", ".join(map(str, numbers[:5]))
            yield Finding(split=sample.split, where=sample.id, kind=kind, what=f"{len(numbers)} boxes {what}: {shown}")


def turned_findings(sample: Sample, path: Path) -> Iterator[Finding]:
    """Find a picture that its EXIF tag turns, where the annotation is that of the picture as it is stored."""
    tag = orientation_of(path)
    if tag != 1:
        what = f"{path.name} has EXIF orientation {tag}: it is shown upright, and its annotation is turned with it"
        yield Finding(split=sample.split, where=sample.id, kind="form", what=what)


def _entry(at: tuple[str, Mapping[str, Any]]) -> _Entry:
    where, row = at
    image = text_of(field_of(row, "image_path", where), f"image_path of {where}")
    plain_name(image)
    truth = field_of(row, "gt", where)
    if not isinstance(truth, dict):
        raise bad_value(f"gt of {where}", truth, expected="boxes by category")
    labels: list[str] = []
    boxes: list[Box] = []
    for category, given in truth.items():
        text_of(category, f"category of {where}")
        if not isinstance(given, list) or len(boxes) + len(given) > MAX_BOXES:
            raise bad_value(f"{category} of {where}", given, expected=f"a list of boxes, at most {MAX_BOXES} in all")
        boxes += [_box(box, f"{category} of {where}") for box in given]
        labels += [category] * len(given)
    listed = texts_of(row.get("categories") or list(truth), f"categories of {where}")
    asked, unlisted = _asked(listed, list(truth))
    if not asked:
        raise bad_value(f"categories of {where}", asked, expected="at least one category, in `categories` or `gt`")
    without = tuple(category for category, given in truth.items() if not given)
    return _Entry(image, asked, tuple(labels), tuple(boxes), without, unlisted)


def _asked(listed: Sequence[str], annotated: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the categories to ask for, each as the annotation spells it, and which of them are not listed.

    Spellings are one where the authors' scorer takes them for one.
    """
    left = [name for name in annotated if name not in listed]
    asked = []
    for name in dict.fromkeys(listed):
        key = normalised(name)
        twin = None if name in annotated else next((n for n in left if key and normalised(n) == key), None)
        if twin is not None:
            left.remove(twin)
        asked.append(twin or name)
    return (*asked, *left), tuple(left)


def _box(values: object, where: str) -> Box:
    if not isinstance(values, list) or len(values) != 4:
        raise bad_value(where, values, expected="x1, y1, x2, y2 in pixels")
    x1, y1, x2, y2 = (number_of(v, where) for v in values)
    return x1, y1, x2, y2
