"""OWLv2: phrases to boxes, all phrases over one picture in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from ...images import Image
from .._protocol import Detections
from ._detector import HFDetector
from ._pictures import prepare

if TYPE_CHECKING:
    import torch

__all__ = ["Owlv2"]


class Owlv2(HFDetector):
    """Finds what phrases name. A picture is embedded once and every phrase compared with its parts.

    The score of a box is that of the phrase asked for, whatever else is asked beside it.
    """

    default_threshold: ClassVar[float] = 0.1

    def find(self, asked: Mapping[Image, Sequence[str]]) -> dict[tuple[Image, str], Detections]:
        """Find what phrases name."""
        words = self._embed_words(sorted({phrase for phrases in asked.values() for phrase in phrases}))
        found: dict[tuple[Image, str], Detections] = {}
        images = list(asked)
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            for image, embedded in zip(part, self.embeddings.get(part, self._embed), strict=True):
                found |= self._compare(image, embedded, {phrase: words[phrase] for phrase in asked[image]})
        return found

    def _embed_words(self, phrases: Sequence[str]) -> dict[str, torch.Tensor]:
        """Embed phrases, each ``(D,)``, one by one: beside others its numbers would differ in their last bits."""
        found = {}
        for phrase in phrases:
            limit = self.model.config.text_config.max_position_embeddings
            tokens = self.tokenize(phrase, limit, padding="max_length").to(self.device)
            embedded = self.model.owlv2.get_text_features(
                input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
            ).pooler_output[0]
            found[phrase] = embedded / embedded.norm()
        return found

    def _embed(self, images: list[Image]) -> list[dict[str, torch.Tensor]]:
        """Embed pictures: features of their parts ``(1, P, D)`` and the box of each part, centre and sides as shares."""
        pixels = prepare(self.processor.image_processor, images).pixel_values
        feature_map, _ = self.model.image_embedder(pixels.to(self.device))
        features = feature_map.reshape(len(images), -1, feature_map.shape[-1])
        boxes = self.model.box_predictor(features, feature_map)
        return [{"features": features[k : k + 1].clone(), "boxes": boxes[k].clone()} for k in range(len(images))]

    def _compare(
        self, image: Image, embedded: Mapping[str, torch.Tensor], words: Mapping[str, torch.Tensor]
    ) -> dict[tuple[Image, str], Detections]:
        import torch

        side = max(image.size_wh)  # the model sees the picture padded to a square at the right and at the bottom
        centres, sides = embedded["boxes"].float().split(2, -1)
        boxes = (torch.cat([centres - sides / 2, centres + sides / 2], -1) * side).cpu().numpy()
        found = {}
        for phrase, query in words.items():
            logits, _ = self.model.class_predictor(embedded["features"], query[None, None])
            found[image, phrase] = self.make_detections(
                image, phrase, boxes, logits[0, :, 0].float().sigmoid().cpu().numpy()
            )
        return found
