"""The learned numbers behind the detector: one small file, made by ``scripts/make_descriptors.py``."""

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
    """Both networks of the detector, input scaling folded into their first layers."""

    pixel: Network
    """Pixel features to the log-odds of being on an object."""
    region: Network
    """Box descriptor to class scores, background last, then log-odds of a good box, then box shifts."""
    sha256: str


def tables_from_bytes(data: bytes) -> Tables:
    """Read the file's content."""
    with np.load(io.BytesIO(data)) as file:
        networks = {}
        for name in ("pixel", "region"):
            count = sum(key.startswith(f"{name}_weights") for key in file.files)
            networks[name] = Network(
                tuple(
                    Layer(
                        np.ascontiguousarray(file[f"{name}_weights{k}"], np.float32),
                        np.ascontiguousarray(file[f"{name}_bias{k}"], np.float32),
                    )
                    for k in range(count)
                )
            )
    return Tables(networks["pixel"], networks["region"], hashlib.sha256(data).hexdigest())


@cache
def load_tables() -> Tables:
    """Return the shipped tables."""
    return tables_from_bytes((files(__package__) / "data" / "descriptors.npz").read_bytes())
