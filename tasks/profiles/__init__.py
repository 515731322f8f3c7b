"""Metric profiles: pure functions from targets and answers to integer rows, and from rows to published numbers."""

from __future__ import annotations

from visenv.task import Profile

from . import dense200_rexomni, gres_native, multiqa_accuracy, reasonseg_lisa, rec8k_official

__all__ = ["PROFILES"]

PROFILES: dict[str, Profile] = {
    module.PROFILE.name: module.PROFILE
    for module in (dense200_rexomni, gres_native, multiqa_accuracy, reasonseg_lisa, rec8k_official)
}
"""Every profile by its name."""
