"""The trainer of the embedded detector: resuming changes nothing, and the file computes what was trained."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from visenv.masks import box_iou_matrix

for extra in ("torch", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(extra, reason=f"training needs {extra}: pip install visenv[train]")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
torch, trainer = importlib.import_module("torch"), importlib.import_module("train_detector")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def run(out: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> dict[str, torch.Tensor]:
    """Train for two steps on two small pictures each and return the averaged network."""
    small = "--images 4 --batch 2 --processes 1 --side 192 --every 1".split()
    monkeypatch.setattr(sys, "argv", ["train_detector.py", "--out", str(out), *small, *more])
    monkeypatch.setattr(trainer, "export", lambda model, path: None)
    trainer.main()
    state = torch.load(out / trainer.CHECKPOINT, weights_only=True)
    return state["average"]


def test_resuming_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = run(tmp_path / "once", monkeypatch)
    half = run(tmp_path / "twice", monkeypatch, "--stop", "2")
    assert any(not torch.equal(once[key], half[key]) for key in once)
    twice = run(tmp_path / "twice", monkeypatch)
    assert all(torch.equal(once[key], twice[key]) for key in once)


def test_two_processes_learn_from_the_whole_batch(tmp_path: Path) -> None:
    script = str(Path(trainer.__file__))
    command = [sys.executable, script, "--out", str(tmp_path), *"--images 4 --batch 2 --side 128 --every 2".split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "detector.onnx").stat().st_size < 10_000_000
    state = torch.load(tmp_path / trainer.CHECKPOINT, weights_only=True)
    assert state["step"] == 2 and state["core_seconds"] > 0


def test_file_equals_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = trainer.Detector().eval()
    with torch.no_grad():
        model.where.bias[0] = -1.0  # an untrained network sees nothing
    trainer.export(model, tmp_path / "detector.onnx")  # raises when they disagree
    session = trainer.open_session(tmp_path / "detector.onnx")
    assert (tmp_path / "detector.onnx").stat().st_size < 10_000_000
    boxes, probabilities = trainer.detect(session, np.zeros((100, 70, 3), np.uint8))
    assert len(boxes) == len(probabilities) and probabilities.shape[1] == len(trainer.NAMES)


def test_pictures_are_a_pure_function_of_their_number() -> None:
    for index in range(4):
        pixels, boxes, classes = trainer.training_picture(index, 192)
        again = trainer.training_picture(index, 192)
        assert all(np.array_equal(a, b) for a, b in zip((pixels, boxes, classes), again, strict=True))
        assert pixels.shape == (192, 192, 3) and len(boxes) == len(classes)
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= 192).all() and (boxes[:, 2:] > boxes[:, :2]).all()


def test_slices_miss_and_double_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    corners = rng.permutation(np.array([(x, y) for x in range(4, 1100, 70) for y in range(4, 800, 70)]))[:120]
    real = np.concatenate([corners, corners + 40], 1).astype(np.float32)
    page = np.zeros((900, 1200, 3), np.uint8)
    page[..., 0], page[..., 1] = np.arange(900)[:, None] % 256, np.arange(900)[:, None] // 256
    page[..., 2] = np.arange(1200)[None] // 8

    def see(_: object, pixels: trainer.Pixels) -> trainer.Found:
        top = int(pixels[0, 0, 0]) + 256 * int(pixels[0, 0, 1])
        left = int(pixels[0, 0, 2]) * 8
        height, width = pixels.shape[:2]
        boxes = real - np.array([left, top] * 2, np.float32)
        boxes = boxes.clip(0, (width, height, width, height)).astype(np.float32)
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(1) > 8]
        odds = np.zeros((len(boxes), len(trainer.NAMES)), np.float32)
        odds[:, 0] = 0.9
        return boxes, odds

    monkeypatch.setattr(trainer, "detect", see)
    boxes, _ = trainer.detect_sliced(None, page)
    assert len(boxes) == len(real)
    assert box_iou_matrix(real, boxes).max(1).min() > 0.999
