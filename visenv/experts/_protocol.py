"""Requests to visual experts, their results, and what an expert is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from ..answers import Box
from ..errors import ExpertError
from ..images import Image
from ..masks import Mask

__all__ = [
    "MAX_DESCRIPTION",
    "Capability",
    "DescribeRequest",
    "Description",
    "DetectRequest",
    "Detections",
    "Expert",
    "PointRequest",
    "Points",
    "ReadRequest",
    "Request",
    "Result",
    "SegmentRequest",
    "Segmentation",
    "TextLines",
    "UpscaleRequest",
    "Upscaled",
]

Capability = Literal["detect", "segment", "point", "upscale", "read", "describe"]
"""What an expert can be asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectRequest:
    """Find every object that a noun phrase names."""

    capability: ClassVar[Capability] = "detect"
    image: Image
    phrase: str

    def key(self) -> tuple[Any, ...]:
        """Return what the answer depends on besides the expert: the cache key."""
        return self.capability, self.image.hash, self.phrase


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentRequest:
    """Segment one object from a box, from clicks, or both."""

    capability: ClassVar[Capability] = "segment"
    image: Image
    box_xyxy: Box | None = None
    """Pixels of ``image``."""
    points_xy: tuple[tuple[float, float], ...] = ()
    """Clicks in pixels of ``image``."""
    points_positive: tuple[bool, ...] = ()
    """For each click, whether it lies on the object (else it must be left out)."""
    previous: Mask | None = None
    """The mask to refine, if any, of the size of ``image``."""
    prefer: Literal["score", "area"] = "score"
    """Which of several candidate masks to return, for experts that make several: the surest or the largest."""

    def key(self) -> tuple[Any, ...]:
        """Return what the answer depends on besides the expert: the cache key."""
        return (
            self.capability, self.image.hash, self.box_xyxy, self.points_xy, self.points_positive,
            self.previous and self.previous.counts, self.prefer,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class PointRequest:
    """Point at every object that a phrase names."""

    capability: ClassVar[Capability] = "point"
    image: Image
    phrase: str

    def key(self) -> tuple[Any, ...]:
        """Return what the answer depends on besides the expert: the cache key."""
        return self.capability, self.image.hash, self.phrase


@dataclass(frozen=True, kw_only=True, slots=True)
class UpscaleRequest:
    """Enlarge an image by a whole factor."""

    capability: ClassVar[Capability] = "upscale"
    image: Image
    scale: int

    def key(self) -> tuple[Any, ...]:
        """Return what the answer depends on besides the expert: the cache key."""
        return self.capability, self.image.hash, self.scale


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRequest:
    """Read the text in an image."""

    capability: ClassVar[Capability] = "read"
    image: Image

    def key(self) -> tuple[Any, ...]:
        """Return what the answer depends on besides the expert: the cache key."""
        return self.capability, self.image.hash


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribeRequest:
    """Answer a question about an image in words."""

    capability: ClassVar[Capability] = "describe"
    image: Image
    question: str

    def key(self) -> tuple[Any, ...]:
        """Return what the answer depends on besides the expert: the cache key."""
        return self.capability, self.image.hash, self.question


@dataclass(frozen=True, kw_only=True, slots=True)
class Detections:
    """Boxes by descending score."""

    boxes_xyxy: npt.NDArray[np.float64]
    """``float64 (N, 4)``, pixels of the request's image, half-open."""
    scores: npt.NDArray[np.float64]
    """``float64 (N,)`` in [0, 1]."""
    labels: tuple[str, ...]
    """What the expert calls each object."""
    masks: tuple[Mask, ...] | None = None
    """One mask per box when the expert makes them anyway."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmentation:
    """The mask of one object."""

    mask: Mask
    score: float
    """The expert's own confidence in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """Points by descending score."""

    points_xy: npt.NDArray[np.float64]
    """``float64 (N, 2)``, pixels of the request's image."""
    scores: npt.NDArray[np.float64]
    """``float64 (N,)`` in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upscaled:
    """The enlarged image."""

    image: Image


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLines:
    """Lines of text with their boxes, in reading order."""

    lines: tuple[str, ...]
    boxes_xyxy: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What an expert says in words."""

    text: str
    """At most ``MAX_DESCRIPTION`` characters, not only spaces."""


MAX_DESCRIPTION = 4000
Request = DetectRequest | SegmentRequest | PointRequest | UpscaleRequest | ReadRequest | DescribeRequest
Result = Detections | Segmentation | Points | Upscaled | TextLines | Description


class Expert(ABC):
    """A visual model behind a tool. Deterministic: equal requests give equal results, whatever else is in the batch.

    Subclasses set the class attributes and write :meth:`run`; nothing else is asked of them. ``run`` may be called from several
    threads at once; an expert that cannot bear it holds a lock.
    """

    name: str
    """Short name, as on the command line."""
    version: str
    """Changes whenever results may change; with options that change results it names them."""
    weights_hash: str = ""
    """Hex hash of the weights, tables and options the results depend on."""
    capabilities: frozenset[Capability]
    """What it answers."""
    batch_pixels: int = 2**25
    """Most pixels that one batch holds, a picture counted for each request about it; a larger one comes alone. Batches are smaller
    for a while after memory ran out."""
    mixed_sizes: bool = False
    """Whether a batch may hold pictures of several sizes."""
    _lowered: Mapping[
        Capability, tuple[int, float]
    ] = {}  # pixels that fit instead, and until when; kept by `run_isolated`

    @abstractmethod
    def run(self, requests: Sequence[Request]) -> Sequence[Result | ExpertError]:
        """Answer a batch, all of one capability, in order.

        Returns:
            A list with one result for each request. An :class:`~visenv.errors.ExpertError` in a result's place says that this request
            cannot be answered: it is not asked again. An expert that cannot tell raises instead.

        Raises:
            TemporaryExpertError: Nothing can be answered now; whoever asks may ask later.
            ExpertError: The batch cannot be answered; the caller then asks for parts of it, down to each request alone.
        """

    @property
    def identity(self) -> str:
        """Name, version and weights, as recorded with every result."""
        return f"{self.name}@{self.version}" + (f"+{self.weights_hash[:12]}" if self.weights_hash else "")

    def health(self) -> str:
        """Say in a few words what is known of its being able to answer, without answering anything.

        An expert that needs something outside this process (a server, a device) looks whether it is there. By default all that is
        known is that it was made. Only `visenv doctor` and the route of a server call this; a run finds out by asking.

        Raises:
            ExpertError: It cannot answer, and why.
        """
        return "loaded"

    def trim(self) -> bool:
        """Give back memory that holds what can be made again, such as embeddings; called when memory ran out.

        Returns:
            Whether there was any.
        """
        return False

    def close(self) -> None:  # noqa: B027 - most experts hold nothing
        """Give back what the expert holds. Experts made together are closed one by one: what they share stays while one is open."""
