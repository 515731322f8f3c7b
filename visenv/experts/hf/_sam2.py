"""SAM 2 as Transformers ships it: boxes, signed points and masks to masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ...images import Image
from .._promptable import PromptableSegmenter, Prompts
from .._torch import hash_model
from ._pictures import prepare
from ._settings import settings_of

if TYPE_CHECKING:
    import torch

__all__ = ["HFSam2"]


class HFSam2(PromptableSegmenter):
    """Segments objects from boxes, clicks, masks to refine, or any mix of them."""

    options: ClassVar[frozenset[str]] = frozenset({"batch", "prompts", "embeddings_mb"})

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        model_type: str,
        device: str = "auto",
        dtype: str = "float32",
        batch: int = 0,
        prompts: int = 0,
        embeddings_mb: int = 1024,
    ) -> None:
        """Take over a model and its processor; the options are those of :func:`~visenv.experts.hf.HF`."""
        import transformers

        super().__init__(device=device, dtype=dtype, prompts=prompts, pictures=batch, embeddings_mb=embeddings_mb)
        self.model = model.to(self.device).eval()
        self.processor = processor
        self.name = f"hf-{model_type}"
        self.version = f"1/{transformers.__version__}{self.passes}"
        self.mask_hw = model.prompt_encoder.mask_input_size
        self.weights_hash = hash_model(
            model, config=settings_of(model.config), images=settings_of(processor.image_processor), dtype=dtype
        )

    def embed(self, images: Sequence[Image]) -> list[list[torch.Tensor]]:
        """Embed pictures in one pass: features at a quarter, an eighth and a sixteenth of the model's input."""
        pixels = prepare(self.processor.image_processor, images).pixel_values
        maps = self.model.get_image_embeddings(pixels.to(self.device))
        cut = [[level[k : k + 1] for level in maps] for k in range(len(images))]
        return cut if len(images) == 1 else [[level.clone() for level in levels] for levels in cut]

    def decode(self, embeddings: Sequence[list[torch.Tensor]], prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode prompts in one pass."""
        import torch

        if all(e is embeddings[0] for e in embeddings):
            maps = [level.expand(len(embeddings), -1, -1, -1) for level in embeddings[0]]
        else:
            maps = [torch.cat(levels) for levels in zip(*embeddings, strict=True)]
        scale = self.processor.target_size / prompts.sizes_wh  # (B, 2)
        points, boxes = prompts.points_xy, prompts.boxes_xyxy
        outputs = self.model(
            image_embeddings=maps,
            input_points=None if points is None else (points * scale[:, None])[:, None],
            input_labels=None if prompts.labels is None else prompts.labels[:, None],
            input_boxes=None if boxes is None else (boxes * scale.repeat(1, 2))[:, None],
            input_masks=prompts.masks,
            multimask_output=prompts.multimask,
        )
        return outputs.pred_masks[:, 0], outputs.iou_scores[:, 0]
