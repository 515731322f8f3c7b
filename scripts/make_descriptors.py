"""Make ``visenv/experts/embedded/data/descriptors.npz``: train the detector's two networks with numpy.

    python scripts/make_descriptors.py                # about 10 minutes on two cores
    python scripts/make_descriptors.py --scenes 40 --epochs 2 --out /tmp/quick.npz

They are trained on scenes drawn for the split ``experts`` only (all categories, seeds of their own).
"""

from __future__ import annotations

import argparse
import io
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from visenv.tasks.emojiworld.render import WORDS, sprites
from visenv.tasks.emojiworld.rng import Rng
from visenv.tasks.emojiworld.scene import LEVELS, Scene, Thing, lay_out

from visenv.experts.embedded._foreground import NUM_PIXEL_FEATURES, foreground, pixel_features
from visenv.experts.embedded._regions import NUM_DESCRIPTOR, describe, masked_picture, propose
from visenv.experts.embedded._tables import Layer, Network
from visenv.experts.embedded.names import categories
from visenv.masks import box_iou_matrix

Floats = npt.NDArray[np.float32]
BOXES_PER_PICTURE = 360
BATCH = 512
OUT = Path(__file__).parents[1] / "visenv/experts/embedded/data/descriptors.npz"


def make_scene(
    rng: Rng,
    level: int,
    *,
    side_px: int = 512,
    count: int = 12,
    sizes_px: tuple[int, int] = (30, 130),
    names: list[str] | None = None,
    odd: float = 0.05,
) -> Scene:
    """Draw a scene of random objects; ``odd`` is the share each of grey, blurry and upside-down ones."""
    names = names or [c.name for c in categories()]
    while True:
        things = []
        for _ in range(count):
            name, upside_down = rng.choice(names), rng.chance(odd)
            turn = LEVELS[level].max_turn_deg if not upside_down else 25
            things.append(Thing(
                category=name, size_px=int(rng.log_uniform(*sizes_px)), required=False, grey=rng.chance(odd),
                blurry=rng.chance(odd), upside_down=upside_down, flipped=rng.chance(0.5) and sprites()[name].mirror,
                rotation_deg=rng.integer(-turn, turn) + 180 * upside_down,
            ))  # fmt: skip
        if level > 1 and rng.chance(0.15):
            things.append(Thing(category="sign", size_px=rng.integer(21, 42), text=rng.choice(WORDS), required=False))
        layout = lay_out(things, size_wh=(side_px, side_px), level=level, rng=rng)
        if layout is not None:
            return layout.render(rng)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture to learn from."""

    pixels: npt.NDArray[np.uint8]
    boxes: Floats
    classes: npt.NDArray[np.int64]
    """Category numbers; the number of categories for signs."""
    inside: npt.NDArray[np.bool_]
    """Pixels on any object."""


def training_picture(index: int) -> Drawn:
    """Draw one picture of the split ``experts``: crowded, of every level; one in eight an enlarged crop."""
    rng = Rng.of("emojiworld-v0", "experts", "descriptors", index)
    level = (1, 2, 2, 3, 3)[index % 5]
    sizes = ((20, 56), (24, 90), (36, 130))[index // 5 % 3]
    scene = make_scene(rng, level, side_px=768, count=(40, 55, 70)[index // 15 % 3], sizes_px=sizes)
    inside = np.zeros(scene.pixels.shape[:2], bool)
    for thing in scene.objects:
        x1, y1, x2, y2 = thing.box_xyxy
        inside[y1:y2, x1:x2] |= thing.visible_crop
    numbers = {c.name: k for k, c in enumerate(categories())}
    classes = np.array([numbers.get(o.category, len(numbers)) for o in scene.objects])
    boxes = np.array([o.box_xyxy for o in scene.objects], np.float32)
    if not rng.chance(0.125):
        return Drawn(scene.pixels, boxes, classes, inside)
    zoom = rng.choice((1.5, 2.0, 3.0))
    side = round(768 / zoom)
    left, top = rng.integer(0, 768 - side), rng.integer(0, 768 - side)
    how = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4))
    pixels = cv2.resize(scene.pixels[top : top + side, left : left + side], (768, 768), interpolation=how)
    within = inside[top : top + side, left : left + side].view(np.uint8)
    inside = cv2.resize(within, (768, 768), interpolation=cv2.INTER_NEAREST) > 0
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    boxes = (boxes - np.array([left, top, left, top], np.float32)).clip(0, side)
    kept = (boxes[:, 2:] - boxes[:, :2]).prod(1) > 0.4 * whole
    return Drawn(pixels, boxes[kept] * np.float32(768 / side), classes[kept], inside)


class Trainer:
    """A perceptron trained with Adam; features are standardised, which :meth:`network` folds into the first layer."""

    def __init__(self, sizes: tuple[int, ...], features: Floats, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.mean = features.mean(0)
        self.scale = 1 / (features.std(0) + 0.05)
        self.weights = [
            (self.rng.standard_normal((b, a)) * np.sqrt(2 / a)).astype(np.float32) for a, b in pairwise(sizes)
        ]
        self.weights[-1] *= 0.3
        self.biases = [np.zeros(b, np.float32) for b in sizes[1:]]
        self.moments = [[np.zeros_like(p), np.zeros_like(p)] for p in self.weights + self.biases]
        self.step = 0

    def forward(self, rows: Floats, drop: float) -> tuple[Floats, list[Floats]]:
        """Return the outputs and what each layer saw."""
        rows = (rows - self.mean) * self.scale
        kept = [rows]
        for k, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            rows = rows @ w.T + b
            if k < len(self.weights) - 1:
                rows = np.maximum(rows, 0)
                if drop:
                    rows *= (self.rng.random(rows.shape, np.float32) > drop) / np.float32(1 - drop)
                kept.append(rows)
        return rows, kept

    def backward(self, grad: Floats, kept: list[Floats], rate: float, decay: float) -> None:
        """Take one step down the gradient of the outputs."""
        grads: list[Floats] = []
        grads_b: list[Floats] = []
        for k in range(len(self.weights) - 1, -1, -1):
            grads.insert(0, grad.T @ kept[k])
            grads_b.insert(0, grad.sum(0))
            if k:
                grad = (grad @ self.weights[k]) * (kept[k] > 0)
        self.step += 1
        for k, (p, g) in enumerate(zip(self.weights + self.biases, grads + grads_b, strict=True)):
            m, v = self.moments[k]
            m += 0.1 * (g - m)
            v += 0.01 * (g * g - v)
            p -= rate * (m / (1 - 0.9**self.step)) / (np.sqrt(v / (1 - 0.99**self.step)) + 1e-7)
            if k < len(self.weights):
                p *= 1 - rate * decay

    def network(self) -> Network:
        """Return what was learned."""
        layers = [Layer(w.copy(), b.copy()) for w, b in zip(self.weights, self.biases, strict=True)]
        first = layers[0]
        layers[0] = Layer(first.weights * self.scale, first.bias - first.weights @ (self.mean * self.scale))
        return Network(tuple(layers))


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x.clip(-30, 30)))


def train_pixels(num_scenes: int, epochs: int) -> Network:
    """Teach which pixels are on an object."""
    rng = np.random.default_rng(1)
    rows, truth = [], []
    for index in range(num_scenes):
        drawn = training_picture(-1 - index)
        features = pixel_features(drawn.pixels).reshape(NUM_PIXEL_FEATURES, -1)
        inside = drawn.inside.ravel()
        chosen = rng.choice(inside.size, 9000, replace=False)
        rows.append(features[:, chosen].T)
        truth.append(inside[chosen])
    x, y = np.concatenate(rows).astype(np.float32), np.concatenate(truth).astype(np.float32)
    trainer = Trainer((NUM_PIXEL_FEATURES, 16, 12, 1), x, 2)
    batch, total = 1024, epochs * len(x) // 1024
    for step in range(total):
        chosen = rng.integers(0, len(x), batch)
        out, kept = trainer.forward(x[chosen], 0)
        p = sigmoid(out[:, 0])
        trainer.backward((p - y[chosen])[:, None] / batch, kept, 4e-3 * (1 - step / total) + 1e-5, 0)
        if step % 500 == 0:
            print(f"pixel {step}/{total}: accuracy {np.mean((p > 0.5) == (y[chosen] > 0.5)):.4f}", flush=True)
    return trainer.network()


def scene_samples(index: int, pixel: Network) -> tuple[Floats, npt.NDArray[np.int64], Floats, Floats]:
    """Describe boxes of one scene: features, class (background last, -1: unused), IoU, shift to the object."""
    drawn = training_picture(index)
    rng = np.random.default_rng(index)
    probability = foreground(drawn.pixels, pixel)
    truth, labels = drawn.boxes, drawn.classes
    none = len(categories())
    found = propose(probability)
    sides = (truth[:, 2:] - truth[:, :2])[:, [0, 1, 0, 1]]
    tries = [truth + rng.normal(0, s, truth.shape) * sides for s in (0.03, 0.08, 0.15)]
    for _ in range(3):  # windows on and about objects, parts of them, too large ones
        centre = truth[:, :2] + rng.uniform(0.05, 0.95, (len(truth), 2)) * sides[:, :2]
        half = sides.max(1, keepdims=True) / 2 * np.exp(rng.uniform(-0.9, 0.6, (len(truth), 1)))
        tries.append(np.concatenate([centre - half, centre + half], 1))
    side = drawn.pixels.shape[0]
    centre = rng.uniform(0, side, (30, 2))
    half = np.exp(rng.uniform(np.log(9), np.log(90), (30, 1))) * np.ones((1, 2))
    tries.append(np.concatenate([centre - half, centre + half], 1))
    boxes = np.concatenate([found, *tries]).astype(np.float32).clip(0, side)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(1) >= 5]
    boxes = boxes[np.sort(rng.permutation(len(boxes))[:BOXES_PER_PICTURE])]
    iou = box_iou_matrix(boxes, truth)
    best, at = iou.max(1), iou.argmax(1)
    classes = np.where(best >= 0.5, labels[at], np.where(best < 0.42, none, -1))
    shift = (truth[at] - boxes) / (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)
    picture = masked_picture(drawn.pixels, probability)
    return describe(picture, boxes), classes, best.astype(np.float32), shift.astype(np.float32)


def train_regions(pixel: Network, num_scenes: int, epochs: int, hidden: tuple[int, ...]) -> Network:
    """Teach what is in a box, whether it fits and how to move it."""
    started = time.time()
    parts = [
        tuple(p.astype(np.float16) if p.ndim == 2 else p for p in scene_samples(index, pixel))
        for index in range(num_scenes)
    ]
    x, classes, iou, shift = (np.concatenate([p[k] for p in parts]) for k in range(4))
    names = len(categories())
    print(f"{len(x)} boxes, {np.mean(classes < names):.2f} on objects, {time.time() - started:.0f} s", flush=True)
    trainer = Trainer((NUM_DESCRIPTOR, *hidden, names + 6), x[::7].astype(np.float32), 3)
    rng = np.random.default_rng(4)
    batch = BATCH
    total = epochs * len(x) // batch
    for step in range(total):
        chosen = rng.integers(0, len(x), batch)
        rows = x[chosen].astype(np.float32)
        out, kept = trainer.forward(rows, 0.15)
        wanted, used = classes[chosen], classes[chosen] >= 0
        logits = out[:, : names + 1] - out[:, : names + 1].max(1, keepdims=True)
        odds = np.exp(logits)
        odds /= odds.sum(1, keepdims=True)
        grad = np.zeros_like(out)
        grad[:, : names + 1] = odds
        grad[np.arange(batch), np.maximum(wanted, 0)] -= 1
        grad[~used, : names + 1] = 0
        good = ((iou[chosen] - 0.3) / 0.5).clip(0, 1)
        grad[:, names + 1] = sigmoid(out[:, names + 1]) - good
        near = iou[chosen] >= 0.35
        grad[:, names + 2 :] = near[:, None] * 4 * ((out[:, names + 2 :] - shift[chosen]) * 10).clip(-1, 1)
        rate = 2e-3 * min(1, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / total)))
        trainer.backward(grad / batch, kept, rate, 0.02)
        if step % 250 == 0:
            on = used & (wanted < names)
            right = np.mean(odds.argmax(1)[on] == wanted[on])
            off = np.abs(out[near, names + 2 :] - shift[chosen][near]).mean()
            print(f"region {step}/{total}: right {right:.3f}, all {np.mean(odds.argmax(1)[used] == wanted[used]):.3f}, "
                  f"shift {off:.3f}, {time.time() - started:.0f} s", flush=True)  # fmt: skip
    return trainer.network()


def save(path: Path, networks: dict[str, Network]) -> None:
    """Write half-precision tables, the same bytes for the same numbers."""
    arrays = {}
    for name, network in networks.items():
        for k, layer in enumerate(network.layers):
            arrays[f"{name}_weights{k}"] = layer.weights.astype(np.float16 if name == "region" else np.float32)
            arrays[f"{name}_bias{k}"] = layer.bias
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {len(buffer.getvalue())} bytes")


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--pixel-scenes", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--hidden", type=int, nargs="+", default=[576, 288])
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    pixel = train_pixels(arguments.pixel_scenes, 10)
    region = train_regions(pixel, arguments.scenes, arguments.epochs, tuple(arguments.hidden))
    save(arguments.out, {"pixel": pixel, "region": region})


if __name__ == "__main__":
    main()
