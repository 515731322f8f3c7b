"""Reading text with RapidOCR: the PP-OCR networks on onnxruntime, whose weights come with the package."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import ExpertError, bad_value, missing_extra, say
from ..images import Image, Pixels
from ._options import check_flag, check_share
from ._protocol import Capability, ReadRequest, Request, Result, TextLines
from .embedded._batch import BatchExpert

if TYPE_CHECKING:
    from rapidocr import RapidOCR

__all__ = ["OCR"]

DETECTION, RECOGNITION, DIRECTION = (
    "PP-OCRv6_det_small.onnx",
    "PP-OCRv6_rec_small.onnx",
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
)
"""Files of the package that find lines, read them, and tell which are upside down."""
SMALLEST_PX = 48
"""Pictures with a shorter side are extended to it: the networks would enlarge a strip without limit."""
MOST_ELONGATED = 3
"""Longer side per shorter side, likewise."""
LONGEST_PX = 2000
"""To which the package shrinks a longer side; a picture that must be extended is shrunk before, not as large as it would become."""


class OCR(BatchExpert):
    """Reads printed text, line by line, in reading order; nothing is downloaded.

    A picture is brought to sides of 736 to 2000 px before it is looked at; small print in a larger one is read in a crop or a patch.
    """

    name = "ocr"
    capabilities: frozenset[Capability] = frozenset({"read"})

    def __init__(self, *, min_score: float = 0.5, turned: bool = False, threads: int | None = None) -> None:
        """Load nothing yet.

        Args:
            min_score: Lines that are less sure are left out, 0 to 1.
            turned: Whether to look for lines that are upside down too, which takes half as long again.
            threads: Most pictures read at a time; one per core by default. Results do not depend on it.

        Raises:
            MissingExtraError: RapidOCR or onnxruntime is not installed.
            BadValueError: An option out of range.
        """
        super().__init__(threads=threads)
        self.min_score = check_share("min_score", min_score)
        self.turned = check_flag("turned", turned)
        try:
            import onnxruntime  # noqa: F401
            import rapidocr
        except ModuleNotFoundError as error:
            raise missing_extra("Expert 'ocr'", "ocr") from error
        self.version = f"2-rapidocr-{version('rapidocr')}"
        self._models = {
            part: _find(Path(rapidocr.__path__[0]) / "models" / name)
            for part, name in (("Det", DETECTION), ("Rec", RECOGNITION), ("Cls", DIRECTION))
        }
        self.weights_hash = _hash(self._models.values(), f"{self.min_score} {turned}")
        self._free: list[RapidOCR] = []
        self._slots = threading.Semaphore(self.threads)

    def answer(self, request: Request) -> Result:
        """Read one picture."""
        assert isinstance(request, ReadRequest)
        pixels, scale = _extended(request.image)
        with self._engine() as engine:
            found: Any = engine(pixels[:, :, ::-1].copy(), use_cls=self.turned)
        if not len(found):
            return TextLines(lines=(), boxes_xyxy=np.zeros((0, 4)))
        lines = [" ".join(str(text).split()) for text in found.txts]
        boxes = _boxes(found.boxes / np.array(scale), request.image.size_wh)
        keep = [k for k, line in enumerate(lines) if line and (boxes[k, 2:] > boxes[k, :2]).all()]
        return TextLines(lines=tuple(lines[k] for k in keep), boxes_xyxy=boxes[keep])

    def health(self) -> str:
        """Load the networks, unless they are loaded or in use; read nothing."""
        if not self._slots.acquire(blocking=False):
            return "busy reading"
        self._slots.release()
        try:
            with self._engine():
                return f"{', '.join(path.name for path in self._models.values())} loaded"
        except Exception as error:  # a file that is gone or damaged, or memory
            raise ExpertError(f"{self.name} cannot load its networks: {say(error)}") from error

    def close(self) -> None:
        """Drop the networks; they are loaded again when they are needed."""
        self._free.clear()

    @contextmanager
    def _engine(self) -> Iterator[RapidOCR]:
        """Lend an engine to one thread: they keep state while they read."""
        with self._slots:
            try:
                engine = self._free.pop()
            except IndexError:
                engine = self._make()
            try:
                yield engine
            finally:
                self._free.append(engine)

    def _make(self) -> RapidOCR:
        from rapidocr import RapidOCR

        for path in self._models.values():
            _find(path)  # else the package would fetch another
        settings: dict[str, Any] = {
            "Global.log_level": "critical",  # it warns of every picture without text
            "Global.text_score": self.min_score,
            # One thread for each network: sums would depend on how they are split.
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
        # With their paths given, nothing is looked up or fetched.
        settings |= {f"{part}.model_path": str(path) for part, path in self._models.items()}
        return RapidOCR(params=settings)


def _find(path: Path) -> Path:
    if not path.is_file():
        raise bad_value(
            "rapidocr", version("rapidocr"), expected=f"a version whose package holds {path.name}",
            remedy='Install one with `pip install "visenv[ocr]"`.',
        )  # fmt: skip
    return path


def _hash(paths: Any, settings: str) -> str:
    digest = hashlib.sha256(settings.encode())
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _extended(image: Image) -> tuple[Pixels, tuple[float, float]]:
    """Return the pixels, repeated at the right and bottom edges of a picture that is too thin, and their scale in x and y."""
    width, height = image.size_wh
    longer = max(width, height)
    if min(width, height) >= max(SMALLEST_PX, longer / MOST_ELONGATED):
        return image.pixels, (1.0, 1.0)
    shrink = min(1.0, LONGEST_PX / longer)
    wide, tall = (max(1, round(side * shrink)) for side in (width, height))
    pixels = cv2.resize(image.pixels, (wide, tall), interpolation=cv2.INTER_AREA) if shrink < 1 else image.pixels
    least = max(SMALLEST_PX, -(-max(wide, tall) // MOST_ELONGATED))
    right, below = max(0, least - wide), max(0, least - tall)
    extended = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return np.asarray(extended, np.uint8), (wide / width, tall / height)


def _boxes(corners: npt.ArrayLike, size_wh: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the upright boxes of quadrilaterals ``(N, 4, 2)``, inside the picture."""
    quads = np.asarray(corners, np.float64).reshape(-1, 4, 2)
    boxes = np.concatenate([quads.min(1), quads.max(1)], 1)
    return np.asarray(boxes.clip(0, np.array([*size_wh, *size_wh], np.float64)))
