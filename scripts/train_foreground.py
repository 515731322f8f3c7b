"""Make ``visenv/experts/embedded/data/foreground.npz``: train the segmenter's pixel classifier with numpy.

    python scripts/train_foreground.py                # about a minute
    python scripts/train_foreground.py --scenes 4 --epochs 1 --out /tmp/quick.npz

It is trained on scenes drawn for the split ``experts`` only (all categories, seeds of their own).
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from visenv.tasks.emojiworld.render import WORDS, sprites
from visenv.tasks.emojiworld.rng import Rng
from visenv.tasks.emojiworld.scene import LEVELS, Scene, Thing, lay_out

from visenv.experts.embedded._foreground import NUM_PIXEL_FEATURES, pixel_features
from visenv.experts.embedded._tables import Layer, Network
from visenv.experts.embedded.names import categories

Floats = npt.NDArray[np.float32]
OUT = Path(__file__).parents[1] / "visenv/experts/embedded/data/foreground.npz"


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
    if not rng.chance(0.125):
        return Drawn(scene.pixels, inside)
    zoom = rng.choice((1.5, 2.0, 3.0))
    side = round(768 / zoom)
    left, top = rng.integer(0, 768 - side), rng.integer(0, 768 - side)
    how = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4))
    pixels = cv2.resize(scene.pixels[top : top + side, left : left + side], (768, 768), interpolation=how)
    within = inside[top : top + side, left : left + side].view(np.uint8)
    return Drawn(pixels, cv2.resize(within, (768, 768), interpolation=cv2.INTER_NEAREST) > 0)


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

    def forward(self, rows: Floats) -> tuple[Floats, list[Floats]]:
        """Return the outputs and what each layer saw."""
        rows = (rows - self.mean) * self.scale
        kept = [rows]
        for k, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            rows = rows @ w.T + b
            if k < len(self.weights) - 1:
                rows = np.maximum(rows, 0)
                kept.append(rows)
        return rows, kept

    def backward(self, grad: Floats, kept: list[Floats], rate: float) -> None:
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
        out, kept = trainer.forward(x[chosen])
        p = sigmoid(out[:, 0])
        trainer.backward((p - y[chosen])[:, None] / batch, kept, 4e-3 * (1 - step / total) + 1e-5)
        if step % 500 == 0:
            print(f"pixel {step}/{total}: accuracy {np.mean((p > 0.5) == (y[chosen] > 0.5)):.4f}", flush=True)
    return trainer.network()


def save(path: Path, network: Network) -> None:
    """Write the numbers, the same bytes for the same ones."""
    arrays = {}
    for k, layer in enumerate(network.layers):
        arrays[f"pixel_weights{k}"], arrays[f"pixel_bias{k}"] = layer.weights, layer.bias
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {len(buffer.getvalue())} bytes")


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    save(arguments.out, train_pixels(arguments.scenes, arguments.epochs))


if __name__ == "__main__":
    main()
