"""The forward pass of a YOLO network: pictures in, boxes and masks out, each picture's whatever else is in the pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import bad_value
from ...images import Image
from ...masks import Mask
from .._options import check_count, check_share
from .._torch import hash_model, pick_device, say_passes

__all__ = ["Found", "Network", "makes_masks", "names_of", "takes_texts"]

LONGEST_NMS_S = 3600.0
"""The package stops after two seconds by default, and gives back nothing for the pictures left."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a network found in a picture, by descending score."""

    boxes_xyxy: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    masks: tuple[Mask, ...] | None

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        return int(self.boxes_xyxy.nbytes) * 2 + sum(len(mask.counts) for mask in self.masks or ())


class Network:
    """A model of the package, with the settings that its findings depend on. Callers hold :attr:`lock`."""

    def __init__(
        self,
        model: Any,
        *,
        device: str = "auto",
        side: int = 640,
        threshold: float = 0.25,
        overlap: float = 0.7,
        most: int = 1000,
        batch: int = 0,
    ) -> None:
        """Take over a loaded model; the options are those of :func:`~visenv.experts.ultralytics.Ultralytics`."""
        import ultralytics

        self.device = pick_device(device)
        if check_count("side", side, low=32, high=8192) % 32:
            raise bad_value("side", side, expected="a multiple of 32")
        self.side = side
        self.threshold = check_share("threshold", threshold)
        self.overlap = check_share("overlap", overlap)
        self.most = check_count("most", most, high=100_000)
        self.batch = check_count("batch", batch, low=0, high=1024) or (1 if self.device.type == "cpu" else 8)
        self.model = model.to(self.device).eval()
        self.makes_masks = makes_masks(model)
        self.names = names_of(model)
        self.version = f"1/{ultralytics.__version__}{say_passes(self.device, batch=self.batch)}"
        self.hash = hash_model(
            model, names=sorted(self.names.items()), texts=_texts(model), side=self.side, threshold=self.threshold,
            overlap=self.overlap, most=self.most,
        )  # fmt: skip
        if not takes_texts(model):  # those put their class embeddings into the weights that are fused
            self.model.fuse(verbose=False)
        self.lock = threading.Lock()

    def find(self, images: Sequence[Image]) -> list[Found]:
        """Find what the network knows; pictures of one size share a pass."""
        import torch

        found: dict[str, Found] = {}
        by_size: dict[tuple[int, int], dict[str, Image]] = {}
        for image in images:
            by_size.setdefault(image.size_wh, {})[image.hash] = image
        with torch.inference_mode():
            for group in by_size.values():
                members = list(group.values())
                for start in range(0, len(members), self.batch):
                    part = members[start : start + self.batch]
                    found |= zip([image.hash for image in part], self._pass(part), strict=True)
        return [found[image.hash] for image in images]

    def _pass(self, images: list[Image]) -> list[Found]:
        import torch
        from ultralytics.utils import nms, ops

        inputs = self._inputs(images)
        outputs = self.model(inputs)
        protos = None
        if self.makes_masks:
            protos = outputs[0][1] if isinstance(outputs[0], tuple) else outputs[1]
        while isinstance(outputs, (tuple, list)):
            outputs = outputs[0]
        kept = nms.non_max_suppression(
            outputs, self.threshold, self.overlap, max_det=self.most, nc=self.model.model[-1].nc if self.makes_masks else 0,
            end2end=getattr(self.model, "end2end", False), max_time_img=LONGEST_NMS_S,
        )  # fmt: skip
        found = []
        for place, (image, rows) in enumerate(zip(images, kept, strict=True)):
            size_hw = image.pixels.shape[:2]
            rows = rows[torch.argsort(rows[:, 4], descending=True, stable=True)]
            boxes = ops.scale_boxes(inputs.shape[2:], rows[:, :4].clone(), size_hw).cpu().numpy().astype(np.float64)
            keep = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1) & np.isfinite(boxes).all(1))
            masks = None
            if protos is not None:
                masks = self._masks(protos[place], rows[keep], boxes[keep], size_hw)
            numbers = rows[:, 4:6].cpu().numpy().astype(np.float64)[keep]
            scores, classes = numbers[:, 0].clip(0, 1), numbers[:, 1].astype(np.int64)
            found.append(Found(boxes[keep], scores, classes, masks))
        return found

    def _inputs(self, images: list[Image]) -> Any:
        """Return ``float32 (B, 3, h, w)``: pictures enlarged or shrunk to ``side``, padded to multiples of the stride."""
        import torch
        from ultralytics.data.augment import LetterBox

        stride = max(int(self.model.stride.max()), 32)
        letterbox = LetterBox((self.side, self.side), auto=True, stride=stride)
        stacked = np.stack([letterbox(image=image.pixels) for image in images])
        return torch.from_numpy(stacked).to(self.device).permute(0, 3, 1, 2).contiguous().float() / 255

    def _masks(
        self, protos: Any, rows: Any, boxes: npt.NDArray[np.float64], size_hw: tuple[int, int]
    ) -> tuple[Mask, ...]:
        """Return masks of the picture's size from the network's prototypes and each row's weights for them."""
        import torch
        from ultralytics.utils import ops

        masks: list[Mask] = []
        scaled = torch.from_numpy(boxes).to(rows)
        for start in range(0, len(rows), 64):  # dense masks of large pictures do not fit all at once
            part = slice(start, start + 64)
            dense = ops.process_mask_native(protos, rows[part, 6:], scaled[part], size_hw)
            masks += [Mask.from_dense(mask) for mask in dense.cpu().numpy()]
        return tuple(masks)


def makes_masks(model: Any) -> bool:
    """Whether a model makes a mask for each box."""
    from ultralytics.nn.tasks import SegmentationModel

    return isinstance(model, SegmentationModel)


def takes_texts(model: Any) -> bool:
    """Whether a model's classes are embeddings of texts: YOLO-World and YOLOE."""
    from ultralytics.nn.tasks import WorldModel, YOLOEModel

    return isinstance(model, WorldModel | YOLOEModel)


def names_of(model: Any) -> dict[int, str]:
    """Return a model's class names by number."""
    found = model.names if isinstance(model.names, dict) else dict(enumerate(model.names))
    return {int(number): str(name).strip() or f"class {number}" for number, name in found.items()}


def _texts(model: Any) -> str:
    """Return a hash of the class embeddings that a model holds beside its weights."""
    import hashlib

    digest = hashlib.sha256()
    for attribute in ("txt_feats", "pe"):
        value: Any = getattr(model, attribute, None)
        if value is not None and hasattr(value, "numpy"):
            digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
