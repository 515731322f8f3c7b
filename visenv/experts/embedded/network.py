"""The trained detector: one ONNX file that finds and names everything in a picture, run by onnxruntime on one core."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ExpertError, bad_value, say
from ...images import Pixels
from ...masks import box_iou_matrix
from .names import categories

__all__ = ["Candidates", "DetectorNetwork", "distinct"]

Floats = npt.NDArray[Any]  # float32
STEP_PX = 32
"""The network takes pictures whose sides are multiples of this."""
MIN_SIDE_PX = 8
"""Nothing is looked for in smaller pictures."""
MIN_BOX_PX = 1.0
KEEP = 0.02
"""Least probability of what is kept."""
SAME_NAME_IOU, ANY_NAME_IOU = 0.5, 0.7
"""Overlaps above which the lesser of two boxes is dropped."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything found in a picture, best first."""

    boxes: Floats
    """``(N, 4)``, pixels, half-open."""
    probabilities: Floats
    """``(N, categories)``: that the box is right and shows this."""

    @property
    def best(self) -> Floats:
        """The highest probability of each box."""
        return np.asarray(self.probabilities.max(1, initial=0))


class DetectorNetwork:
    """The network of ``scripts/train_detector.py``. Thread-safe; equal pictures give equal numbers in any thread.

    The file is read at once, the session made when it is first needed; each call uses one core.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """Read a file as the trainer writes it; the shipped one by default.

        Raises:
            BadValueError: There is no such file.
        """
        shipped = files(__package__) / "data" / "detector.onnx"
        try:
            self._data = shipped.read_bytes() if path is None else Path(path).read_bytes()
        except OSError as error:
            raise bad_value(
                "weights", str(path), expected="a file that scripts/train_detector.py wrote", remedy=say(error)
            ) from error
        self.sha256 = hashlib.sha256(self._data).hexdigest()
        self._session: Any = None
        self._lock = threading.Lock()

    def session(self) -> Any:
        """Return the ``onnxruntime.InferenceSession``, made once.

        Raises:
            ExpertError: The file is not such a network.
        """
        with self._lock:
            if self._session is None:
                self._session = _open(self._data)
            return self._session

    def find(self, pixels: Pixels) -> Candidates:
        """Find and name everything in a picture, looked at as large as it is."""
        height, width = pixels.shape[:2]
        if min(height, width) < MIN_SIDE_PX:
            return Candidates(np.zeros((0, 4), np.float32), np.zeros((0, len(categories())), np.float32))
        if height % STEP_PX or width % STEP_PX:
            pixels = np.pad(pixels, ((0, -height % STEP_PX), (0, -width % STEP_PX), (0, 0)), mode="edge")
        boxes, probabilities = self.session().run(None, {"pixels": pixels[None]})
        boxes = boxes.clip(0, np.array((width, height, width, height), np.float32))
        good = (probabilities.max(1, initial=0) > KEEP) & ((boxes[:, 2:] - boxes[:, :2]).min(1) >= MIN_BOX_PX)
        return distinct(Candidates(boxes[good], probabilities[good]))


def distinct(found: Candidates) -> Candidates:
    """Keep the best of boxes that overlap: those of the same likeliest name by more than half, any by more than 0.7."""
    order = np.argsort(-found.best, kind="stable")
    boxes, probabilities = found.boxes[order], found.probabilities[order]
    if not len(boxes):
        return Candidates(boxes, probabilities)
    names, iou = probabilities.argmax(1), box_iou_matrix(boxes, boxes)
    clash = (iou > ANY_NAME_IOU) | ((iou > SAME_NAME_IOU) & (names[:, None] == names[None]))
    kept = np.zeros(len(boxes), bool)
    for k in range(len(boxes)):
        kept[k] = not (clash[k, :k] & kept[:k]).any()
    return Candidates(boxes[kept], probabilities[kept])


def _open(data: bytes) -> Any:
    import onnxruntime  # heavy, and most programs ask for no detection

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # several requests use several cores instead
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes have no common base
        raise ExpertError(f"The detector's file cannot be loaded: {say(error)}") from error
    outputs = {output.name: output.shape[-1] for output in session.get_outputs()}
    if [i.name for i in session.get_inputs()] != ["pixels"] or outputs != {
        "boxes": 4,
        "probabilities": len(categories()),
    }:
        raise ExpertError(f"The detector's file gives {outputs}, not boxes and {len(categories())} probabilities.")
    return session
