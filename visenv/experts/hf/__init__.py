"""Models of Transformers: Grounding DINO, OWLv2, SAM 3 (phrases), SAM 2 (prompts) and Swin2SR (enlarging)."""

from ._loading import HF, TASKS

__all__ = ["HF", "TASKS"]
