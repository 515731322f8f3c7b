"""The tools whose results hang on what experts found, and how the finds of each are checked."""

from __future__ import annotations

from . import _finds_full, _finds_rsagent, _finds_sam3agent, _finds_visharness
from ._finds import Derive

__all__ = ["DERIVED"]

DERIVED: dict[str, Derive] = {
    "MergeBoxMask": _finds_visharness.merge,
    "PhraseToBoxMask": _finds_visharness.searched,
    "PointToBoxMask": _finds_visharness.searched,
    "detect": _finds_full.detect,
    "prompt_box": _finds_rsagent.prompt_box,
    "prompt_point": _finds_rsagent.prompt_point,
    "refine": _finds_full.refine,
    "segment": _finds_full.segment,
    "segment_box": _finds_full.segment_box,
    "segment_phrase": _finds_sam3agent.segment_phrase,
    "segment_point": _finds_full.segment_point,
}
"""By name of the tool. All others are run again as they are: they ask no expert, or only say what one answered."""
