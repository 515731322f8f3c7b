"""Loading a checkpoint of the ``ultralytics`` package: nothing installed, fetched, sent or executed on the way."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ...errors import bad_value, missing_extra
from .._protocol import Expert
from ._network import Network, makes_masks, names_of

__all__ = ["Ultralytics", "import_ultralytics"]

ROLES = ("auto", "detector", "segmenter")
VOCABULARIES = ("auto", "closed", "open")
OPTIONS = {"SAM": ("side",), "FastSAM": ("batch", "most", "overlap", "side", "threshold")}
"""Those that models have beside ``device`` and ``role``; detectors have all."""
QUIET = {
    "YOLO_AUTOINSTALL": "false",  # it would install packages that a checkpoint asks for
    "YOLO_OFFLINE": "true",  # no usage statistics, no look for updates
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "true",  # torch.load with weights_only, classes from a list, no eval
}
"""Environment variables that the package reads when it is imported."""


def Ultralytics(  # noqa: N802 - the entry point ``ultralytics``
    model: str,
    role: str = "auto",
    vocabulary: str | None = None,
    device: str = "auto",
    side: int | None = None,
    threshold: float | None = None,
    overlap: float | None = None,
    most: int | None = None,
    batch: int | None = None,
) -> Expert:
    """Load a checkpoint. The package is AGPL-3.0, and so are the weights that its authors publish.

    Args:
        model: Path of a checkpoint ``.pt``. SAM's architecture is told by the file's name, as published: ``sam_b.pt``,
            ``mobile_sam.pt``, ``sam2.1_t.pt``; all others say themselves what they are.
        role: ``detector`` or ``segmenter``; by default SAM and FastSAM segment, all others detect.
        vocabulary: Detectors: ``closed`` takes the class names that the checkpoint holds, ``open`` any phrase (YOLO-World and YOLOE,
            which then need their text encoder). By default, ``auto``, ``open`` where the model can.
        device: ``auto`` for the first GPU or else the CPU; ``cpu``, ``cuda``, ``cuda:1``.
        side: Longer side to which pictures are brought, in pixels, a multiple of 32, and of 64 for SAM; by default 640, and 1024 for
            SAM and FastSAM.
        threshold: All but SAM: least score of a detection, by default 0.25.
        overlap: All but SAM: of two boxes of a class with a larger IoU the surer one stays; by default 0.7, and 0.9 for FastSAM.
        most: All but SAM: most detections in a picture, by default 1000.
        batch: All but SAM: most pictures of one pass; by default 1 on a CPU and 8 on a GPU.

    Raises:
        MissingExtraError: The package is not installed.
        BadValueError: No such file, not a checkpoint, or an option out of range or of another kind of model.
    """
    for name, value, known in (("role", role, ROLES), ("vocabulary", vocabulary, VOCABULARIES)):
        if value is not None and value not in known:
            raise bad_value(name, value, expected=f"one of {', '.join(known)}")
    path = Path(model).expanduser()
    if path.suffix != ".pt" or not path.is_file():
        raise bad_value(
            "model", model, expected="the path of a checkpoint .pt",
            remedy="Published ones (AGPL-3.0) are at https://github.com/ultralytics/assets/releases; nothing is fetched.",
        )  # fmt: skip
    import_ultralytics()
    from ultralytics.models.sam.build import sam_model_map

    from ._detector import YoloDetector
    from ._fastsam import FastSamSegmenter
    from ._sam import SamSegmenter

    given = {
        "vocabulary": vocabulary, "side": side, "threshold": threshold, "overlap": overlap, "most": most, "batch": batch
    }  # fmt: skip
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if str(path).endswith(tuple(sam_model_map)):
        if role == "detector":
            raise bad_value("role", role, expected=f"segmenter: {path.name} is a SAM")
        return SamSegmenter(path, device=device, **_checked(options, "SAM"))
    loaded = _load(path)
    if role == "auto":
        role = "segmenter" if _is_fast_sam(loaded, path) else "detector"
    if role == "segmenter":
        if not makes_masks(loaded):
            raise bad_value("role", role, expected=f"detector: {path.name} makes no masks")
        options = {"side": 1024, "overlap": 0.9} | _checked(options, "FastSAM")
        return FastSamSegmenter(Network(loaded, device=device, **options))
    vocabulary = options.pop("vocabulary", "auto")
    return YoloDetector(Network(loaded, device=device, **options), vocabulary=vocabulary)


def _checked(options: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the options given, all of which models of a kind must have."""
    for key in options:
        if key not in OPTIONS[kind]:
            raise bad_value("option", key, expected=f"one that {kind} has ({', '.join(OPTIONS[kind])})")
    return options


def import_ultralytics() -> Any:
    """Import the package so that it installs, fetches and sends nothing, and keeps its settings out of the home directory.

    Raises:
        MissingExtraError: It is not installed.
        BadValueError: It was imported before, without these precautions.
    """
    os.environ |= QUIET
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="visenv-ultralytics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = folder
    try:
        import ultralytics
        from ultralytics.utils import AUTOINSTALL, LOGGER, ONLINE, SAFE_LOAD, SETTINGS
    except ModuleNotFoundError as error:
        raise missing_extra("Expert 'ultralytics'", "ultralytics") from error
    if AUTOINSTALL or ONLINE or not SAFE_LOAD:
        raise bad_value(
            "ultralytics", "imported before this expert was made", expected="an import with its precautions",
            remedy=f"Make the expert first, or set {' '.join(f'{k}={v}' for k, v in QUIET.items())} when Python starts.",
        )  # fmt: skip
    dict.__setitem__(SETTINGS, "sync", False)  # in this process; the file is not written
    LOGGER.setLevel("ERROR")
    return ultralytics


def _load(path: Path) -> Any:
    """Return the model of a checkpoint, read with ``weights_only`` and the package's list of classes."""
    from ultralytics.nn import tasks

    try:
        model, _ = tasks.load_checkpoint(path, device="cpu")
    except Exception as error:  # unpickling raises nearly anything on a file that is none
        why = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise bad_value("model", str(path), expected=f"a checkpoint of the package ({why})") from error
    known = (tasks.DetectionModel, tasks.SegmentationModel, tasks.WorldModel, tasks.YOLOEModel, tasks.YOLOESegModel)
    if type(model) not in known:
        raise bad_value("model", str(path), expected=f"a model that detects; this one is a {type(model).__name__}")
    return model


def _is_fast_sam(model: Any, path: Path) -> bool:
    """Whether a model makes masks of whatever there is: nothing in a checkpoint says so but its one class, "object"."""
    return makes_masks(model) and ("fastsam" in path.stem.lower() or list(names_of(model).values()) == ["object"])
