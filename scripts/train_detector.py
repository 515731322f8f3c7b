"""Train the embedded detector: one small network that finds every category of EmojiWorld, then write it as ONNX.

    python scripts/train_detector.py --out runs/detector     # about 3 hours on two cores; call again to resume
    visenv experts eval --experts embedded:weights=runs/detector/detector.onnx

The file is shipped as visenv/experts/embedded/data/detector.onnx.

Needs ``torch``, ``onnx``, ``onnxscript`` and ``onnxruntime``. It learns from scenes of the split ``experts`` only, drawn on the fly: picture k is a
pure function of k. A feature pyramid says at stride 4 where objects have their centres and how far their sides are; a
second stage looks at each such box in 7 x 7 points of all scales, names it (or says that nothing is there) and moves
its sides. The same seed, number of threads and command give the same weights, interrupted or not.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from visenv.tasks.emojiworld.render import WORDS, sprites
from visenv.tasks.emojiworld.rng import Rng
from visenv.tasks.emojiworld.scene import LEVELS, Scene, Thing, lay_out, make_thing

from visenv.experts.embedded import DetectorNetwork
from visenv.experts.embedded.names import categories

NAMES = tuple(c.name for c in categories())
NUMBERS = {name: k for k, name in enumerate(NAMES)}
SIGN, NOTHING = len(NAMES), len(NAMES) + 1
UNUSED, CUT = -1, -2
"""Classes of rows that fill up a batch, and of objects too cut to be learned or unlearned."""
STRIDE, MAX_OBJECTS = 4, 96
MIN_HEAT = 0.15
CHECKPOINT = "checkpoint.pt"
SETTINGS = ("images", "batch", "processes", "side", "rate")
"""What the weights depend on; a training is resumed with the same."""
RANDOM_ROIS, PEAK_ROIS, ROI_POINTS, ROI_MARGIN = 20, 28, 7, 1.15
ROI_STEP = 0.1
"""Side moves of 1 in the second stage's output, as a share of the box's side."""


# ---------------------------------------------------------------------------------------------- pictures to learn from


def draw_scene(rng: Rng, side_px: int) -> Scene:
    """Draw a crowded square scene of any level; some hold few categories, some heap their objects up."""
    level, (low, high) = rng.choice((1, 2, 2, 3, 3)), rng.choice(((16, 50), (24, 90), (40, 160)))
    names = rng.sample(NAMES, rng.integer(6, 14)) if rng.chance(0.3) else NAMES
    heaps = [(rng.uniform(70, side_px - 70), rng.uniform(70, side_px - 70)) for _ in range(rng.integer(2, 5))]
    heaped = 0.5 if level > 1 and high <= 90 and rng.chance(0.5) else 0.0
    fill = rng.uniform(0.1, 0.6)
    while True:
        things, area = [], 0.0
        while area < fill * side_px**2 and len(things) < MAX_OBJECTS - 2:
            name = rng.choice(names)
            may = {"grey": True, "blurry": sprites()[name].firm, "upside_down": sprites()[name].upright}
            looks = [look for look, can in may.items() if can and rng.chance(0.07)]
            size, (x, y) = round(rng.log_uniform(low, high)), rng.choice(heaps)
            region = (x - 70, y - 70, x + 70, y + 70) if rng.chance(heaped) else None
            things.append(make_thing(name, size, rng, level, looks=looks, required=False, region_xyxy=region))
            area += size**2
        if level > 1 and rng.chance(0.15):
            things.append(Thing(category="sign", size_px=rng.integer(21, 42), text=rng.choice(WORDS), required=False))
        visible = rng.uniform(0.45, LEVELS[level].min_visible) if level > 1 else None
        layout = lay_out(things, size_wh=(side_px, side_px), level=level, rng=rng, min_visible=visible, tries=20)
        if layout is not None and layout.objects:
            return layout.render(rng)


def training_picture(index: int, side: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Return picture ``index`` of the stream: pixels, boxes and class numbers; half are cut out of larger scenes."""
    rng = Rng.of("emojiworld-v0", "experts", "detector", index)
    zoom = rng.log_uniform(0.75, 2.5) if rng.chance(0.15) else 1.0
    window = min(4 * round(side / zoom / 4), 4 * side)
    canvas = window + (128 if zoom != 1 or rng.chance(0.5) else 0)
    scene = draw_scene(rng, max(canvas, 192))
    left, top = (rng.integer(0, scene.pixels.shape[0] - window) for _ in range(2))
    boxes, classes = [], []
    for thing in scene.objects:
        x1, y1 = thing.box_xyxy[:2]
        seen = thing.visible_crop[
            max(0, top - y1) : max(0, top + window - y1), max(0, left - x1) : max(0, left + window - x1)
        ]
        ys, xs = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        if len(ys):
            x, y = max(x1, left) - left, max(y1, top) - top
            boxes.append((x + xs[0], y + ys[0], x + xs[-1] + 1, y + ys[-1] + 1))
            whole = seen.sum() >= 0.5 * thing.visible_crop.sum() and min(np.ptp(xs), np.ptp(ys)) >= 7
            classes.append(NUMBERS.get(thing.category, SIGN) if whole else CUT)
    pixels = scene.pixels[top : top + window, left : left + window]
    if window != side:
        how = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)) if zoom > 1 else cv2.INTER_AREA
        pixels = np.asarray(cv2.resize(pixels, (side, side), interpolation=how), np.uint8)
    scaled = np.array(boxes, np.float32).reshape(-1, 4) * np.float32(side / window)
    return np.ascontiguousarray(pixels), scaled[:MAX_OBJECTS], np.array(classes[:MAX_OBJECTS], np.int64)


def heat_target(boxes: npt.NDArray[np.float32], classes: npt.NDArray[Any], side: int) -> npt.NDArray[np.float32]:
    """Return ``(side / 4, side / 4)``: 1 at each object's centre cell, less around it; -1 where nothing is to be learned."""
    cells = side // STRIDE
    heat, at = np.zeros((cells, cells), np.float32), np.arange(cells, dtype=np.float32)
    for (x1, y1, x2, y2), number in zip(boxes / STRIDE, classes, strict=True):
        if number != CUT:
            x, y = int((x1 + x2) / 2), int((y1 + y2) / 2)
            ways = ((x, x2 - x1), (y, y2 - y1))
            across, down = (np.exp(-0.5 * ((at - c) / max(0.6, 0.09 * length)) ** 2) for c, length in ways)
            np.maximum(heat, down[:, None] * across[None], out=heat)
            heat[y, x] = 1
    for x1, y1, x2, y2 in boxes[classes == CUT] / STRIDE:
        part = heat[int(y1) : math.ceil(y2), int(x1) : math.ceil(x2)]
        part[part < 0.3] = -1
    return heat


def make_batch(indices: Iterable[int], side: int) -> dict[str, Tensor]:
    """Draw pictures and what is to be learned from each; boxes and classes are filled up to ``MAX_OBJECTS``."""
    rows = []
    for index in indices:
        pixels, boxes, classes = training_picture(index, side)
        heat, spare = heat_target(boxes, classes, side), MAX_OBJECTS - len(boxes)
        rows.append(
            (pixels, np.pad(boxes, ((0, spare), (0, 0))), np.pad(classes, (0, spare), constant_values=UNUSED), heat)
        )
    stacked = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
    return dict(zip(("pixels", "boxes", "classes", "heat"), stacked, strict=True))


# --------------------------------------------------------------------------------------------------------- the network


class Conv(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, pad: int | None = None) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 if pad is None else pad, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Block(nn.Module):
    """Two convolutions around which the input passes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(Conv(width, width), Conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Add what two convolutions make of ``x``."""
        return x + self.convs(x)


class Detector(nn.Module):
    """Pictures ``uint8 (B, H, W, 3)``, sides multiples of 32, to boxes with class probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = 1 / 64
        self.to4 = nn.Sequential(Conv(3, 32, 7, 4), Conv(32, 32))
        self.to8 = nn.Sequential(Conv(32, 64, stride=2), Block(64))
        self.to16 = nn.Sequential(Conv(64, 112, stride=2), Block(112))
        self.to32 = nn.Sequential(Conv(112, 160, stride=2), Conv(160, 160))
        self.side16, self.side8, self.side4 = Conv(112, 80, 1), Conv(64, 64, 1), Conv(32, 32, 1)
        self.down32, self.down16, self.down8 = Conv(160, 80, 1), Conv(80, 64, 1), Conv(64, 32, 1)
        self.mix16, self.mix8, self.mix4 = Conv(80, 80), Conv(64, 64), Conv(32, 32)
        self.where = nn.Conv2d(32, 5, 1)
        nn.init.constant_(self.where.bias[:1], -4.0)  # type: ignore[index]
        self.look = nn.Sequential(Conv(32 + 32 + 64 + 80, 80, 1), Conv(80, 80), Conv(80, 128, stride=2), nn.Flatten())
        self.think = nn.Sequential(nn.Linear(128 * 16, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU())
        self.name, self.move = nn.Linear(256, len(NAMES) + 2), nn.Linear(256, 4)

    def maps(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return for each cell the log-odds of a centre and how far the sides are ``(B, 5, H/4, W/4)``, and all features."""
        c4 = self.to4((pixels.permute(0, 3, 1, 2).float() - 128) * self.unit)
        c8 = self.to8(c4)
        c16 = self.to16(c8)
        c32 = self.to32(c16)
        p16 = self.mix16(self.side16(c16) + F.interpolate(self.down32(c32), scale_factor=2.0))
        p8 = self.mix8(self.side8(c8) + F.interpolate(self.down16(p16), scale_factor=2.0))
        p4 = self.mix4(self.side4(c4) + F.interpolate(self.down8(p8), scale_factor=2.0))
        return self.where(p4), (c4, p4, p8, p16)

    def second(self, features: tuple[Tensor, ...], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Look at ``boxes (B, N, 4)`` again: class logits ``(B * N, C)`` and moved boxes ``(B * N, 4)``."""
        low, high = boxes[..., :2], boxes[..., 2:]
        step = (torch.arange(ROI_POINTS) + 0.5) / ROI_POINTS - 0.5
        points = (low + high)[:, :, None] / 2 + (high - low)[:, :, None] * step[:, None] * ROI_MARGIN  # (B, N, 7, 2)
        size = torch.tensor([features[0].shape[3] * STRIDE, features[0].shape[2] * STRIDE])
        points = points / size * 2 - 1
        x = points[:, :, None, :, 0].expand(-1, -1, ROI_POINTS, -1)
        y = points[:, :, :, None, 1].expand(-1, -1, -1, ROI_POINTS)
        grid = torch.stack([x, y], -1).flatten(1, 2)
        seen = torch.cat([F.grid_sample(f, grid, align_corners=False) for f in features], 1)  # (B, C, N * 7, 7)
        seen = seen.unflatten(2, (-1, ROI_POINTS)).transpose(1, 2).flatten(0, 1)
        thought = self.think(self.look(seen))
        flat = boxes.flatten(0, 1)
        sides = (flat[:, 2:] - flat[:, :2]).repeat(1, 2)
        return self.name(thought), flat + self.move(thought) * sides * ROI_STEP

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Detect in one picture: boxes ``(N, 4)`` and probabilities ``(N, categories)``; neighbours may be the same object."""
        out, features = self.maps(pixels)
        heat = out[:, 0].sigmoid()
        peaks = (heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > MIN_HEAT) | (heat == heat.max())  # never none
        y, x = peaks[0].nonzero().T
        torch._check(y.shape[0] > 0)  # the exporter cannot know
        logits, moved = self.second(features, boxes_at(x, y, out[0, 1:, y, x].T)[None])
        return moved, logits.softmax(1)[:, : len(NAMES)] * heat[0, y, x][:, None].sqrt()


def boxes_at(x: Tensor, y: Tensor, reach: Tensor) -> Tensor:
    """Return boxes ``(..., 4)`` in pixels around cells ``(...)``, whose sides are 16 times e to ``reach (..., 4)`` away."""
    centre, sides = torch.stack([x, y], -1) * STRIDE + STRIDE / 2, 16 * reach.clamp(-4, 4).exp()
    return torch.cat([centre - sides[..., :2], centre + sides[..., 2:]], -1)


# -------------------------------------------------------------------------------------------------------- the training


def pair_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and generalised IoU of boxes ``(..., 4)``, broadcast."""
    span = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    inter = span.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inter
    iou = inter / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def heat_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss, softer near the centres; per object."""
    on, p = target == 1, logits.sigmoid()
    hit = (1 - p) ** 2 * F.logsigmoid(logits) * on
    miss = p**2 * F.logsigmoid(-logits) * (1 - target.clamp(min=0)) ** 4 * ((target >= 0) & ~on)
    return -(hit + miss).sum() / on.sum().clamp(min=1)


def box_loss(boxes: Tensor, truth: Tensor, real: Tensor) -> Tensor:
    """Generalised IoU at the nine cells around each centre that are well inside the object."""
    height, width = boxes.shape[1:3]
    middle, sides = (truth[..., :2] + truth[..., 2:]) / 2, truth[..., 2:] - truth[..., :2]
    centre = (middle / STRIDE).long()
    around = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
    cells = centre[:, :, None] + around  # (B, M, 9, 2)
    off = ((cells + 0.5) * STRIDE - middle[:, :, None]).abs()
    good = (off <= 0.25 * sides[:, :, None]).all(-1) | (around == 0).all(-1)
    good &= real[..., None] & (cells >= 0).all(-1) & (cells < torch.tensor([width, height])).all(-1)
    at = (cells[..., 1].clamp(0, height - 1) * width + cells[..., 0].clamp(0, width - 1)).flatten(1)
    found = boxes.flatten(1, 2).gather(1, at[..., None].expand(-1, -1, 4))[good.flatten(1)]
    wanted = truth[:, :, None].expand(-1, -1, 9, -1).flatten(1, 2)[good.flatten(1)]
    return (1 - pair_iou(found, wanted)[1]).sum() / max(1, len(found))


@torch.no_grad()
def choose_rois(heat: Tensor, boxes: Tensor, truth: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes for the second stage ``(B, N, 4)``, their classes (or ``UNUSED``) and true boxes.

    Shaken true boxes of random objects, and the boxes at the highest peaks, whatever is there.
    """
    chance = (classes >= 0).float() + 1e-9
    some = chance.multinomial(RANDOM_ROIS, replacement=True)[..., None].expand(-1, -1, 4)
    shaken = truth.gather(1, some)
    shaken = shaken + 0.07 * torch.randn(shaken.shape) * (shaken[..., 2:] - shaken[..., :2]).repeat(1, 1, 2)
    peaks = heat * (heat == F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0])
    best = peaks.flatten(1).topk(PEAK_ROIS).indices[..., None].expand(-1, -1, 4)
    rois = torch.cat([shaken, boxes.flatten(1, 2).gather(1, best)], 1)
    iou, at = pair_iou(rois[:, :, None], truth[:, None])[0].max(2)
    labels, wanted = classes.gather(1, at), truth.gather(1, at[..., None].expand(-1, -1, 4))
    labels = torch.where(iou >= 0.5, labels.clamp(min=UNUSED), torch.where(iou < 0.4, NOTHING, UNUSED))
    inside = (torch.minimum(rois[:, :, None, 2:], truth[:, None, :, 2:]) - torch.maximum(rois[:, :, None, :2], truth[:, None, :, :2])).clamp(min=0).prod(-1)  # fmt: skip
    on_cut = ((inside > 0.3 * (rois[..., 2:] - rois[..., :2]).prod(-1)[..., None]) & (classes == CUT)[:, None]).any(2)
    labels[on_cut & (labels == NOTHING)] = UNUSED
    labels[:, :RANDOM_ROIS][labels[:, :RANDOM_ROIS] == NOTHING] = UNUSED
    return rois, labels, wanted


def losses(model: Detector, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the parts of the loss of one batch and, for the log, how often the second stage names objects rightly."""
    truth, classes = batch["boxes"], batch["classes"]
    out, features = model.maps(batch["pixels"])
    heat, (rows, columns) = out[:, 0], out.shape[2:]
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    boxes = boxes_at(x, y, out[:, 1:].permute(0, 2, 3, 1))
    rois, labels, wanted = choose_rois(heat.detach().sigmoid(), boxes.detach(), truth, classes)
    logits, moved = model.second(features, rois)
    rois, labels, wanted = rois.flatten(0, 1), labels.flatten(), wanted.flatten(0, 1)
    on = (labels >= 0) & (labels != NOTHING)
    off = (moved - wanted)[on] / (rois[:, 2:] - rois[:, :2])[on].repeat(1, 2) / ROI_STEP
    return {
        "heat": heat_loss(heat, batch["heat"]),
        "box": box_loss(boxes, truth, classes >= 0) * 2,
        "name": F.cross_entropy(logits, labels, ignore_index=UNUSED),
        "move": F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.2, reduction="sum") / max(1, off.numel()),
        "right": (logits.argmax(1) == labels)[on].sum() / max(1, int(on.sum())),
    }


def rate_at(done: float) -> float:
    """Return the learning rate's factor after a share ``done`` of all steps: a short rise, then half a cosine."""
    return min(1.0, done / 0.02 + 0.01) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done)))


def mean_over_processes(tensors: list[Tensor], processes: int) -> None:
    """Replace each process's numbers by their mean, in place."""
    if processes > 1:
        flat = torch.cat([t.flatten() for t in tensors])
        distributed.all_reduce(flat)
        for old, new in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            old.copy_(new.view_as(old) / processes)


def train(rank: int, arguments: argparse.Namespace) -> None:
    """Train from the last checkpoint, or from the start; process ``rank`` draws and learns its share of each batch."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    processes, share = arguments.processes, arguments.batch // arguments.processes
    if processes > 1:
        address = f"file://{(arguments.out / 'meeting').resolve()}"
        distributed.init_process_group("gloo", address, rank=rank, world_size=processes, timeout=timedelta(hours=2))
    model = Detector()
    average = copy.deepcopy(model).requires_grad_(False)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=arguments.rate, betas=(0.9, 0.98))
    step, earlier_s = 0, 0.0
    if (arguments.out / CHECKPOINT).exists():
        state = torch.load(arguments.out / CHECKPOINT, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, earlier_s = state["step"], state["core_seconds"]
    steps = arguments.images // arguments.batch
    end = min(steps, (arguments.stop or arguments.images) // arguments.batch)
    sums = torch.zeros(5)
    started_s = time.process_time()
    while step < end:
        torch.manual_seed(step * processes + rank)  # draws depend on the step only, so that resuming changes nothing
        first = step * arguments.batch + rank * share
        batch = make_batch(range(first, first + share), arguments.side)
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * rate_at(step / steps)
        parts = losses(model, batch)
        optimizer.zero_grad()
        (parts["heat"] + parts["box"] + parts["name"] + parts["move"]).backward()
        mean_over_processes([p.grad for p in model.parameters() if p.grad is not None], processes)
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            for old, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                old.lerp_(new, max(0.001, 10 / (step + 10))) if old.is_floating_point() else old.copy_(new)
        sums += torch.stack(list(parts.values())).detach() / arguments.every
        if step % arguments.every and step < end:
            continue
        core_s = torch.tensor(time.process_time() - started_s)
        mean_over_processes([core_s, sums], processes)
        total_s = earlier_s + processes * float(core_s)
        if rank == 0:
            means = dict(zip(parts, [round(v, 4) for v in sums.tolist()], strict=True))
            print(json.dumps({"images": step * arguments.batch, "core_s": round(total_s), **means}), flush=True)
            state = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"step": step, "core_seconds": total_s, "settings": settings_of(arguments)}
            torch.save(state, arguments.out / (CHECKPOINT + ".part"))
            (arguments.out / (CHECKPOINT + ".part")).replace(arguments.out / CHECKPOINT)
        sums.zero_()


# ------------------------------------------------------------------------------------------------------------ the file


def folded(model: Detector) -> Detector:
    """Return the network as it is shipped: normalisation inside the weights, these as half-precision numbers."""
    model = copy.deepcopy(model).eval()
    for layers in model.modules():
        if isinstance(layers, Conv):
            layers[0], layers[1] = fuse_conv_bn_eval(layers[0], layers[1]), nn.Identity()
    model.think[0], model.think[1] = fuse_linear_bn_eval(model.think[0], model.think[1]), nn.Identity()
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    model.to4[0][0].weight.data *= model.unit  # one pass over the pixels less
    model.unit = 1
    return model


def export(model: Detector, path: Path) -> None:
    """Write the averaged network as ONNX for pictures of any size in steps of 32, and check that it computes the same."""
    model = folded(model)
    tall, wide = (torch.export.Dim(name, min=2, max=256) for name in ("rows", "columns"))
    example = torch.from_numpy(training_picture(-1, 512)[0])[None]
    torch.onnx.export(
        model, (example,), path, dynamo=True, dynamic_shapes=({1: 32 * tall, 2: 32 * wide},), opset_version=18,
        input_names=["pixels"], output_names=["boxes", "probabilities"], external_data=False, verbose=False,
    )  # fmt: skip
    graph = onnx.load(path)
    for tensor in [t for t in graph.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]:
        name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
        if values.size > 64 and np.array_equal(values.astype(np.float16).astype(np.float32), values):
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name + "_half"))
            graph.graph.node.insert(
                0, onnx.helper.make_node("Cast", [name + "_half"], [name], to=onnx.TensorProto.FLOAT)
            )
    del graph.metadata_props[:]
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString(deterministic=True))
    session = DetectorNetwork(path).session()
    for index, side in ((-1, 512), (-2, 352)):
        pixels = training_picture(index, side)[0][None]
        pairs = zip(model(torch.from_numpy(pixels)), session.run(None, {"pixels": pixels}), strict=True)
        if not all(a.shape == b.shape and np.allclose(a.detach(), b, atol=2e-2, rtol=1e-3) for a, b in pairs):
            raise RuntimeError(f"{path} and the network in torch disagree on a picture of {side} px: do not ship it")
    print(f"{path}: {path.stat().st_size} bytes, the same as torch")


def settings_of(arguments: argparse.Namespace) -> dict[str, int | float]:
    """Return those of a command."""
    return {name: getattr(arguments, name) for name in SETTINGS}


def check(arguments: argparse.Namespace) -> str | None:
    """Say what is wrong with a command, also against the checkpoint that it would resume; ``None`` when nothing is."""
    if min(arguments.batch, arguments.processes) < 1 or arguments.batch % arguments.processes:
        return f"--batch {arguments.batch}: expected a multiple of --processes ({arguments.processes}), which share it"
    if arguments.images < arguments.batch or (arguments.stop or arguments.batch) < arguments.batch:
        return f"--images and --stop: expected at least --batch ({arguments.batch})"
    path = arguments.out / CHECKPOINT
    if not path.exists():
        return None
    began, now = torch.load(path, weights_only=True).get("settings"), settings_of(arguments)
    if began is None:
        return (
            f"{path} does not say with which settings it was begun, so that it cannot be resumed: choose another --out"
        )
    if began != now:
        told = " ".join(f"--{name} {value}" for name, value in began.items() if value != now[name])
        return f"{path} was begun with {told}: resume it so, or choose another --out"
    return None


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and of detector.onnx")
    parser.add_argument("--images", type=int, default=56000, help="length of the whole training")
    parser.add_argument("--stop", type=int, help="stop after so many images, to resume later")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--side", type=int, default=512, help="of the pictures, in pixels")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--every", type=int, default=100, help="steps from one checkpoint to the next")
    arguments = parser.parse_args()
    problem = check(arguments)
    if problem:
        parser.error(problem)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "meeting").unlink(missing_ok=True)
    if arguments.processes > 1:
        multiprocessing.spawn(train, (arguments,), nprocs=arguments.processes)
    else:
        train(0, arguments)
    model = Detector()
    model.load_state_dict(torch.load(arguments.out / CHECKPOINT, weights_only=True)["average"])
    export(model, arguments.out / "detector.onnx")


if __name__ == "__main__":
    main()
