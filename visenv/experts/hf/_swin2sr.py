"""Swin2SR: enlarging pictures with a model that makes up plausible detail."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import bad_value
from ...images import Image
from .._options import check_count
from .._protocol import Capability, Expert, Request, Result, Upscaled, UpscaleRequest
from .._torch import autocast, hash_model, pick_device, say_passes, try_device
from ._settings import settings_of

__all__ = ["Swin2SR"]

Floats = npt.NDArray[np.float32]
BORDER_PX = 16
"""What a tile sees around what it gives."""


class Swin2SR(Expert):
    """Enlarges by a whole factor: as often by the model's own factor as is enough, then shrunk to what was asked for.

    Pictures larger than a tile are enlarged tile by tile, each with a border around it that is cut off afterwards. Tiles of equal
    size share a pass.
    """

    capabilities: frozenset[Capability] = frozenset({"upscale"})
    options: ClassVar[frozenset[str]] = frozenset({"batch", "tile"})

    def __init__(
        self,
        model: Any,
        processor: None = None,
        *,
        model_type: str = "swin2sr",
        device: str = "auto",
        dtype: str = "float32",
        batch: int = 0,
        tile: int = 256,
    ) -> None:
        """Take over a model; the options are those of :func:`~visenv.experts.hf.HF`."""
        import transformers

        config = model.config
        if config.num_channels != 3 or config.upscale < 2:
            has = f"{config.num_channels} channels, {config.upscale} times"
            raise bad_value("model", has, expected="a Swin2SR model of 3 channels that enlarges")
        self.device = pick_device(device)
        self.dtype = dtype
        autocast(self.device, dtype)
        self.batch = check_count("batch", batch, low=0) or (1 if self.device.type == "cpu" else 8)
        self.tile = check_count("tile", tile, low=32, high=4096)
        self.model = model.to(self.device).eval()
        self.factor, self.window = int(config.upscale), int(config.window_size)
        self.name = f"hf-{model_type}"
        self.version = f"1/{transformers.__version__}{say_passes(self.device, batch=self.batch)}"
        self.weights_hash = hash_model(model, config=settings_of(config), dtype=dtype, tile=tile)
        self._lock = threading.Lock()

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Enlarge a batch, in order."""
        import torch

        with self._lock, torch.inference_mode(), autocast(self.device, self.dtype):
            return [self._enlarge(request) for request in requests]

    def health(self) -> str:
        """Say where the model is loaded, after computing something there."""
        try_device(self.device)
        return f"loaded on {self.device}, enlarges {self.factor} times"

    def _enlarge(self, request: Request) -> Result:
        assert isinstance(request, UpscaleRequest)
        if request.scale == 1:
            return Upscaled(image=request.image)
        width, height = request.image.size_wh
        pixels, reached = request.image.pixels.astype(np.float32) / np.float32(255), 1
        while reached < request.scale:
            pixels, reached = self._by_factor(pixels), reached * self.factor
        if reached > request.scale:
            size_wh = (width * request.scale, height * request.scale)
            pixels = np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA), np.float32)
        return Upscaled(image=Image((pixels.clip(0, 1) * 255).round().astype(np.uint8)))

    def _by_factor(self, pixels: Floats) -> Floats:
        """Enlarge pixels, ``(H, W, 3)`` in [0, 1], by the model's factor."""
        height, width = pixels.shape[:2]
        out = np.empty((height * self.factor, width * self.factor, 3), np.float32)
        cells = [
            (y, x, min(y + self.tile, height), min(x + self.tile, width))
            for y in range(0, height, self.tile) for x in range(0, width, self.tile)
        ]  # fmt: skip
        groups: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
        for cell in cells:
            y, x, bottom, right = cell
            groups.setdefault((bottom - y, right - x), []).append(cell)
        # Around the picture as inside it every tile has a border and whole windows: mirrored, however small the picture is.
        side = [-(-length // self.window) * self.window - length + BORDER_PX for length in (height, width)]
        padded = np.pad(
            pixels, ((BORDER_PX, side[0] + self.window), (BORDER_PX, side[1] + self.window), (0, 0)), "symmetric"
        )
        for (rows, columns), members in groups.items():
            tall, wide = (-(-(length + 2 * BORDER_PX) // self.window) * self.window for length in (rows, columns))
            for start in range(0, len(members), self.batch):
                part = members[start : start + self.batch]
                seen = np.stack([padded[y : y + tall, x : x + wide] for y, x, _, _ in part])
                for (y, x, bottom, right), made in zip(part, self._pass(seen), strict=True):
                    f, border = self.factor, BORDER_PX * self.factor
                    out[y * f : bottom * f, x * f : right * f] = made[
                        border : border + rows * f, border : border + columns * f
                    ]
        return out

    def _pass(self, tiles: Floats) -> Floats:
        """Run the model on tiles of one size, ``(N, h, w, 3)`` with sides of whole windows."""
        import torch

        inputs = torch.from_numpy(np.ascontiguousarray(tiles.transpose(0, 3, 1, 2))).to(self.device)
        made = self.model(pixel_values=inputs).reconstruction.float().cpu().numpy()
        return np.ascontiguousarray(made.transpose(0, 2, 3, 1), np.float32)
