"""gRefCOCO: sentences that mean several objects, one or none; with masks (GRES) or boxes (GREC)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from visenv.answers import AnswerKind, Target
from visenv.task import Profile

from .annotations import Annotation, box_around, box_of, labels_of, mask_of
from .benchmark import Finding
from .profiles import PROFILES
from .refer.base import Referring

__all__ = ["GREC", "GRES"]


class _GRefCOCO(Referring):
    """Where gRefCOCO lies, and how large it is."""

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "testA", "testB")
    folder: ClassVar[str] = "grefcoco"
    published: ClassVar[str] = (
        "https://huggingface.co/datasets/FudanCVL/gRefCOCO and https://cocodataset.org (train2014)"
    )
    licence: ClassVar[str] = "annotations: CC-BY-NC-SA-4.0; pictures: Flickr's terms, see cocodataset.org"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"unc": ("grefs(unc).json", "grefs(unc).p")}
    sizes: ClassVar[Mapping[str, int]] = {"val": 14_229, "testA": 19_200}
    """Of 259,859 sentences in all."""
    unsure_sizes: ClassVar[Mapping[str, tuple[int, int]]] = {"train": (209_344, 210_367), "testB": (17_086, 16_063)}
    """Nobody states these two. The first numbers were inferred by subtraction; a public repository counts 16,063 of testB."""

    def audit_split(self, split: str) -> Iterator[Finding]:
        """Find, beside references that share a number, a split of a size that nobody gives."""
        yield from super().audit_split(split)
        either = self.unsure_sizes.get(split)
        if either is not None and len(self.entries(split)) not in either:
            what = f"{len(self.entries(split)):,} samples on disk; not stated officially, {either[0]:,} or {either[1]:,} by others"
            yield Finding(split=split, where=f"{self.name}/{split}", kind="size", what=what)


class GRES(_GRefCOCO):
    """Segment everything that an expression means, or say that there is nothing of the kind.

    ## Description
    Pictures of COCO's train2014 and expressions that mean several objects ("the two people on the left"), one or none. In
    ``val`` no sentence means exactly one object and 63 % mean nothing, so N-acc rules its gIoU. One sample for each sentence,
    in the order of the file. Annotations of crowds are left out. Of the 259,859 sentences that were released, how many train and
    testB have is not stated: 209,344 and 17,086 by subtraction, but a public repository counts 16,063 of testB.

    ## Action Space
    Calls of the toolset's tools; the answer is masks, or that nothing matches.

    ## Observation Space
    The expression as it was typed (``raw``), and the picture.

    ## Starting State
    The expression and the whole picture.

    ## Rewards
    Primary score: IoU of the union of the submitted masks with the union of the targets; 1 for a rightly declared
    "no target", 0 for any other answer when nothing matches (an empty mask is no declaration), 0 for a wrong one.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``ref_id``, ``sent_id``, ``image_id``, ``ann_ids`` (empty when nothing matches). Samples of one picture are one cluster.

    ## Arguments
    ``split``: train, val, testA, testB. ``level``: 1.

    ## Metrics
    ``gres/native``: gIoU, cIoU, N-acc, T-acc and Pr@0.7, 0.8, 0.9 at native size. Beside it ``gres/rela``, the same at 480 x 480
    as ReLA evaluates, and ``gres/gsva``, as papers on language models do.

    ## References
    Liu, Ding and Jiang, "GRES: Generalized Referring Expression Segmentation", CVPR 2023. Files: henghuiding/ReLA@3ca95519
    gres_model/data/datasets/grefer.py. Layout: ``grefcoco/grefs(unc).json`` (or the older ``.p``, read without executing
    anything of it), ``grefcoco/instances.json``, ``images/train2014/``. Two differences from that code: where both files of
    references lie there, the newer ``.json`` is read, not ``.p``; of references that share a number each is read as it stands,
    where that code takes the last for all of them.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "GRES"
    kind: ClassVar[AnswerKind] = AnswerKind.MASK
    profile: ClassVar[Profile] = PROFILES["gres/native"]
    also: ClassVar[tuple[Profile, ...]] = (PROFILES["gres/rela"], PROFILES["gres/gsva"])

    def target(self, annotations: Sequence[Annotation], size_hw: tuple[int, int], names: Mapping[int, str]) -> Target:
        """Make the target: a mask and a box for each instance, parts of an instance joined."""
        return Target(
            kind=AnswerKind.MASK, size_hw=size_hw, masks=tuple(mask_of(a, size_hw)[0] for a in annotations),
            boxes_xyxy=tuple(box_around(a, size_hw) for a in annotations), labels=labels_of(annotations, names),
        )  # fmt: skip


class GREC(_GRefCOCO):
    """Put a box around everything that an expression means, or say that there is nothing of the kind.

    ## Description
    The expressions and pictures of :class:`GRES`, with the instances' boxes.

    ## Action Space
    Calls of the toolset's tools; the answer is boxes, or that nothing matches.

    ## Observation Space
    The expression as it was typed (``raw``), and the picture.

    ## Starting State
    The expression and the whole picture.

    ## Rewards
    Primary score: F1 of the boxes, matched one to one at a generalised IoU of at least 0.5; when nothing matches, 1 if no box is
    submitted, else 0.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``ref_id``, ``sent_id``, ``image_id``, ``ann_ids`` (empty when nothing matches). Samples of one picture are one cluster.

    ## Arguments
    ``split``: train, val, testA, testB. ``level``: 1.

    ## Metrics
    ``grec/mdetr``: Pr@(F1=1, IoU>=0.5), N-acc and T-acc; pairs are compared by generalised IoU, as the authors' code does. Beside
    it ``grec/iou``, by plain IoU, as their text says.

    ## References
    He, Ding, Liu and Jiang, "GREC: Generalized Referring Expression Comprehension", 2023. Code: henghuiding/gRefCOCO@41a8f008
    mdetr/datasets/refexp.py. Layout: that of :class:`GRES`.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "GREC"
    kind: ClassVar[AnswerKind] = AnswerKind.BOXES
    profile: ClassVar[Profile] = PROFILES["grec/mdetr"]
    also: ClassVar[tuple[Profile, ...]] = (PROFILES["grec/iou"],)

    def target(self, annotations: Sequence[Annotation], size_hw: tuple[int, int], names: Mapping[int, str]) -> Target:
        """Make the target: a box for each instance."""
        return Target(
            kind=AnswerKind.BOXES, size_hw=size_hw, boxes_xyxy=tuple(box_of(a, size_hw) for a in annotations),
            labels=labels_of(annotations, names),
        )  # fmt: skip
