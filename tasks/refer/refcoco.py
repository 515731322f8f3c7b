"""RefCOCO, RefCOCO+ and RefCOCOg: one object for each sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from visenv.answers import AnswerKind, Target
from visenv.errors import bad_value, unknown_name
from visenv.task import Profile

from ..annotations import Annotation, box_around, labels_of, mask_of
from ..mirrors import find_mirror
from ..profiles import PROFILES
from .base import Referring
from .mirror import KNOWN

__all__ = ["RefCOCO", "RefCOCOPlus", "RefCOCOg"]

PUBLISHED = (
    "https://github.com/lichengunc/refer (its server is gone: copies of its archives on web.archive.org) and "
    "https://cocodataset.org (train2014)"
)
LICENCE = "annotations: research, see lichengunc/refer; pictures: Flickr's terms, see cocodataset.org"


class RefCOCO(Referring):
    """Segment the one object that a short expression means.

    ## Description
    Pictures of COCO's train2014 with several objects of one category, and expressions that two players of a game found for one
    of them ("lady in blue, far left"). ``testA`` has people, ``testB`` everything else. One sample for each sentence, in the
    order of the file. The object always exists.

    ## Action Space
    Calls of the toolset's tools; the answer is one mask (or an object's box, which counts with all its pixels).

    ## Observation Space
    The expression as it was typed (``raw``), and the picture.

    ## Starting State
    The expression and the whole picture.

    ## Rewards
    Primary score: IoU of the union of the submitted masks with the object, at the picture's own size.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``ref_id``, ``sent_id``, ``image_id``, ``ann_ids``. Samples of one picture are one cluster.

    ## Arguments
    ``split``: train, val, testA, testB (UNC's, as in papers); google_train, google_val, google_test. ``level``: 1.
    Option of the task: ``mirror``, ``jxu124/refcoco-benchmark`` on the Hugging Face hub or the folder of a copy of it
    (``RefCOCO:mirror=…``), which has everything but train.

    ## Metrics
    ``refcoco/native``: oIoU (often called cIoU), mIoU and Pr@0.5 to 0.9 at native size. Beside it ``refcoco/lavt480``, LAVT's
    numbers at 480 x 480, where pixels that two parts of an object cover become background, and ``refcoco/box``, Acc@0.5 of one
    box by plain IoU; where an annotation's own box cannot be used, that of its pixels is the truth.

    ## References
    Yu, Poirson, Yang, Berg and Berg, "Modeling Context in Referring Expressions", ECCV 2016. Files: lichengunc/refer@e3bbaa30
    refer.py. Pickles are read without executing anything of them. Layout: ``refcoco/refs(unc).p``, ``refcoco/instances.json``,
    ``images/mscoco/images/train2014/``; the picture's name comes from the image id, since that of a reference has a suffix.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "RefCOCO"
    kind: ClassVar[AnswerKind] = AnswerKind.MASK
    splits: ClassVar[tuple[str, ...]] = (
        "train", "val", "testA", "testB", "google_train", "google_val", "google_test",
    )  # fmt: skip
    profile: ClassVar[Profile] = PROFILES["refcoco/native"]
    also: ClassVar[tuple[Profile, ...]] = (PROFILES["refcoco/lavt480"], PROFILES["refcoco/box"])
    folder: ClassVar[str] = "refcoco"
    published: ClassVar[str] = PUBLISHED
    licence: ClassVar[str] = LICENCE
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"unc": ("refs(unc).p",), "google": ("refs(google).p",)}
    sizes: ClassVar[Mapping[str, int]] = {"train": 120_624, "val": 10_834, "testA": 5_657, "testB": 5_095}
    mirrored: ClassVar[str] = "refcoco"

    def __init__(self, root: str | Path | None = None, *, mirror: str | None = None) -> None:
        """Look for the data under ``root``, or where :func:`visenv.tasks.benchmark.data_root` says.

        Args:
            root: The data root.
            mirror: An id on the Hugging Face hub, or the folder of a copy, to read instead.

        Raises:
            BadValueError: The mirror loses something, or nobody here knows it.
        """
        found = None
        if mirror is not None:
            found = find_mirror(self.name, mirror, known=KNOWN, of="RefCOCO", published=self.published, root=root, folder=self.folder)  # fmt: skip
            self.splits = tuple(split for split in self.splits if "train" not in split)  # type: ignore[misc]
        super().__init__(root, mirror=found)
        self._copy = mirror

    def num_samples(self, split: str, level: int) -> int:
        """Return how many sentences there are on this disk."""
        if split in type(self).splits and split not in self.splits:
            remedy = f"The mirror {self._copy!r} leaves it out: read REFER's own files."
            raise unknown_name("split", split, self.splits, remedy=remedy)
        return super().num_samples(split, level)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "mirror": self._copy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_given"], mirror=state["mirror"])  # type: ignore[misc]

    def target(self, annotations: Sequence[Annotation], size_hw: tuple[int, int], names: Mapping[int, str]) -> Target:
        """Make the target: one mask, one box (that of the pixels where its own cannot be used), and the pixels that several of its parts cover."""
        if len(annotations) != 1:
            raise bad_value("ann_id", [len(annotations)], expected=f"one annotation for each sentence of {self.name}")
        mask, overlap = mask_of(annotations[0], size_hw)
        return Target(
            kind=AnswerKind.MASK, size_hw=size_hw, masks=(mask,), boxes_xyxy=(box_around(annotations[0], size_hw),),
            labels=labels_of(annotations, names), overlap=overlap,
        )  # fmt: skip


class RefCOCOPlus(RefCOCO):
    """Segment the one object that an expression means which does not say where it is.

    ## Description
    As RefCOCO, with players who were not allowed words of place ("lady in blue" instead of "far left").

    ## Action Space
    Calls of the toolset's tools; the answer is one mask (or an object's box, which counts with all its pixels).

    ## Observation Space
    The expression as it was typed (``raw``), and the picture.

    ## Starting State
    The expression and the whole picture.

    ## Rewards
    Primary score: IoU of the union of the submitted masks with the object, at the picture's own size.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``ref_id``, ``sent_id``, ``image_id``, ``ann_ids``. Samples of one picture are one cluster.

    ## Arguments
    ``split``: train, val, testA, testB (UNC's). ``level``: 1. Option of the task: ``mirror``, as of RefCOCO.

    ## Metrics
    As RefCOCO: ``refcoco/native``; beside it ``refcoco/lavt480`` and ``refcoco/box``.

    ## References
    As RefCOCO. Layout: ``refcoco+/refs(unc).p``, ``refcoco+/instances.json``.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "RefCOCOPlus"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "testA", "testB")
    folder: ClassVar[str] = "refcoco+"
    mirrored: ClassVar[str] = "refcoco_plus"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"unc": ("refs(unc).p",)}
    sizes: ClassVar[Mapping[str, int]] = {"train": 120_191, "val": 10_758, "testA": 5_726, "testB": 4_889}


class RefCOCOg(RefCOCO):
    """Segment the one object that a longer sentence describes.

    ## Description
    As RefCOCO, with sentences that were written without a game and are longer and more flowery.

    ## Action Space
    Calls of the toolset's tools; the answer is one mask (or an object's box, which counts with all its pixels).

    ## Observation Space
    The sentence as it was typed (``raw``), and the picture.

    ## Starting State
    The sentence and the whole picture.

    ## Rewards
    Primary score: IoU of the union of the submitted masks with the object, at the picture's own size.

    ## Episode End
    Terminated when an answer is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    ``sample_id``, ``reason``, ``error``, ``failed``, ``terms``; at the end ``score``. A sample's ``meta``, never shown to an agent:
    ``ref_id``, ``sent_id``, ``image_id``, ``ann_ids``. Samples of one picture are one cluster.

    ## Arguments
    ``split``: train, val, test (UMD's, as in papers); google_train, google_val, whose pictures overlap. ``level``: 1.
    Option of the task: ``mirror``, as of RefCOCO.

    ## Metrics
    As RefCOCO: ``refcoco/native``; beside it ``refcoco/lavt480`` and ``refcoco/box``.

    ## References
    Mao, Huang, Toshev, Camburu, Yuille and Murphy, "Generation and Comprehension of Unambiguous Object Descriptions", CVPR 2016;
    split "umd": Nagaraja, Morariu and Davis, ECCV 2016. Layout: ``refcocog/refs(umd).p``, ``refcocog/instances.json``.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "RefCOCOg"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test", "google_train", "google_val")
    folder: ClassVar[str] = "refcocog"
    mirrored: ClassVar[str] = "refcocog"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"umd": ("refs(umd).p",), "google": ("refs(google).p",)}
    sizes: ClassVar[Mapping[str, int]] = {
        "train": 80_512, "val": 4_896, "test": 9_602, "google_train": 85_474, "google_val": 9_536,
    }  # fmt: skip
