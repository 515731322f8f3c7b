"""Metric profiles: pure functions from targets and answers to integer rows, and from rows to published numbers."""

from __future__ import annotations

from visenv.task import Profile

from . import (
    blink,
    coco_ap,
    dense200_rexomni,
    dense200_visharness,
    grec,
    gres_gsva,
    gres_native,
    gres_rela,
    hrbench_letter,
    muirbench_official,
    multiqa_accuracy,
    reasonseg_lisa,
    reasonseg_mirror,
    rec8k_official,
    refcoco_box,
    refcoco_masks,
    visdrone_rexf1,
    visdrone_toolkit,
    vstar,
)

__all__ = ["PROFILES"]

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        blink.MICRO,
        blink.OFFICIAL,
        coco_ap.COCO,
        coco_ap.VISDRONE,
        dense200_rexomni.PROFILE,
        dense200_visharness.PROFILE,
        grec.IOU,
        grec.MDETR,
        gres_gsva.PROFILE,
        gres_native.PROFILE,
        gres_rela.PROFILE,
        hrbench_letter.PROFILE,
        muirbench_official.PROFILE,
        multiqa_accuracy.PROFILE,
        reasonseg_lisa.PROFILE,
        reasonseg_mirror.SEGZERO,
        reasonseg_mirror.SEGZERO_MULTI,
        reasonseg_mirror.VISIONREASONER,
        rec8k_official.PROFILE,
        refcoco_box.PROFILE,
        refcoco_masks.LAVT480,
        refcoco_masks.NATIVE,
        visdrone_rexf1.PROFILE,
        visdrone_toolkit.PROFILE,
        vstar.LETTER,
        vstar.LIKELIHOOD,
    )
}
"""Every profile by its name."""
