"""ReasonSeg: one picture, one question that needs reasoning, one mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from visenv.answers import AnswerKind, Target
from visenv.errors import bad_value, missing_data
from visenv.task import Profile, Sample

from . import rasters
from .benchmark import Benchmark, Finding, inside
from .mirrors import find_mirror, what_is_lost
from .partners import Partners, find_partners
from .profiles import PROFILES
from .reading import read_json, texts_of

__all__ = ["ReasonSeg"]

SLACK = 0.5
"""How far a polygon may lie outside, as a share of the picture's side; what does is not drawn, by LISA neither."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one annotation file holds."""

    texts: tuple[str, ...]
    is_sentence: bool
    shapes: tuple[Mapping[str, Any], ...]
    """``label`` and ``points`` of each, as in the file; those without a point are left out."""
    num_pointless: int


class ReasonSeg(Benchmark[str]):
    """Segment what a question means that has to be reasoned out.

    ## Description
    Pictures from OpenImages and ScanNetv2, each with a question ("what would keep you dry in the rain?") or a short phrase and
    polygons around what is meant. One sample for each picture, in the order of the file names, with the first text. A picture
    or an annotation file without its partner is an error, since it may have moved every later sample. Some regions are to be
    ignored. In two files of ``test`` no polygon can be used: there the right answer is that nothing is there,
    as in LISA's count of 779.

    ## Action Space
    Calls of the toolset's tools; the answer is masks, of which the union counts, or that nothing matches.

    ## Observation Space
    The question, and the picture with its EXIF orientation applied (as OpenCV reads it).

    ## Starting State
    The question and the whole picture.

    ## Rewards
    Primary score: IoU of the union of the submitted masks with the target, ignored pixels removed from both; 1 when neither has
    any pixel left.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``is_sentence`` (papers report long and short queries apart, which seems to be this flag), ``texts`` (all wordings; several in
    train), ``image`` (the file's stem). Each picture is its own cluster.

    ## Arguments
    ``split``: train, val, test. ``level``: 1. Naming a mirror (``ReasonSeg:mirror=Ricky06662/ReasonSeg_val``) gives an error that
    says what it loses.

    ## Metrics
    ``reasonseg/lisa``: gIoU and cIoU with LISA's epsilons. Beside it ``reasonseg/segzero`` and ``reasonseg/visionreasoner``, which
    take ignored pixels for target and drop a sample without any pixel or give it 0.

    ## References
    Lai et al., "LISA: Reasoning Segmentation via Large Language Model", CVPR 2024. Files: dvlab-research/LISA@3cb2d430
    utils/data_processing.py ``get_mask_from_json``; polygons are drawn by OpenCV, larger ones first. Layout:
    ``ReasonSeg/{train,val,test}/NAME.jpg`` beside ``NAME.json`` (or ``reason_seg/ReasonSeg/…``), UTF-8 or cp1252.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "ReasonSeg"
    kind: ClassVar[AnswerKind] = AnswerKind.MASK
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    profile: ClassVar[Profile] = PROFILES["reasonseg/lisa"]
    also: ClassVar[tuple[Profile, ...]] = (PROFILES["reasonseg/segzero"], PROFILES["reasonseg/visionreasoner"])
    folder: ClassVar[str] = "ReasonSeg"
    published: ClassVar[str] = "https://github.com/dvlab-research/LISA (its README links the archive)"
    licence: ClassVar[str] = "CC-BY-NC-4.0 by the mirrors; pictures must not be passed on"
    sizes: ClassVar[Mapping[str, int]] = {"train": 239, "val": 200, "test": 779}
    takes_turned: ClassVar[bool] = True

    def __init__(self, root: str | Path | None = None, *, mirror: str | None = None) -> None:
        """Look for the data under ``root``, or where :func:`visenv.tasks.benchmark.data_root` says.

        Args:
            root: The data root.
            mirror: None that is known has the ignored pixels; naming one says so.

        Raises:
            BadValueError: A mirror is named.
        """
        if mirror is not None:
            find_mirror(
                self.name, mirror, known={}, of=self.name, published=self.published, root=root, folder=self.folder
            )
        super().__init__(root)
        self._partners: dict[str, Partners] = {}

    @property
    def root(self) -> Path:
        """The folder with a folder for each split, here or inside LISA's ``reason_seg``."""
        usual = super().root
        nested = usual.parent / "reason_seg" / self.folder
        return nested if nested.is_dir() and not usual.is_dir() else usual

    def read(self, split: str) -> Sequence[str]:
        """Return the stems of the pictures of a split, sorted."""
        folder = self.root / split
        found = find_partners(
            [(folder, folder)], pictures=(".jpg",), note_of=lambda name: f"{Path(name).stem}.json", key=lambda path: path.stem
        )  # fmt: skip
        if not found.pictures and not found.lone_notes:
            lost = what_is_lost("ReasonSeg", self.root)
            what = f"no picture {split}/NAME.jpg with its {split}/NAME.json is there"
            if lost is not None:
                what = f"only parquet files of a mirror are there, not read since {lost}; the authors' own NAME.json files are missing"
            raise missing_data(self.name, what, looked=str(folder), published=self.published)
        found.check(self.name, split, official=self.sizes.get(split), looked=folder, published=self.published)
        self._partners[split] = found
        return [path.stem for path in found.pictures]

    def make(self, split: str, index: int, entry: str) -> Sample:
        """Draw a question's polygons and open its picture."""
        question = self._question(split, entry)
        path = inside(self.root / split, f"{entry}.jpg")
        image = self.picture(path)
        size_hw = image.size_wh[1], image.size_wh[0]
        _check_fits(question.shapes, size_hw, f"{entry}.json")
        target, ignore = rasters.lisa_masks(question.shapes, size_hw)
        x1, y1, x2, y2 = target.box_xyxy
        there = bool(target.area_px)
        return Sample(
            id=self.sample_id(split, index), task=self.name, split=split, level=1, index=index,
            instruction=question.texts[0], images=(image,), cluster=entry, files=(path,),
            target=Target(
                kind=AnswerKind.MASK, size_hw=size_hw, masks=(target,) if there else (),
                boxes_xyxy=((float(x1), float(y1), float(x2), float(y2)),) if there else (),
                ignore=ignore if ignore.area_px else None,
            ),
            meta={"is_sentence": question.is_sentence, "texts": list(question.texts), "image": entry},
        )  # fmt: skip

    def audit_entry(self, split: str, index: int, entry: str) -> Iterator[Finding]:
        """Find what is wrong with one pair of files; a target without pixels is a finding too, though it can be scored."""
        where = f"{split}/{entry}.json"
        found = list(super().audit_entry(split, index, entry))
        if found:
            for one in found:
                kind = "outside" if "inside the picture" in one.what else one.kind
                yield Finding(split=split, where=where, kind=kind, what=one.what)
            return
        question, sample = self._question(split, entry), self.make(split, index, entry)
        if question.num_pointless:
            yield Finding(
                split=split, where=where, kind="form", what=f"{question.num_pointless} polygons without a point"
            )
        if sample.target.no_target:
            what = "no pixel is target: declaring that nothing is there scores 1, as an empty mask does with LISA"
            yield Finding(split=split, where=where, kind="empty", what=what)
        outside = _check_fits(question.shapes, sample.target.size_hw, f"{entry}.json")
        if outside:
            yield Finding(split=split, where=where, kind="outside", what=outside)

    def audit_split(self, split: str) -> Iterator[Finding]:
        """Find annotation files without a picture."""
        self.entries(split)
        return self._partners[split].findings(split)

    def _question(self, split: str, stem: str) -> Question:
        """Read one annotation file.

        Raises:
            BadValueError: Not of the documented form.
        """
        name = f"{split}/{stem}.json"
        held = read_json(self.find(self.root / split, f"{stem}.json"), encodings=("utf-8-sig", "cp1252"))
        if not isinstance(held, dict) or not isinstance(held.get("shapes"), list):
            raise bad_value("file", name, expected="an object with `text`, `is_sentence` and the list `shapes`")
        texts = texts_of(held.get("text"), f"text of {name}")
        if not texts:
            raise bad_value("text", held["text"], expected=f"at least one text in {name}")
        if type(held.get("is_sentence")) is not bool:
            raise bad_value("is_sentence", held.get("is_sentence"), expected=f"true or false in {name}")
        for place, shape in enumerate(held["shapes"]):
            if not _is_shape(shape):
                raise bad_value(
                    "shape", shape, expected=f"`label` and `points` [[x, y], …], at place {place} of {name}"
                )
        shapes = [{"label": s["label"], "points": s["points"]} for s in held["shapes"] if s["points"]]
        return Question(texts, held["is_sentence"], tuple(shapes), len(held["shapes"]) - len(shapes))


def _is_shape(shape: object) -> bool:
    if (
        not isinstance(shape, dict)
        or not isinstance(shape.get("label"), str)
        or not isinstance(shape.get("points"), list)
    ):
        return False
    return all(isinstance(p, list) and len(p) == 2 and all(map(_is_coordinate, p)) for p in shape["points"])


def _is_coordinate(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e6  # type: ignore[arg-type]


def _check_fits(shapes: Sequence[Mapping[str, Any]], size_hw: tuple[int, int], name: str) -> str | None:
    """Look whether polygons lie inside the upright picture.

    Returns:
        What lies outside, in words, where it is no more than careless drawing.

    Raises:
        BadValueError: They were drawn on another picture, or on this one turned.
    """
    spans = [_spans(s["points"]) for s in shapes if s["label"].lower() != "flag"]  # flags are never drawn
    outside = [span for span in spans if _excess(span, size_hw) > 0]
    if not outside:
        return None
    height, width = size_hw
    (x1, x2), (y1, y2) = worst = max(outside, key=lambda span: _excess(span, size_hw))
    words = f"x from {x1:g} to {x2:g}, y from {y1:g} to {y2:g}"
    turned = height != width and all(_excess(span, (width, height)) <= 0.01 for span in spans)
    if (turned and _excess(worst, size_hw) > 0.01) or _excess(worst, size_hw) > SLACK:
        expected = f"all of {name} inside the picture, {width} x {height} px once upright (EXIF)"
        raise bad_value("points", words, expected=expected, remedy="Take the picture as its authors publish it.")
    return f"a polygon of {name} has {words}, and the picture {width} x {height} px: what lies outside is not drawn"


def _spans(points: Sequence[Sequence[float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the least and the largest x, and the same of y."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return (min(xs), max(xs)), (min(ys), max(ys))


def _excess(spans: tuple[tuple[float, float], tuple[float, float]], size_hw: tuple[int, int]) -> float:
    """Return by how much a polygon leaves the picture, as a share of the side that it leaves it along."""
    return max(max(-low, high - side) / side for (low, high), side in zip(spans, size_hw[::-1], strict=True))
