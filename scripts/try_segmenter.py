"""Try a small promptable segmenter of SAM 2's shape against GrabCut and the shipped segmenter, on EmojiWorld.

    python scripts/try_segmenter.py train --out runs/segmenter --start runs/detector/checkpoint.pt   # again to resume
    python scripts/try_segmenter.py measure --out runs/segmenter --scenes 12

Nothing of it is shipped: docs/experts/embedded.md says what it reached. Needs ``pip install "visenv[train]"``.

An encoder, the detector's first stage, looks once at a picture: features at stride 4, and for each of their cells the box of
the object there. A decoder looks at one window around a prompt (box, signed clicks, previous mask) and says the mask and how
well it fits. Both learn from scenes of the split ``experts`` only; picture k is a pure function of k.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_eval
from train_detector import (
    CHECKPOINT,
    MAX_OBJECTS,
    STRIDE,
    Block,
    Conv,
    Detector,
    boxes_at,
    draw_scene,
    pair_iou,
    rate_at,
)
from visenv.leaderboard.expert_quality import View, ask, error_click, measure_segmenter
from visenv.leaderboard.experts_eval import val_views
from visenv.tasks.emojiworld import EmojiRef
from visenv.tasks.emojiworld.rng import Rng

from visenv.experts import Request, Segmentation, SegmentRequest
from visenv.experts.embedded import EmbeddedSegmenter
from visenv.experts.embedded._analysis import Analyser
from visenv.experts.embedded._batch import BatchExpert
from visenv.experts.embedded._threads import ONE_THREAD
from visenv.images import Image
from visenv.masks import Mask, box_iou_matrix, mask_iou_matrix

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Click = tuple[float, float, bool]
Window = tuple[float, float, float]
GRID, WIDTH, MARGIN = 80, 32, 1.5
"""Cells of a window's side, features of the encoder, a window's side as a multiple of the prompt's."""


# ---------------------------------------------------------------------------------------------- pictures to learn from


def training_picture(index: int, side: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Return picture ``index`` of the stream and each pixel's object, from 1; some are cut out of larger or smaller scenes."""
    rng = Rng.of("emojiworld-v0", "experts", "segmenter", index)
    zoom = rng.log_uniform(0.75, 2.5) if rng.chance(0.15) else 1.0
    window = 4 * round(side / zoom / 4)
    scene = draw_scene(rng, max(window + 96 * rng.chance(0.5), 192))
    labels = np.zeros(scene.pixels.shape[:2], np.int16)
    for number, thing in enumerate(scene.objects[:MAX_OBJECTS], 1):
        x1, y1, x2, y2 = thing.box_xyxy
        labels[y1:y2, x1:x2][thing.visible_crop] = number
    left, top = (rng.integer(0, scene.pixels.shape[0] - window) for _ in range(2))
    part = np.s_[top : top + window, left : left + window]
    if window == side:
        return scene.pixels[part].copy(), labels[part].copy()
    how = cv2.INTER_AREA if zoom < 1 else rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4))
    pixels = cv2.resize(scene.pixels[part], (side, side), interpolation=how)
    return np.asarray(pixels, np.uint8), cv2.resize(labels[part], (side, side), interpolation=cv2.INTER_NEAREST)


@dataclass(slots=True)
class Prompt:
    """What a decoder is asked: of ``previous``, a whole picture's mask."""

    box: tuple[float, float, float, float] | None = None
    clicks: tuple[Click, ...] = ()
    previous: Bools | None = None

    def window(self, boxes: Floats) -> Window:
        """Return left, top and side of what to look at; ``boxes (H, W, 4)`` are the encoder's, for clicks alone."""
        on = [(x, y) for x, y, positive in self.clicks if positive]
        if self.box is not None:
            parts = [self.box]
        elif self.previous is not None and self.previous.any():
            parts = [box_of(self.previous)]
        else:
            last = boxes.shape[0] - 1, boxes.shape[1] - 1
            parts = [tuple(boxes[min(int(y / STRIDE), last[0]), min(int(x / STRIDE), last[1])].tolist()) for x, y in on]
        whole = np.array(parts + [(x - 1, y - 1, x + 1, y + 1) for x, y in on] or [(0, 0, 32, 32)])
        low, high = whole[:, :2].min(0), whole[:, 2:].max(0)
        side = MARGIN * max(12.0, float((high - low).max()))
        x, y = ((low + high - side) / 2).tolist()
        return x, y, side


def box_of(mask: Bools) -> tuple[float, float, float, float]:
    """Return the tight box of a mask with pixels."""
    xs, ys = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)


def looked_at(picture: npt.NDArray[Any], window: Window) -> npt.NDArray[Any]:
    """Sample a window of a picture ``(H, W[, C])`` at ``GRID x GRID`` points."""
    x, y, step = window[0], window[1], window[2] / GRID
    matrix = np.array([[step, 0, x + step / 2 - 0.5], [0, step, y + step / 2 - 0.5]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, matrix, (GRID, GRID), flags=how, borderMode=cv2.BORDER_REPLICATE)


def put_back(logits: Floats, window: Window, shape: tuple[int, int]) -> tuple[Bools, tuple[int, int]]:
    """Return the part of the picture's mask that a window's log-odds ``(GRID, GRID)`` say, and its corner."""
    x, y, step = window[0], window[1], window[2] / GRID
    left, top = (min(max(0, int(low)), full - 1) for low, full in ((x, shape[1]), (y, shape[0])))
    right, bottom = (min(full, int(low + window[2]) + 1) for low, full in ((x, shape[1]), (y, shape[0])))
    size = max(1, right - left), max(1, bottom - top)
    matrix = np.array([[1 / step, 0, (left + 0.5 - x) / step - 0.5], [0, 1 / step, (top + 0.5 - y) / step - 0.5]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(logits, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE) > 0, (left, top)


def painted(pixels: npt.NDArray[np.uint8], prompt: Prompt, window: Window) -> Floats:
    """Return ``(7, GRID, GRID)``: colours; box and previous mask as -1 and 1, or 0 without; clicks of both signs."""
    out = np.zeros((7, GRID, GRID), np.float32)
    out[:3] = looked_at(pixels, window).transpose(2, 0, 1) / np.float32(64) - 2
    at = np.arange(GRID, dtype=np.float32)
    scaled = lambda v, low: (v - low) * GRID / window[2]  # noqa: E731
    if prompt.box is not None:
        x1, y1, x2, y2 = (scaled(v, window[k % 2]) for k, v in enumerate(prompt.box))
        across, down = ((np.minimum(at + 1, b) - np.maximum(at, a)).clip(0, 1) for a, b in ((x1, x2), (y1, y2)))
        out[3] = down[:, None] * across * 2 - 1
    if prompt.previous is not None:
        out[4] = looked_at(prompt.previous.view(np.uint8) * np.uint8(255), window) / np.float32(127.5) - 1
    for x, y, positive in prompt.clicks:
        x, y = scaled(x, window[0]), scaled(y, window[1])
        spot = np.exp(-((at[:, None] + 0.5 - y) ** 2 + (at + 0.5 - x) ** 2) / 8)
        np.maximum(out[5 if positive else 6], spot, out=out[5 if positive else 6])
    return out


def first_prompt(rng: Rng, truth: Bools) -> Prompt:
    """Draw how an object is asked for: its box, exact or shaken, a click, several, or both."""
    box, sort = box_of(truth), rng.choice(("box", "shaken", "shaken", "click", "click", "both", "clicks"))
    ys, xs = np.nonzero(truth)
    some = [rng.integer(0, len(xs) - 1) for _ in range(2)]
    clicks = [(float(xs[k]) + 0.5, float(ys[k]) + 0.5, True) for k in some]
    if rng.chance(0.6):
        clicks[0] = error_click(np.zeros_like(truth), truth)
    if sort in ("shaken", "both"):
        sides = (box[2] - box[0], box[3] - box[1]) * 2
        box = tuple(v + side * rng.uniform(-0.07, 0.07) for v, side in zip(box, sides, strict=True))
    if sort == "both":
        filled = Mask.from_box(box, truth.shape).to_dense()
        clicks = [error_click(filled | truth if rng.chance(0.7) else np.zeros_like(truth), truth)]
    if sort == "clicks":
        return Prompt(clicks=tuple(clicks))
    return Prompt(box=None if sort == "click" else box, clicks=tuple(clicks[:1]) if sort in ("click", "both") else ())


# --------------------------------------------------------------------------------------------------------- the network


class Encoder(Detector):
    """Pictures ``uint8 (B, H, W, 3)``, sides multiples of 32, to features and the box of the object at each cell."""

    def __init__(self) -> None:
        super().__init__()
        del self.look, self.think, self.name, self.move
        self.embed = nn.Conv2d(64, WIDTH, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features ``(B, WIDTH, H/4, W/4)`` and boxes ``(B, H/4, W/4, 4)``."""
        out, (c4, p4, *_) = self.maps(pixels)
        y = torch.arange(out.shape[2])[:, None] + torch.zeros_like(out[0, 0])
        x = torch.arange(out.shape[3]) + torch.zeros_like(out[0, 0])
        return self.embed(torch.cat([c4, p4], 1)), boxes_at(x, y, out[:, 1:].permute(0, 2, 3, 1))


class Decoder(nn.Module):
    """Features, what is painted in windows, and where these are, to masks and how well they fit."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = Conv(7, 12)
        self.into2 = Conv(12, 32, stride=2)
        self.join = Conv(32 + WIDTH, 32, 1)
        self.quarter = nn.Sequential(Conv(32, 64, stride=2), Block(64))
        self.eighth = nn.Sequential(Conv(64, 96, stride=2), Block(96))
        self.up8, self.mix4 = Conv(96, 64, 1), Conv(64, 64)
        self.up4, self.mix2 = Conv(64, 32, 1), Conv(32, 32)
        self.up2, self.mix1 = Conv(32, 12, 1), Conv(12, 12)
        self.mask, self.fit = nn.Conv2d(12, 1, 3, padding=1), nn.Linear(96, 1)

    def forward(self, features: Tensor, seen: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Decode ``N`` windows ``(left, top, side)`` of each picture; ``seen (B * N, 7, GRID, GRID)``."""
        half = GRID // 2
        share = (torch.arange(half) + 0.5) / half
        points = windows[..., :2, None] + windows[..., 2:, None] * share  # (B, N, 2, half)
        size = torch.tensor([features.shape[3], features.shape[2]]) * STRIDE
        points = points / size[:, None] * 2 - 1
        x = points[:, :, 0, None, :].expand(-1, -1, half, -1)
        y = points[:, :, 1, :, None].expand(-1, -1, -1, half)
        near = F.grid_sample(features, torch.stack([x, y], -1).flatten(1, 2), align_corners=False)
        near = near.unflatten(2, (-1, half)).transpose(1, 2).flatten(0, 1)
        fine = self.fine(seen)
        two = self.join(torch.cat([self.into2(fine), near], 1))
        four = self.quarter(two)
        eight = self.eighth(four)
        four = self.mix4(four + F.interpolate(self.up8(eight), scale_factor=2.0))
        two = self.mix2(two + F.interpolate(self.up4(four), scale_factor=2.0))
        one = self.mix1(fine + F.interpolate(self.up2(two), scale_factor=2.0))
        return self.mask(one)[:, 0], self.fit(eight.mean((2, 3)))[:, 0].sigmoid()


# -------------------------------------------------------------------------------------------------------- the training


def cell_box_loss(boxes: Tensor, labels: npt.NDArray[np.int16]) -> Tensor:
    """Generalised IoU of the box said at each cell on an object with that object's box."""
    wanted = np.zeros((int(labels.max()) + 1, 4), np.float32)
    for number in np.unique(labels[labels > 0]):
        wanted[number] = box_of(labels == number)
    at = torch.from_numpy(labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].astype(np.int64))
    return (1 - pair_iou(boxes[at > 0], torch.from_numpy(wanted)[at[at > 0]])[1]).mean()


def losses(encoder: Encoder, decoder: Decoder, first: int, arguments: argparse.Namespace) -> dict[str, Tensor]:
    """Return the parts of the loss on pictures from number ``first`` on; prompts are corrected up to twice first."""
    drawn = [training_picture(first + k, arguments.side) for k in range(arguments.batch)]
    rngs = [Rng.of("emojiworld-v0", "experts", "prompts", first + k) for k in range(arguments.batch)]
    features, boxes = encoder(torch.from_numpy(np.stack([pixels for pixels, _ in drawn])))
    cells = boxes.detach().numpy()
    asked: list[tuple[int, Bools, Prompt]] = []
    for k, ((_, labels), rng) in enumerate(zip(drawn, rngs, strict=True)):
        numbers = [int(n) for n in np.flatnonzero(np.bincount(labels.ravel()) >= 60) if n] or [0]
        order = rng.sample(numbers, len(numbers))
        for n in range(arguments.prompts):
            truth = labels == order[n % len(order)]
            asked.append((k, truth, first_prompt(rng, truth)))

    def decode(chosen: list[int]) -> tuple[Tensor, Tensor, list[Window]]:
        windows = [asked[n][2].window(cells[asked[n][0]]) for n in chosen]
        seen = [painted(drawn[asked[n][0]][0], asked[n][2], w) for n, w in zip(chosen, windows, strict=True)]
        places = torch.tensor(windows).unflatten(0, (arguments.batch, -1))
        return *decoder(features, torch.from_numpy(np.stack(seen)), places), windows

    for share in (0.45, 0.2):  # of each picture's prompts are corrected by a click, and once more
        few = range(max(1, round(share * arguments.prompts)))
        chosen = [k * arguments.prompts + n for k in range(arguments.batch) for n in few]
        with torch.no_grad():
            decoder.eval()
            logits, _, windows = decode(chosen)
            decoder.train()
        for n, found, window in zip(chosen, logits.numpy(), windows, strict=True):
            k, truth, prompt = asked[n]
            part, (left, top) = put_back(found, window, truth.shape)
            mask = np.zeros_like(truth)
            mask[top : top + part.shape[0], left : left + part.shape[1]] = part
            asked[n] = k, truth, Prompt(prompt.box, (*prompt.clicks, error_click(mask, truth)), mask)
    logits, fit, windows = decode(list(range(len(asked))))
    soft = [looked_at(truth.astype(np.float32), w) for (_, truth, _), w in zip(asked, windows, strict=True)]
    target = torch.from_numpy(np.stack(soft))
    inter = (logits.sigmoid() * target).sum((1, 2))
    dice = 1 - (2 * inter + 1) / (logits.sigmoid().sum((1, 2)) + target.sum((1, 2)) + 1)
    on, real = logits.detach() > 0, target > 0.5
    iou = (on & real).sum((1, 2)) / (on | real).sum((1, 2)).clamp(min=1)
    cell = [cell_box_loss(b, labels) for b, (_, labels) in zip(boxes, drawn, strict=True) if (labels > 0).any()]
    return {
        "bce": 2 * F.binary_cross_entropy_with_logits(logits, target),
        "dice": dice.mean(),
        "fit": F.mse_loss(fit, iou),
        "box": torch.stack(cell).mean() * 0.5,
        "iou": iou.mean(),
    }


def train(arguments: argparse.Namespace) -> tuple[Encoder, Decoder]:
    """Train from the last checkpoint, from a detector's (its first stage), or from nothing; return the averaged networks."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    model = nn.ModuleList([Encoder(), Decoder()])
    if arguments.start:
        model[0].load_state_dict(torch.load(arguments.start, weights_only=True)["average"], strict=False)
    average = copy.deepcopy(model).requires_grad_(False).eval()
    known = [p for name, p in model[0].named_parameters() if not name.startswith("embed")] if arguments.start else []
    new = [p for p in model.parameters() if all(p is not q for q in known)]
    groups = [{"params": known, "lr": 0.0, "share": 0.25}, {"params": new, "lr": 0.0, "share": 1.0}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=0.02, betas=(0.9, 0.98))
    step, earlier_s = 0, 0.0
    if (arguments.out / CHECKPOINT).exists():
        state = torch.load(arguments.out / CHECKPOINT, weights_only=True)
        for part, name in ((model, "model"), (average, "average"), (optimizer, "optimizer")):
            part.load_state_dict(state[name])
        step, earlier_s = state["step"], state["core_seconds"]
    steps, sums, started_s = arguments.images // arguments.batch, torch.zeros(5), time.process_time()
    while step < steps:
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * group["share"] * rate_at(step / steps)
        parts = losses(model[0], model[1], step * arguments.batch, arguments)
        optimizer.zero_grad()
        (parts["bce"] + parts["dice"] + parts["fit"] + parts["box"]).backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 5.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            for old, now in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                old.lerp_(now, max(0.005, 10 / (step + 10))) if old.is_floating_point() else old.copy_(now)
        sums += torch.stack(list(parts.values())).detach() / arguments.every
        if step % arguments.every == 0 or step == steps:
            core_s = earlier_s + time.process_time() - started_s
            means = dict(zip(parts, [round(v, 4) for v in sums.tolist()], strict=True))
            print(json.dumps({"images": step * arguments.batch, "core_s": round(core_s), **means}), flush=True)
            state = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step, "core_seconds": core_s}, arguments.out / "part")
            (arguments.out / "part").replace(arguments.out / CHECKPOINT)
            sums.zero_()
    return average[0], average[1]


def export(encoder: Encoder, decoder: Decoder, folder: Path) -> None:
    """Write both networks as ONNX, normalisation inside the weights, and check that they compute the same."""
    encoder, decoder = copy.deepcopy(encoder).eval(), copy.deepcopy(decoder).eval()
    for layers in (*encoder.modules(), *decoder.modules()):
        if isinstance(layers, Conv):
            layers[0], layers[1] = fuse_conv_bn_eval(layers[0], layers[1]), nn.Identity()
    pixels = torch.from_numpy(training_picture(-1, 384)[0])[None]
    features, seen, windows = (
        encoder(pixels)[0].detach(),
        torch.randn(1, 7, GRID, GRID),
        torch.tensor([[[9.0, 30, 90]]]),
    )
    sides = [torch.export.Dim(name, min=2, max=64) for name in ("rows", "columns")]
    wide, narrow = ({axis: step * side for axis, side in zip(axes, sides, strict=True)} for axes, step in (((1, 2), 32), ((2, 3), 8)))  # fmt: skip
    kinds = (
        ("encoder", encoder, (pixels,), ["pixels"], ["features", "boxes"], (wide,)),
        ("decoder", decoder, (features, seen, windows), ["features", "seen", "windows"], ["mask", "fit"], (narrow, None, None)),
    )  # fmt: skip
    for name, network, example, inputs, outputs, shapes in kinds:
        path = folder / f"{name}.onnx"
        torch.onnx.export(
            network, example, path, dynamo=True, dynamic_shapes=shapes, input_names=inputs, output_names=outputs,
            opset_version=18, external_data=False, verbose=False,
        )  # fmt: skip
        found = session(path).run(None, {k: v.numpy() for k, v in zip(inputs, example, strict=True)})
        for a, b in zip(network(*example), found, strict=True):
            if a.shape != b.shape or not np.allclose(a.detach(), b, atol=1e-2, rtol=1e-3):
                raise RuntimeError(f"{path} and the network in torch disagree")
        print(f"{path}: {path.stat().st_size} bytes, the same as torch")


# ----------------------------------------------------------------------------------------------------- the measurement


def session(path: Path) -> Any:
    """Open a network for one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class TrialSegmenter(BatchExpert):
    """The trained networks as an expert; keeps the last picture's features."""

    name, version, capabilities = "trial-segmenter", "0", frozenset({"segment"})

    def __init__(self, folder: Path) -> None:
        super().__init__(threads=1)
        self.encoder, self.decoder = session(folder / "encoder.onnx"), session(folder / "decoder.onnx")
        self.seen: tuple[str, Any, Any] = ("", None, None)

    def look(self, image: Image) -> None:
        """Encode a picture unless it is the last one."""
        if self.seen[0] != image.hash:
            width, height = image.size_wh
            padded = np.pad(image.pixels, ((0, -height % 32), (0, -width % 32), (0, 0)), mode="edge")
            self.seen = (image.hash, *self.encoder.run(None, {"pixels": padded[None]}))

    def answer(self, request: Request) -> Segmentation:
        """Segment one object; a click has the last word on its pixel."""
        assert isinstance(request, SegmentRequest)
        self.look(request.image)
        clicks = tuple((x, y, p) for (x, y), p in zip(request.points_xy, request.points_positive, strict=True))
        previous = None if request.previous is None else request.previous.to_dense()
        prompt = Prompt(request.box_xyxy, clicks, previous)
        window = prompt.window(self.seen[2][0])
        feed = {"features": self.seen[1], "seen": painted(request.image.pixels, prompt, window)[None]}
        logits, fit = self.decoder.run(None, feed | {"windows": np.array([[window]], np.float32)})
        part, (left, top) = put_back(logits[0], window, request.image.pixels.shape[:2])
        for x, y, positive in clicks:
            if 0 <= int(x) - left < part.shape[1] and 0 <= int(y) - top < part.shape[0]:
                part[int(y) - top, int(x) - left] = positive
        mask = Mask.from_crop(part, (left, top), request.image.pixels.shape[:2])
        return Segmentation(mask=mask, score=float(fit[0]))


class GrabCut(EmbeddedSegmenter):
    """GrabCut from the box, a quarter of its longer side around it; clicks are sure pixels.

    OpenCV's five rounds often leave nothing of an object. ``careful`` are two, and the box where nothing is left.
    """

    def __init__(self, analyser: Analyser, *, careful: bool) -> None:
        super().__init__(threads=1, analyser=analyser)
        self.careful, self.name = careful, "careful-grabcut" if careful else "grabcut"

    def _cut(self, image: Image, box: Any, previous: Mask | None, clicks: list[tuple[int, int, bool]]) -> Any:
        x1, y1, x2, y2 = box
        pad = round(0.25 * max(x2 - x1, y2 - y1)) + 4
        left, top = max(0, x1 - pad), max(0, y1 - pad)
        pixels = image.pixels[top : y2 + pad, left : x2 + pad].copy()
        state = np.full(pixels.shape[:2], cv2.GC_BGD, np.uint8)
        state[y1 - top : y2 - top, x1 - left : x2 - left] = cv2.GC_PR_FGD
        for x, y, positive in clicks:
            cv2.circle(state, (x - left, y - top), 2, cv2.GC_FGD if positive else cv2.GC_BGD, -1)
        cv2.setRNGSeed(1)
        on, models = state & 1 == 1, (np.zeros((1, 65)), np.zeros((1, 65)))
        cv2.grabCut(pixels, state, (0, 0, 1, 1), *models, 2 if self.careful else 5, cv2.GC_INIT_WITH_MASK)
        cut = state & 1 == 1
        return cut if cut.any() or not self.careful else on, (left, top), 1.0


def requests_of(kind: str, view: View, found: Floats) -> list[tuple[Mask, SegmentRequest]]:
    """Return what is asked about each object of a picture, with its mask; ``found`` are a detector's boxes."""
    asked = []
    for thing in view.objects:
        target = thing.mask((view.image.size_wh[1], view.image.size_wh[0]))
        truth, box, click = target.to_dense(), thing.target_box_xyxy, None
        if kind == "detector's box":
            iou = box_iou_matrix(found, np.array([box]))[:, 0]
            if iou.max(initial=0) < 0.5:
                continue
            box = tuple(found[int(iou.argmax())].tolist())
        elif kind == "click":
            box, click = None, error_click(np.zeros_like(truth), truth)
        elif kind == "box, click off":
            click = error_click(Mask.from_box(box, target.size_hw).to_dense() | truth, truth)
        points = {"points_xy": (click[:2],), "points_positive": (click[2],)} if click else {}
        asked.append((target, SegmentRequest(image=view.image, box_xyxy=box, **points)))
    return asked


def measure(folder: Path, scenes: int) -> None:
    """Print mean IoU and milliseconds of one core, of all on the same requests and after correcting clicks."""
    analyser, trial = Analyser(), TrialSegmenter(folder)
    cuts = [GrabCut(analyser, careful=careful) for careful in (False, True)]
    shipped = EmbeddedSegmenter(threads=1, analyser=analyser)
    for level in (1, 2, 3):
        views = val_views(EmojiRef(), level, scenes)
        found = [analyser.candidates(view.image).boxes for view in views]
        for kind in ("box", "detector's box", "box, click off", "click"):
            asked = [requests_of(kind, view, boxes) for view, boxes in zip(views, found, strict=True)]
            kept: dict[Any, list[Any]] = {cut: [] for cut in cuts}  # what is done once for each picture
            kept |= {shipped: [analyser.foreground], trial: [trial.look]}
            for expert, looks in kept.items():
                if kind == "click" and expert is not trial:
                    looks.append(analyser.candidates)  # say what is under a click
                analyser.clear()
                overlaps, look_s, prompt_s = [], 0.0, 0.0
                for view, prompts in zip(views, asked, strict=True):
                    began = time.process_time()
                    with ONE_THREAD:
                        for look in looks:
                            look(view.image)
                    looked = time.process_time()
                    masks = [ask(expert, [request])[0].mask for _, request in prompts]
                    look_s, prompt_s = look_s + looked - began, prompt_s + time.process_time() - looked
                    overlaps += [mask_iou_matrix([m], [t])[0, 0] for m, (t, _) in zip(masks, prompts, strict=True)]
                row = {"miou": np.mean(overlaps), "picture_ms": 1000 * look_s / scenes}
                row |= {"prompt_ms": 1000 * prompt_s / len(overlaps), "ms": 1000 * (look_s + prompt_s) / len(overlaps)}
                head = {"level": level, "prompt": kind, "expert": expert.name, "prompts": len(overlaps)}
                print(json.dumps(head | {k: round(float(v), 3) for k, v in row.items()}), flush=True)
        for prompt, expert in itertools.product(("box", "click"), (shipped, trial)):
            analyser.clear()
            figures = measure_segmenter(expert, views, prompt=prompt)
            row = {
                "level": level,
                "prompt": f"{prompt}, then clicks",
                "expert": expert.name,
                "ms": round(figures.cpu_ms, 2),
            }
            print(json.dumps(row | {"miou": [round(v, 3) for v in figures.miou]}), flush=True)


def main() -> None:
    """Train or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and of both networks")
    parser.add_argument("--start", type=Path, help="checkpoint of train_detector.py, whose first stage is taken over")
    parser.add_argument("--images", type=int, default=3200, help="length of the whole training")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=14, help="for each picture")
    parser.add_argument("--side", type=int, default=384, help="of the pictures, in pixels")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--every", type=int, default=25, help="steps from one checkpoint to the next")
    parser.add_argument("--scenes", type=int, default=12, help="of each level, to measure on")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.what == "train":
        export(*train(arguments), arguments.out)
    else:
        measure(arguments.out, arguments.scenes)


if __name__ == "__main__":
    main()
