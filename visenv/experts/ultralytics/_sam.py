"""SAM, MobileSAM and SAM 2 as the ``ultralytics`` package has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import bad_value
from ...images import Image
from ...masks import Mask
from .._options import check_count
from .._promptable import MASK_BIAS, MASK_SCALE, PromptableSegmenter, Prompts
from .._torch import hash_model

if TYPE_CHECKING:
    import torch

__all__ = ["SamSegmenter"]

STRIDE_PX = 16
LOGITS_PX = 4
"""Pixels of the input for each of a mask's cells."""


class SamSegmenter(PromptableSegmenter):
    """Segments objects from boxes, clicks, masks to refine, or any mix of them.

    Pictures are brought to a square by their longer side and extended below or to the right, as the package's predictor does.
    """

    name = "ultralytics-sam"

    def __init__(self, path: Path, *, device: str = "auto", side: int = 1024, embeddings_mb: int = 1024) -> None:
        """Load a checkpoint named as published; the options are those of :func:`~visenv.experts.ultralytics.Ultralytics`."""
        import ultralytics

        super().__init__(device=device, dtype="float32", prompts=0, pictures=1, embeddings_mb=embeddings_mb)
        self.across = False  # the package decodes over one picture at a time
        self.predictor = _predictor(path, str(self.device), side)
        self.model = self.predictor.model
        self.side = int(self.predictor.imgsz[0])
        self.mask_hw = (self.side // LOGITS_PX, self.side // LOGITS_PX)
        self.version = f"1/{ultralytics.__version__}{self.passes}"
        self.weights_hash = hash_model(self.model, side=self.side)

    def embed(self, images: Sequence[Image]) -> list[Any]:
        """Embed pictures one by one, which is all that the package can do."""
        return [
            self.predictor.get_im_features(self.predictor.preprocess([image.pixels[:, :, ::-1]])) for image in images
        ]

    def decode(self, embeddings: Sequence[Any], prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode prompts over one picture in one pass."""
        from ultralytics.utils import ops

        width, height = (int(side) for side in prompts.sizes_wh[0].tolist())
        *parts, _ = self.predictor._prepare_prompts(
            (self.side, self.side),
            (height, width),
            bboxes=prompts.boxes_xyxy,
            points=prompts.points_xy,
            labels=prompts.labels,
        )
        logits, scores = self.predictor._inference_features(
            embeddings[0], *parts, prompts.masks, multimask_output=prompts.multimask
        )
        count = len(prompts.sizes_wh)
        logits = logits.reshape(count, -1, *logits.shape[-2:])
        shares = [
            inside * cells / self.side / whole
            for inside, cells, whole in zip(
                self._inside_hw(height, width), logits.shape[-2:], (height, width), strict=True
            )
        ]
        full = ops.scale_masks(logits, (height, width), (shares, (0, 0)), padding=False)
        return full, scores.reshape(count, -1)

    def mask_to_logits(self, mask: Mask) -> torch.Tensor:
        """Return the logits that stand for a mask to refine, in the corner of the square in which its picture lies."""
        import torch
        from torch.nn import functional

        inside_hw = [max(1, round(side / LOGITS_PX)) for side in self._inside_hw(*mask.size_hw)]
        dense = torch.from_numpy(mask.to_dense()).to(self.device, torch.float32)[None, None]
        scaled = functional.interpolate(dense, inside_hw, mode="bilinear", align_corners=False, antialias=True)
        logits = torch.full((1, 1, *self.mask_hw), MASK_BIAS, device=self.device)
        logits[..., : inside_hw[0], : inside_hw[1]] += scaled * MASK_SCALE
        return logits

    def _inside_hw(self, height: int, width: int) -> tuple[int, int]:
        """Return the part of the square that a picture fills."""
        gain = min(self.side / height, self.side / width)
        return max(1, round(height * gain)), max(1, round(width * gain))


def _predictor(path: Path, device: str, side: int) -> Any:
    """Return the package's predictor around a model whose weights were read as tensors alone."""
    import torch
    from ultralytics import SAM

    if check_count("side", side, low=64, high=4096) % 64:
        raise bad_value("side", side, expected="a multiple of 64")
    try:
        torch.load(path, map_location="cpu", weights_only=True)  # the package's own loader would run what a file says
        sam = SAM(str(path))
        predictor = sam._smart_load("predictor")(
            overrides={
                "imgsz": side,
                "device": device,
                "mode": "predict",
                "task": "segment",
                "save": False,
                "verbose": False,
            }
        )
        predictor.setup_model(sam.model, verbose=False)
    except Exception as error:  # unpickling raises nearly anything on a file that is none
        why = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise bad_value(
            "model", str(path), expected=f"a checkpoint of the SAM that it is named after ({why})"
        ) from error
    predictor.imgsz = [side, side]
    if hasattr(sam.model, "set_imgsz"):
        sam.model.set_imgsz(predictor.imgsz)
    predictor._bb_feat_sizes = [[side // (STRIDE_PX // factor)] * 2 for factor in (4, 2, 1)]
    return predictor
