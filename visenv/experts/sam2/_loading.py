"""Finding a SAM 2 model by its name, its hub id or a checkpoint on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import bad_value, missing_extra, unknown_name
from .._options import check_count
from ._expert import Sam2Segmenter

__all__ = ["CONFIGS", "SIZES", "Sam2"]

SIZES = ("tiny", "small", "base-plus", "large")
"""Names of the SAM 2.1 models by size."""
CONFIGS = {
    f"{family}_hiera_{size.replace('-', '_')}": f"configs/{family}/{family}_hiera_{letter}.yaml"
    for family in ("sam2", "sam2.1") for size, letter in zip(SIZES, ("t", "s", "b+", "l"), strict=True)
}  # fmt: skip
"""By the published checkpoint's name: its configuration in the package."""


def Sam2(  # noqa: N802 - the entry point ``sam2``
    model: str = "tiny",
    config: str = "",
    device: str = "auto",
    dtype: str = "float32",
    prompts: int = 0,
    pictures: int = 0,
    side: int = 1024,
    embeddings_mb: int = 1024,
) -> Sam2Segmenter:
    """Load a SAM 2 model.

    Args:
        model: ``tiny``, ``small``, ``base-plus`` or ``large`` (SAM 2.1, from the hub), a hub id such as
            ``facebook/sam2-hiera-large``, or the path of a checkpoint ``.pt``.
        config: For a checkpoint with a name of its own: the published name of its architecture, such as ``sam2.1_hiera_tiny``.
        device: ``auto`` for the first GPU or else the CPU; ``cpu``, ``cuda``, ``cuda:1``.
        dtype: What it computes in: ``float32``, ``bfloat16`` or ``float16``.
        prompts: Most prompts of one pass of the decoder, about 60 MiB each; by default 1 on a CPU and 32 on a GPU.
        pictures: Most pictures of one pass of the encoder; by default 1 on a CPU and 8 on a GPU.
        side: Pixels of the square that pictures are brought to, a multiple of 64; 1024 is what the models were trained with.
        embeddings_mb: Most memory that kept embeddings hold, in MiB; one picture has 16 at ``side`` 1024.

    Raises:
        MissingExtraError: The package is not installed.
        BadValueError: No such model, or an option out of range.
    """
    try:
        import torch  # noqa: F401
        from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES, build_sam2
    except ModuleNotFoundError as error:
        raise missing_extra("Expert 'sam2'", "sam2") from error
    if check_count("side", side, low=64, high=4096) % 64:
        raise bad_value("side", side, expected="a multiple of 64")
    checkpoint, config_file = _find(model, config, HF_MODEL_ID_TO_FILENAMES)
    # Weights are looked at before they are given to the package: its own message names thousands of keys.
    built = build_sam2(config_file, ckpt_path=None, device="cpu", hydra_overrides_extra=[f"++model.image_size={side}"])
    _load(built, checkpoint)
    return Sam2Segmenter(
        built, device=device, dtype=dtype, prompts=prompts, pictures=pictures, embeddings_mb=embeddings_mb
    )


def _find(model: str, config: str, published: dict[str, tuple[str, str]]) -> tuple[Path, str]:
    """Return where a model's checkpoint lies, fetched if need be, and the name of its configuration."""
    model_id = f"facebook/sam2.1-hiera-{model.lower()}" if model.lower() in SIZES else model
    if model_id in published:
        if config:
            raise bad_value("config", config, expected=f"none beside model {model!r}, whose architecture is known")
        from huggingface_hub import hf_hub_download

        config_file, name = published[model_id]
        try:
            return Path(hf_hub_download(model_id, name)), config_file
        except (OSError, ValueError) as error:  # no network, no such file, or a hub that answers with an error
            raise bad_value(
                "model", model, expected=f"a model whose {name} can be fetched from the hub ({_line(error)})",
                remedy="Pass model=PATH of a checkpoint instead.",
            ) from error  # fmt: skip
    path = Path(model).expanduser()
    if path.suffix != ".pt" or not path.is_file():
        known = [*SIZES, *published]
        raise unknown_name(
            "SAM 2 model", model, known, remedy=f"Use one of {', '.join(SIZES)}, a hub id, or a checkpoint PATH.pt."
        )
    name = config or path.stem
    if name not in CONFIGS:
        raise unknown_name(
            "architecture",
            name,
            CONFIGS,
            remedy=f"Say with config=NAME which published model {path.name} is built like.",
        )
    return path, CONFIGS[name]


def _load(model: Any, checkpoint: Path) -> None:
    """Load weights; only tensors are read from the file, nothing in it is executed."""
    import torch

    try:
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
        model.load_state_dict(weights)
    except Exception as error:  # unpickling raises nearly anything on a file that is none
        raise bad_value(
            "model", str(checkpoint), expected=f"a checkpoint of this architecture ({_line(error)})",
            remedy="Say with config=NAME which published model it is built like.",
        ) from error  # fmt: skip


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
