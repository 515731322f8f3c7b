"""A SAM 2 model of the ``sam2`` package as an expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...images import Image
from .._promptable import PromptableSegmenter, Prompts
from .._torch import hash_model

if TYPE_CHECKING:
    import torch

__all__ = ["Sam2Segmenter"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in [0, 1], as ImageNet has them."""
BOX_LABELS = (2, 3)
"""How the prompt encoder calls a box's corners when they are given as points, before the others."""


class Sam2Segmenter(PromptableSegmenter):
    """Segments objects from boxes, clicks, masks to refine, or any mix of them, with a SAM 2 or SAM 2.1 model.

    The masks are those of the package's ``SAM2ImagePredictor``; a picture is embedded once however many prompts and callers it
    has, and prompts of one form share a pass of the decoder.
    """

    name = "sam2"

    def __init__(
        self,
        model: Any,
        *,
        device: str = "auto",
        dtype: str = "float32",
        prompts: int = 0,
        pictures: int = 0,
        embeddings_mb: int = 1024,
    ) -> None:
        """Take over a ``SAM2Base`` model; the options are those of :func:`~visenv.experts.sam2.Sam2`."""
        from importlib.metadata import version

        super().__init__(device=device, dtype=dtype, prompts=prompts, pictures=pictures, embeddings_mb=embeddings_mb)
        self.model = model.to(self.device).eval()
        self.places = model.sam_prompt_encoder.get_dense_pe()
        self.mask_hw = model.sam_prompt_encoder.mask_input_size
        self.version = f"1/{version('sam2')}{self.passes}"
        self.weights_hash = hash_model(model, dtype=dtype, side=model.image_size)

    def embed(self, images: Sequence[Image]) -> list[dict[str, torch.Tensor]]:
        """Embed pictures in one pass: features at a quarter, an eighth and a sixteenth of the model's input."""
        import torch

        pixels = torch.stack([self._prepare(image) for image in images]).to(self.device)
        maps = self.model.forward_image(pixels)["backbone_fpn"][-self.model.num_feature_levels :]
        if self.model.directly_add_no_mem_embed:
            maps = [*maps[:-1], maps[-1] + self.model.no_mem_embed.reshape(1, -1, 1, 1)]
        cut = [[level[k : k + 1] for level in maps] for k in range(len(images))]
        if len(images) > 1:  # else each would hold on to the memory of all
            cut = [[level.clone() for level in levels] for levels in cut]
        return [dict(zip(("s4", "s8", "s16"), levels, strict=True)) for levels in cut]

    def decode(
        self, embeddings: Sequence[dict[str, torch.Tensor]], prompts: Prompts
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode prompts in one pass."""
        import torch

        is_one = all(e is embeddings[0] for e in embeddings)
        s4, s8, s16 = (
            embeddings[0][level] if is_one else torch.cat([e[level] for e in embeddings])
            for level in ("s4", "s8", "s16")
        )
        sparse, dense = self.model.sam_prompt_encoder(points=self._points(prompts), boxes=None, masks=prompts.masks)
        logits, scores, _, _ = self.model.sam_mask_decoder(
            image_embeddings=s16,
            image_pe=self.places,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=prompts.multimask,
            repeat_image=is_one and len(embeddings) > 1,
            high_res_features=[s4, s8],
        )
        return logits, scores

    def _prepare(self, image: Image) -> torch.Tensor:
        """Bring a picture to the square that the model takes, ``float32 (3, side, side)``.

        Source: ``SAM2Transforms`` in ``sam2/utils/transforms.py``, 1.1.0, which compiles the same steps by means that torch gives up.
        """
        from torchvision.transforms import functional

        pixels = functional.to_tensor(image.pixels.copy())
        side = self.model.image_size
        return functional.normalize(functional.resize(pixels, [side, side]), MEAN, STD)

    def _points(self, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return boxes and points as labelled points in pixels of the model's input."""
        import torch

        coords, labels = [], []
        if prompts.boxes_xyxy is not None:
            coords.append(prompts.boxes_xyxy.reshape(-1, 2, 2))
            labels.append(
                torch.tensor([BOX_LABELS], dtype=torch.int32, device=self.device).repeat(len(prompts.boxes_xyxy), 1)
            )
        if prompts.points_xy is not None and prompts.labels is not None:
            coords.append(prompts.points_xy)
            labels.append(prompts.labels)
        if not coords:
            return None
        return torch.cat(coords, 1) / prompts.sizes_wh[:, None] * self.model.image_size, torch.cat(labels, 1)
