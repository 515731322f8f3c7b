"""What a tool may know of the episode it is called in: read-only, with errors worded for the agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from .answers import Answer, AnswerKind, Box
from .arguments import MAX_NAME
from .coordinates import THOUSANDTHS, Coordinates
from .errors import short, suggest
from .masks import Mask
from .memory import Matrix, NamedImage
from .objects import DetectedObject, describe_objects
from .tools import CallError, NewImage

__all__ = ["ToolContext", "invert_matrix", "map_points"]


def map_points(points_xy: Sequence[Sequence[float]] | np.ndarray, matrix: Matrix) -> np.ndarray:
    """Map points by a 2x3 affine matrix, ``float64 (N, 2)``."""
    points = np.asarray(points_xy, np.float64).reshape(-1, 2)
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert_matrix(matrix: Matrix) -> Matrix:
    """Return the inverse of a 2x3 affine matrix."""
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolContext:
    """The episode as a tool sees it."""

    turn: int
    """The turn of this call, from 1."""
    kind: AnswerKind
    images: Mapping[str, NamedImage]
    """Every image by name."""
    sources: tuple[str, ...]
    """Names of the original images."""
    objects: tuple[DetectedObject, ...]
    next_object_id: int
    history: tuple[tuple[DetectedObject, ...], ...]
    """Earlier object tables, oldest first, for undo."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """The toolset's private state."""
    coordinates: Coordinates = THOUSANDTHS
    """How the agent reads and writes places."""

    def image(self, name: str) -> NamedImage:
        """Return an image that tools may take.

        Raises:
            CallError: ``unknown_image``, or ``not_an_input`` for an overlay.
        """
        usable = [n for n, i in self.images.items() if not i.is_overlay]
        found = self.images.get(name)
        if found is None:
            listed = ", ".join(usable[:12]) + (" …" if len(usable) > 12 else "")
            raise CallError(
                "unknown_image", f"There is no image {short(name)}.{suggest(name, usable)} Images: {listed}."
            )
        if found.is_overlay:
            raise CallError(
                "not_an_input", f"{name!r} is a picture of results. Pass the image it shows: {found.parent!r}."
            )
        return found

    def free_name(self, name: str) -> str:
        """Return a name for a new image, ``name`` itself or, if an image has it, ``name_2`` and so on.

        Raises:
            CallError: ``name_too_long``, after too many steps from image to image.
        """
        free, number = name, 2
        while free in self.images:
            free, number = f"{name}_{number}", number + 1
        if len(free) > MAX_NAME:
            raise CallError(
                "name_too_long", f"{free!r} is too many steps away from an original. Start from an earlier image."
            )
        return free

    def objects_by_id(self, ids: Sequence[int]) -> list[DetectedObject]:
        """Return objects by id.

        Raises:
            CallError: ``unknown_object``.
        """
        by_id = {o.id: o for o in self.objects}
        for one in ids:
            if one not in by_id:
                listed = ", ".join(str(i) for i in list(by_id)[:20]) or "none yet"
                raise CallError("unknown_object", f"There is no object #{one}. Objects: {listed}.")
        return [by_id[i] for i in ids]

    def box_in(self, image: NamedImage, x1: int, y1: int, x2: int, y2: int) -> Box:
        """Return a 0-1000 box in pixels of ``image``.

        Raises:
            CallError: ``empty_box``.
        """
        width, height = image.size_wh
        box = x1 * width / 1000, y1 * height / 1000, x2 * width / 1000, y2 * height / 1000
        if x2 <= x1 or y2 <= y1:
            raise CallError(
                "empty_box",
                f"Box {self.write(image, *box)} of image {image.name!r} is empty. Expected x1 < x2 and y1 < y2.",
            )
        return box

    def box_to_source(self, image: NamedImage, box_xyxy: Sequence[float]) -> Box:
        """Map a box from pixels of an image to pixels of its source, clipped to it."""
        (xa, ya), (xb, yb) = map_points(np.reshape(np.asarray(box_xyxy, np.float64), (2, 2)), image.to_source)
        width, height = self.images[image.source].size_wh
        x1, x2 = sorted((min(max(xa, 0.0), width), min(max(xb, 0.0), width)))
        y1, y2 = sorted((min(max(ya, 0.0), height), min(max(yb, 0.0), height)))
        return float(x1), float(y1), float(x2), float(y2)

    def mask_to_source(self, image: NamedImage, mask: Mask) -> Mask:
        """Map a mask from an image to its source."""
        if image.name == image.source:
            return mask
        width, height = self.images[image.source].size_wh
        return mask.warp(image.to_source, (height, width))

    def describe(self, objects: Sequence[DetectedObject]) -> str:
        """List objects in text, boxes in their source image."""
        return describe_objects(objects, {n: i.size_wh for n, i in self.images.items()}, self.coordinates)

    def write(self, image: NamedImage, *values_px: float) -> str:
        """Write a point or a box in pixels of an image as the agent reads it."""
        return self.coordinates.write(values_px, image.size_wh)

    def write_size(self, size_wh: tuple[int, int]) -> str:
        """Write an image's size as the agent reads it."""
        width, height = self.coordinates.seen_wh(size_wh)
        return f"{width} x {height} px"

    def overlay(self, image: NamedImage, objects: Sequence[DetectedObject], origin: str) -> NewImage:
        """Draw objects on an image (or a view of it) as a new overlay image."""
        from .drawing import draw_objects

        matrix = None if image.name == image.source else invert_matrix(image.to_source)
        here = [o for o in objects if o.image == image.source]
        return NewImage(
            name="view", image=draw_objects(image.image, here, from_source=matrix), parent=image.name, origin=origin,
            objects=tuple(here),
        )  # fmt: skip

    def answer(self, objects: Sequence[DetectedObject]) -> Answer:
        """Make the answer that submits these objects, seen from the first source image.

        An object without a mask counts with its box's pixels where masks are wanted.
        """
        first = self.images[self.sources[0]]
        size_hw = first.size_wh[1], first.size_wh[0]
        here = [o for o in objects if o.image == first.name]
        masks: tuple[Mask, ...] = ()
        if self.kind is AnswerKind.MASK:
            masks = tuple(o.mask if o.mask is not None else Mask.from_box(o.box_xyxy, size_hw) for o in here)
        return Answer(masks=masks, boxes_xyxy=tuple(o.box_xyxy for o in here), labels=tuple(o.label for o in here))
