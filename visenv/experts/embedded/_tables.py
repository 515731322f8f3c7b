"""The learned numbers behind the foreground: one small file, made by ``scripts/train_foreground.py``."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

__all__ = ["Layer", "Network", "Tables", "load_tables", "tables_from_bytes"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layer:
    """An affine map, ``weights (outputs, inputs)``."""

    weights: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Network:
    """Affine layers with ReLU between them."""

    layers: tuple[Layer, ...]

    def __call__(self, columns: Floats) -> Floats:
        """Map features ``(inputs, N)`` to ``(outputs, N)``."""
        for index, layer in enumerate(self.layers):
            columns = layer.weights @ columns
            columns += layer.bias[:, None]
            if index < len(self.layers) - 1:
                np.maximum(columns, 0, out=columns)
        return columns


@dataclass(frozen=True, slots=True)
class Tables:
    """The pixel network, input scaling folded into its first layer."""

    pixel: Network
    """Pixel features to the log-odds of being on an object."""
    sha256: str


def tables_from_bytes(data: bytes) -> Tables:
    """Read the file's content."""
    with np.load(io.BytesIO(data)) as file:
        layers = [
            Layer(
                np.ascontiguousarray(file[f"pixel_weights{k}"], np.float32),
                np.ascontiguousarray(file[f"pixel_bias{k}"], np.float32),
            )
            for k in range(sum(key.startswith("pixel_weights") for key in file.files))
        ]
    return Tables(Network(tuple(layers)), hashlib.sha256(data).hexdigest())


@cache
def load_tables() -> Tables:
    """Return the shipped tables."""
    return tables_from_bytes((files(__package__) / "data" / "foreground.npz").read_bytes())
