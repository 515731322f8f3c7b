"""Grounding DINO and MM Grounding DINO: a phrase to boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...errors import ExpertError
from ...images import Image
from .._protocol import Detections
from ._detector import HFDetector
from ._pictures import prepare

__all__ = ["GroundingDino"]


class GroundingDino(HFDetector):
    """Finds what a phrase names. Words and pictures meet early in the model, so each phrase is a pass of its own.

    The score of a box is that of the phrase's likeliest word, as Transformers reports it.
    """

    options: ClassVar[frozenset[str]] = frozenset({"threshold", "overlap", "batch"})
    default_threshold: ClassVar[float] = 0.3

    def find(self, asked: Mapping[Image, Sequence[str]]) -> dict[tuple[Image, str], Detections]:
        """Find what phrases name."""
        groups: dict[tuple[Any, ...], list[tuple[Image, str, Any]]] = {}
        for image, phrases in asked.items():
            for phrase in phrases:
                # A full stop separates phrases for the model.
                text = " ".join(phrase.lower().replace(".", " ").split()) + "."
                tokens = self.tokenize(text, int(self.model.config.max_text_len))
                # Together with others a picture or a phrase would be padded, and padding changes results.
                groups.setdefault((image.size_wh, tokens.input_ids.shape[1]), []).append((image, phrase, tokens))
        found: dict[tuple[Image, str], Detections] = {}
        for members in groups.values():
            for start in range(0, len(members), self.batch):
                found |= self._pass(members[start : start + self.batch])
        return found

    def _pass(self, members: list[tuple[Image, str, Any]]) -> dict[tuple[Image, str], Detections]:
        """Run the model on pictures of one size with phrases of one length."""
        import torch

        pictures = prepare(self.processor.image_processor, [image for image, _, _ in members])
        words = {key: torch.cat([tokens[key] for _, _, tokens in members]) for key in members[0][2]}
        inputs = {key: value.to(self.device) for key, value in {**pictures, **words}.items()}
        try:
            outputs = self.model(**inputs)
        except ValueError as error:  # the coarsest feature map has a single place, which cannot be normalised
            size = " x ".join(map(str, members[0][0].size_wh))
            raise ExpertError(f"{self.name} cannot look at a picture of {size} px: {error}") from error
        scores = outputs.logits.float().sigmoid().amax(-1).cpu().numpy()
        centres, sides = outputs.pred_boxes.float().split(2, -1)
        boxes = torch.cat([centres - sides / 2, centres + sides / 2], -1).cpu().numpy()
        return {
            (image, phrase): self.make_detections(image, phrase, boxes[k] * [*image.size_wh, *image.size_wh], scores[k])
            for k, (image, phrase, _) in enumerate(members)
        }
