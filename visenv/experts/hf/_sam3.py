"""SAM 3: a phrase to boxes and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...images import Image
from ...masks import Mask
from .._protocol import Detections
from ._detector import HFDetector, as_scores
from ._pictures import prepare

__all__ = ["Sam3"]

MASK_THRESHOLD = 0.5
"""A pixel belongs to an object from this probability on, as in Transformers."""


class Sam3(HFDetector):
    """Finds what a phrase names, each object with its mask. A picture is embedded once for all its phrases.

    The score of an object is that of the object times that of the phrase being there at all.
    """

    default_threshold: ClassVar[float] = 0.3

    def find(self, asked: Mapping[Image, Sequence[str]]) -> dict[tuple[Image, str], Detections]:
        """Find what phrases name."""
        found: dict[tuple[Image, str], Detections] = {}
        images = list(asked)
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            for image, embedded in zip(part, self.embeddings.get(part, self._embed), strict=True):
                for phrase in asked[image]:
                    found[image, phrase] = self._find_one(image, embedded, phrase)
        return found

    def _embed(self, images: list[Image]) -> list[dict[str, list[Any]]]:
        """Embed pictures: feature maps and their positions, coarser and coarser."""
        pixels = prepare(self.processor.image_processor, images).pixel_values
        seen = self.model.get_vision_features(pixel_values=pixels.to(self.device))
        return [
            {
                "maps": [level[k : k + 1].clone() for level in seen.fpn_hidden_states],
                "places": [level[k : k + 1].clone() for level in seen.fpn_position_encoding],
            }
            for k in range(len(images))
        ]

    def _find_one(self, image: Image, embedded: Mapping[str, list[Any]], phrase: str) -> Detections:
        from torch.nn import functional
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenize(phrase, length, padding="max_length").to(self.device)
        outputs = self.model(
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=tuple(embedded["maps"]), fpn_position_encoding=tuple(embedded["places"])
            ),
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask,
        )  # fmt: skip
        scores = (outputs.pred_logits[0].float().sigmoid() * outputs.presence_logits[0].float().sigmoid()).cpu().numpy()
        width, height = image.size_wh
        boxes, kept = self.clean(
            image, outputs.pred_boxes[0].float().cpu().numpy() * [width, height, width, height], scores
        )
        masks = []
        for k in kept:  # one by one: two hundred full-size masks at once need gigabytes
            share = functional.interpolate(
                outputs.pred_masks[0, k].float().sigmoid()[None, None], (height, width), mode="bilinear"
            )
            masks.append(Mask.from_dense((share[0, 0] > MASK_THRESHOLD).cpu().numpy()))
        full = [place for place, mask in enumerate(masks) if mask.area_px]
        return Detections(
            boxes_xyxy=boxes[full], scores=as_scores(scores, kept)[full], labels=(phrase,) * len(full),
            masks=tuple(masks[place] for place in full),
        )  # fmt: skip
