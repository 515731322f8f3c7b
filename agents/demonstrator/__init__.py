"""The upper bound of honest play: knows the target, but acts only through real tools on real experts. Privileged and unranked.

Its episodes are demonstrations to learn from: it names the category, keeps and drops what the detector found, clicks what
is missing, and clicks the largest error of a mask until it is good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from visenv import AnswerKind, EpisodeSpec, Mask, ToolCall
from visenv.agent import Privilege
from visenv.errors import UnsuitedError
from visenv.masks import box_iou_matrix, mask_iou_matrix
from visenv.objects import DetectedObject

__all__ = ["Demonstrator"]

PATCH_PX = 512
SAME_IOU = 0.5
"""Box IoU from which a detection is taken for a target."""
GOOD_IOU = 0.9
"""Mask IoU that needs no further click."""


class Demonstrator:
    """Plays the ``full`` toolset like an expert who sees the answer in the picture."""

    name = "demonstrator"

    def start(self, spec: EpisodeSpec) -> _DemonstratorPlayer:
        """Return a player for one episode.

        Raises:
            UnsuitedError: The runner did not grant the privilege, or the toolset is not ``full``.
        """
        if spec.privilege is None:
            raise UnsuitedError(
                "The demonstrator needs to know the target. Expected a privilege. Play it with `visenv bench`."
            )
        missing = {"detect", "segment", "segment_point", "refine", "keep", "split"} - set(spec.toolset.names)
        if missing:
            raise UnsuitedError(
                f"`demonstrator` needs the tools {', '.join(sorted(missing))}. Play it with --toolset full."
            )
        return _DemonstratorPlayer(spec, spec.privilege)


class _DemonstratorPlayer:
    def __init__(self, spec: EpisodeSpec, privilege: Privilege) -> None:
        self._spec = spec
        self._privilege = privilege
        self._now: dict[str, Any] = {}
        self._plan: Iterator[ToolCall] | None = None

    def act(self, observation: dict[str, Any]) -> ToolCall:
        """Return the next call of the demonstration."""
        self._now = observation
        if self._plan is None:
            self._plan = self._choose() if self._spec.kind is AnswerKind.CHOICE else self._collect()
        return next(self._plan)

    @property
    def _left(self) -> int:
        """Turns left after the submission is paid for."""
        played: int = self._now["turn"]
        return self._spec.max_turns - played - 1

    def _collect(self) -> Iterator[ToolCall]:
        target = self._privilege.target
        if not target.boxes_xyxy:
            yield _call("detect", images=["img_0"], phrase="object")
            yield _call("submit_none")
        height, width = target.size_hw
        views = ["img_0"]
        if self._spec.kind is AnswerKind.BOXES and max(height, width) > PATCH_PX:
            yield _call("split", images=["img_0"], patch_size=PATCH_PX)
            views = [i["name"] for i in self._now["archive"] if i["name"].startswith("img_0_r")]
        for label in dict.fromkeys(target.labels):
            if self._left > 3:
                yield _call("detect", images=views, phrase=label)
        if len(self._matches()) < len(target.boxes_xyxy) and self._left > 3 and self._spec.kind is AnswerKind.MASK:
            yield _call("detect", images=views, phrase="object")
        keep = sorted(self._matches().values())
        if keep and len(keep) < len(self._now["objects"]):
            yield _call("keep", objects=keep)
        elif not keep and self._now["objects"]:
            yield _call("drop", objects=[o["id"] for o in self._now["objects"]])
        if self._spec.kind is AnswerKind.MASK:
            yield from self._segment_well()
        else:
            yield from self._add_missing(reserve=1)
        wrong = sorted({o.id for o in self._privilege.objects} - set(self._matches().values()))
        if wrong and len(wrong) < len(self._now["objects"]) and self._left > 0:
            yield _call("drop", objects=wrong)
        yield _call("submit" if self._now["objects"] else "submit_none")

    def _choose(self) -> Iterator[ToolCall]:
        yield _call("detect", images=list(self._now["image_names"]), phrase="object")
        yield _call("submit_choice", choice=self._privilege.target.choice)

    def _matches(self) -> dict[int, int]:
        """Which object (id) stands for which target (index), best overlaps first."""
        objects = list(self._privilege.objects)
        iou = box_iou_matrix(self._privilege.target.boxes_xyxy, [o.box_xyxy for o in objects])
        pairs: dict[int, int] = {}
        for flat in np.argsort(-iou, axis=None):
            i, j = np.unravel_index(flat, iou.shape)
            if iou[i, j] < SAME_IOU:
                break
            if int(i) not in pairs and objects[j].id not in pairs.values():
                pairs[int(i)] = objects[j].id
        return pairs

    def _segment_well(self) -> Iterator[ToolCall]:
        """Masks for what was kept, a click for each target that is missing, then clicks at the largest errors."""
        plain = [o["id"] for o in self._now["objects"]]
        if plain:
            yield _call("segment", objects=plain)
        yield from self._add_missing(reserve=2)
        given_up: set[int] = set()
        while self._left > 1:
            click = self._largest_error(given_up)
            if click is None:
                return
            before = self._iou_of(click.object_id, click.target)
            yield _call("refine", object=click.object_id, image="img_0", x=click.x, y=click.y, sign=click.sign)
            if self._iou_of(click.object_id, click.target) < before - 1e-9 and self._left > 1:
                given_up.add(click.object_id)
                yield _call("undo")

    def _add_missing(self, *, reserve: int) -> Iterator[ToolCall]:
        target = self._privilege.target
        for index in range(len(target.boxes_xyxy)):
            if self._left <= reserve:
                return
            if index in self._matches():
                continue
            x1, y1, x2, y2 = _to_1000(target.boxes_xyxy[index], target.size_hw)
            label = target.labels[index]
            yield _call("segment_box", image="img_0", x1=x1, y1=y1, x2=x2, y2=y2, label=label)

    def _iou_of(self, object_id: int, target: Mask) -> float:
        found = next((o for o in self._privilege.objects if o.id == object_id), None)
        if found is None or found.mask is None:
            return 0.0
        return float(mask_iou_matrix([found.mask], [target])[0, 0])

    def _largest_error(self, given_up: set[int]) -> _Click | None:
        """The place to click: the middle of the largest wrong region among the masks that are not good yet."""
        target = self._privilege.target
        by_id = {o.id: o for o in self._privilege.objects}
        best: _Click | None = None
        for index, object_id in self._matches().items():
            found = by_id[object_id]
            if object_id in given_up or found.mask is None or not target.masks:
                continue
            truth = target.masks[index]
            if self._iou_of(object_id, truth) >= GOOD_IOU:
                continue
            click = _click_for(found, truth, [m for k, m in enumerate(target.masks) if k != index])
            if click is not None and (best is None or click.depth > best.depth):
                best = click
        return best


@dataclass(frozen=True, kw_only=True, slots=True)
class _Click:
    object_id: int
    target: Mask
    x: int
    y: int
    sign: str
    depth: float
    """Pixels from the click to the border of the wrong region."""


def _click_for(found: DetectedObject, truth: Mask, others: Sequence[Mask]) -> _Click | None:
    assert found.mask is not None
    have, want = found.mask.to_dense(), truth.to_dense()
    missing, extra = want & ~have, have & ~want
    for other in others:  # another target's pixels are not an error of the answer
        extra &= ~other.to_dense()
    best: _Click | None = None
    for wrong, sign in ((missing, "positive"), (extra, "negative")):
        depth = cv2.distanceTransform(np.pad(wrong, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[y, x] >= 1.5 and (best is None or depth[y, x] > best.depth):
            height, width = wrong.shape
            best = _Click(
                object_id=found.id, target=truth, x=round((x + 0.5) * 1000 / width), y=round((y + 0.5) * 1000 / height),
                sign=sign, depth=float(depth[y, x]),
            )  # fmt: skip
    return best


def _to_1000(box: Sequence[float], size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    height, width = size_hw
    x1, y1, x2, y2 = (float(v) for v in box)
    left, top = int(x1 * 1000 / width), int(y1 * 1000 / height)
    return (
        left,
        top,
        max(left + 1, min(1000, -int(-x2 * 1000 // width))),
        max(top + 1, min(1000, -int(-y2 * 1000 // height))),
    )


def _call(name: str, **arguments: Any) -> ToolCall:
    return {"name": name, "arguments": arguments}
