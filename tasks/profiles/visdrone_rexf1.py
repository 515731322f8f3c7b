"""``visdrone/rexf1``: Rex-Omni's F1 on VisDrone's boxes.

Source: as ``dense200/rexomni``, IDEA-Research/Rex-Omni@478e44f8, formulas only: not compared on VisDrone. Objects that VisDrone
ignores are left out of the truth, its regions play no role.
"""

from __future__ import annotations

from dataclasses import replace

from visenv.answers import Answer, Target
from visenv.task import Profile, Row

from . import dense200_rexomni

__all__ = ["PROFILE", "row"]


def row(target: Target, answer: Answer | None) -> Row:
    """Match one image's boxes by category, objects that VisDrone ignores left out of the truth."""
    if any(target.crowd):
        kept = [i for i, crowd in enumerate(target.crowd) if not crowd]
        target = replace(
            target,
            boxes_xyxy=tuple(target.boxes_xyxy[i] for i in kept),
            labels=tuple(target.labels[i] for i in kept),
            crowd=(),
        )
    return dense200_rexomni.row(target, answer)


PROFILE = Profile(
    name="visdrone/rexf1",
    source="IDEA-Research/Rex-Omni@478e44f8 evaluation/metrics/other_metric.py, formulas only: not compared on VisDrone",
    row=row,
    aggregate=dense200_rexomni.aggregate,
    primary=dense200_rexomni.primary,
)
