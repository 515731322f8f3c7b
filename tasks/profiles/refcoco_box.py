"""``refcoco/box``: share of samples whose single box has an IoU of at least one half with the target's.

Source: eval_mm/evaluate_grounding.py of QwenLM/Qwen-VL@aa00ed04, from its description: not compared with running code. Plain
IoU, no "+1"; more boxes than one are wrong, so nothing can be picked by looking at the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visenv.answers import Answer, Box, Target
from visenv.masks import box_iou_matrix, union_masks
from visenv.task import Metrics, Profile, Row

__all__ = ["PROFILE", "aggregate", "primary", "row"]

THRESHOLD = 0.5


def row(target: Target, answer: Answer | None) -> Row:
    """Compare one box; masks count as the tight box around all of them."""
    truth = target.boxes_xyxy if len(target.boxes_xyxy) == 1 else _tight(target)
    given = _submitted(target, answer)
    iou = float(box_iou_matrix([truth[0]], [given[0]])[0, 0]) if len(truth) == 1 == len(given) else 0.0
    return {"right": iou >= THRESHOLD, "n_pred": len(given), "failed": answer is None}


def aggregate(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """Reduce rows to a fraction."""
    return {"Acc@0.5": sum(r["right"] for r in rows) / len(rows) if rows else None}


def primary(row: Mapping[str, Any]) -> float:
    """Return 1 for the right box, else 0."""
    return float(row["right"])


def _tight(target: Target) -> tuple[Box, ...]:
    return (_box(target.union.box_xyxy),) if target.masks else ()


def _submitted(target: Target, answer: Answer | None) -> tuple[Box, ...]:
    """Return the submitted boxes; of masks (of one object in parts, say) the one box around all of them."""
    if answer is None or answer.no_target:
        return ()
    if answer.masks and len(answer.boxes_xyxy) != 1:
        return (_box(union_masks(answer.masks, target.size_hw).box_xyxy),)
    return answer.boxes_xyxy


def _box(values: tuple[int, int, int, int]) -> Box:
    x1, y1, x2, y2 = map(float, values)
    return x1, y1, x2, y2


PROFILE = Profile(
    name="refcoco/box",
    source="QwenLM/Qwen-VL@aa00ed04 eval_mm/evaluate_grounding.py: from the description, not compared with running code",
    row=row,
    aggregate=aggregate,
    primary=primary,
)
