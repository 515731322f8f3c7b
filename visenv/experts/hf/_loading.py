"""Loading a model by hub id or folder; what it is for follows from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import bad_value, missing_extra, unknown_name
from .._protocol import Expert

__all__ = ["HF", "TASKS", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """What models of one type are loaded and answered with."""

    module: str
    """Module here and its class, ``module:Class``."""
    model: str
    """Class in ``transformers``."""
    processor: str | None
    """Class in ``transformers``, if it is needed."""


TASKS: Mapping[str, Task] = {
    "grounding-dino": Task("_grounding:GroundingDino", "GroundingDinoForObjectDetection", "GroundingDinoProcessor"),
    "mm-grounding-dino": Task(
        "_grounding:GroundingDino", "MMGroundingDinoForObjectDetection", "GroundingDinoProcessor"
    ),
    "owlv2": Task("_owlv2:Owlv2", "Owlv2ForObjectDetection", "Owlv2Processor"),
    "sam2": Task("_sam2:HFSam2", "Sam2Model", "Sam2Processor"),
    "sam2_video": Task("_sam2:HFSam2", "Sam2Model", "Sam2Processor"),
    "sam3": Task("_sam3:Sam3", "Sam3Model", "Sam3Processor"),
    "sam3_video": Task("_sam3:Sam3", "Sam3Model", "Sam3Processor"),
    "swin2sr": Task("_swin2sr:Swin2SR", "Swin2SRForImageSuperResolution", None),
}
"""By ``model_type`` of the configuration. Checkpoints of SAM 2 and 3 are published as their video models, which hold the others."""


def HF(  # noqa: N802 - the entry point ``hf``
    model: str,
    device: str = "auto",
    dtype: str = "float32",
    threshold: float | None = None,
    overlap: float | None = None,
    batch: int | None = None,
    prompts: int | None = None,
    embeddings_mb: int | None = None,
    tile: int | None = None,
) -> Expert:
    """Load a model of Transformers from safetensors; code that comes with a model is never run.

    Args:
        model: A hub id, or a folder with ``config.json`` and ``model.safetensors``.
        device: ``auto`` for the first GPU or else the CPU; ``cpu``, ``cuda``, ``cuda:1``.
        dtype: What it computes in: ``float32``, ``bfloat16`` or ``float16``.
        threshold: Detectors: least score of what is returned; by default 0.3, and 0.1 for OWLv2.
        overlap: Detectors: of two boxes with a larger IoU only the surer one is returned, by default 0.8; 1 keeps all.
        batch: Most pictures (or tiles) of one pass; by default 1 on a CPU and 8 on a GPU.
        prompts: SAM 2: most prompts of one pass of the decoder; by default 1 on a CPU and 32 on a GPU.
        embeddings_mb: Most memory that kept embeddings hold, in MiB, by default 1024. Grounding DINO and Swin2SR keep none.
        tile: Swin2SR: side of the parts that large pictures are enlarged in, by default 256 pixels.

    Raises:
        MissingExtraError: Transformers is not installed.
        UnknownNameError: A model of a type that is not supported.
        BadValueError: No such model, or an option out of range or of another kind of model.
    """
    try:
        import torch
        import torchvision  # noqa: F401
        import transformers
    except ModuleNotFoundError as error:
        raise missing_extra("Expert 'hf'", "hf") from error
    model_type = _read_type(model)
    task = TASKS.get(model_type)
    if task is None:
        raise unknown_name(
            "model type", model_type, TASKS, remedy=f"Models of these types are supported: {', '.join(TASKS)}."
        )
    module, _, name = task.module.partition(":")
    make = getattr(import_module(f"{__package__}.{module}"), name)
    given = {
        "threshold": threshold, "overlap": overlap, "batch": batch, "prompts": prompts, "embeddings_mb": embeddings_mb, "tile": tile
    }  # fmt: skip
    options = {key: value for key, value in given.items() if value is not None}
    for key in options:
        if key not in make.options:
            raise bad_value(
                "option", key, expected=f"one that {model_type} models have ({', '.join(sorted(make.options))})"
            )
    loaded = _load(transformers, task.model, model, use_safetensors=True, dtype=torch.float32)
    processor = _load(transformers, task.processor, model) if task.processor else None
    expert: Expert = make(loaded, processor, model_type=model_type, device=device, dtype=dtype, **options)
    return expert


def _read_type(model: str) -> str:
    """Return a model's ``model_type`` from its configuration, of which nothing else is looked at."""
    from transformers import PretrainedConfig

    folder = Path(model).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise bad_value("model", model, expected="a folder with config.json and model.safetensors, or a hub id")
    try:
        found, _ = PretrainedConfig.get_config_dict(str(folder) if folder.is_dir() else model)
    except (OSError, ValueError) as error:  # no such model, no network, or not JSON
        raise _unreadable(model, error) from error
    return str(found.get("model_type", "")) if isinstance(found, dict) else ""


def _load(transformers: Any, name: str, model: str, **more: Any) -> Any:
    """Load a model or a processor by its class, so that no configuration names one to run."""
    known = getattr(transformers, name, None)
    if known is None:
        raise bad_value(
            "model", model, expected=f"a model that Transformers {transformers.__version__} has; {name} came later"
        )
    folder = Path(model).expanduser()
    where = str(folder) if folder.is_dir() else model
    try:
        return known.from_pretrained(where, trust_remote_code=False, **more)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
    ) as error:  # files missing, damaged or of another form
        raise _unreadable(model, error) from error


def _unreadable(model: str, error: BaseException) -> Exception:
    line = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    return bad_value(
        "model", model, expected=f"a model whose files can be read, weights as safetensors ({line})",
        remedy="Pass a hub id, with the network up, or a folder that `save_pretrained` wrote.",
    )  # fmt: skip
