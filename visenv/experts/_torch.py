"""What experts on torch share: where they run, in which numbers, and a hash of all that their results depend on."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from ..errors import ExpertError, bad_value, say

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "autocast", "hash_model", "pick_device", "say_passes", "try_device"]

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


def try_device(device: torch.device) -> None:
    """Compute something small on a device.

    Raises:
        ExpertError: It does not answer, as a GPU after a fault.
    """
    import torch

    try:
        torch.ones(1, device=device).add(1).item()
    except Exception as error:  # torch says it in several classes
        raise ExpertError(f"The device {device} does not compute any more: {say(error).splitlines()[0]}") from error


def say_passes(device: torch.device, **sizes: int) -> str:
    """Return the end of a version that says how results are rounded: ``/cuda-prompts32-pictures8``, nothing for one by one on a CPU.

    Args:
        device: A CPU is not named.
        **sizes: Of passes, by option; 1 is not named.
    """
    words = [] if device.type == "cpu" else [device.type]
    words += [f"{name}{size}" for name, size in sizes.items() if size > 1]
    return f"/{'-'.join(words)}" if words else ""


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
