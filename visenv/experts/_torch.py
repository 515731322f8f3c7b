"""What experts on torch share: where they run, in which numbers, and a hash of all that their results depend on."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from ..errors import bad_value

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "autocast", "check_count", "check_share", "hash_model", "pick_device"]

DTYPES = ("float32", "bfloat16", "float16")
"""Names of number formats that models may compute in."""


def pick_device(device: str) -> torch.device:
    """Return the device of a name.

    Args:
        device: ``auto`` for the first GPU or else the CPU, or one that torch knows, such as ``cpu`` or ``cuda:1``.

    Raises:
        BadValueError: No such device here.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except Exception as error:  # torch says it in several classes, by device and by build
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise bad_value(
            "device", device, expected=f"auto, cpu, cuda or cuda:N with a GPU that torch can use ({why})"
        ) from error
    return found


def autocast(device: torch.device, dtype: str) -> AbstractContextManager[Any]:
    """Return a context in which models compute in a number format; ``float32`` is what weights are kept in.

    Raises:
        BadValueError: Not one of :data:`DTYPES`.
    """
    import torch

    if dtype not in DTYPES:
        raise bad_value("dtype", dtype, expected=f"one of {', '.join(DTYPES)}")
    if dtype == "float32":
        return nullcontext()
    made: AbstractContextManager[Any] = torch.autocast(device.type, dtype=getattr(torch, dtype))
    return made


def check_count(name: str, value: int, *, low: int = 1, high: int = 2**20) -> int:
    """Return an option that must be a whole number.

    Raises:
        BadValueError: It is none, or out of range.
    """
    if type(value) is not int or not low <= value <= high:
        raise bad_value(name, value, expected=f"an integer from {low} to {high}")
    return value


def check_share(name: str, value: float) -> float:
    """Return an option that must be a number from 0 to 1.

    Raises:
        BadValueError: It is none, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and 0 <= value <= 1):
        raise bad_value(name, value, expected="a number from 0 to 1")
    return float(value)


def hash_model(model: torch.nn.Module, **settings: Any) -> str:
    """Return a hex hash of a model's weights and buffers, by name, and of the settings that its results depend on.

    It reads what was loaded, so it does not matter in which file format that was.

    Args:
        model: On any device.
        **settings: JSON-able options, configuration and the like.
    """
    import torch

    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype};".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()
