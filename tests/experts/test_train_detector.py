"""The trainer of the embedded detector: resuming changes nothing, and the file computes what was trained."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from visenv.experts.embedded import DetectorNetwork

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


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--batch 4", "--batch 2: resume it so"),
        ("--side 128 --rate 0.01", "--side 192 --rate 0.002: resume"),
        ("--images 8 --stop 6", "begun with --images 4:"),
        ("--batch 2 --processes 2", "--processes 1:"),
        ("--batch 8 --processes 3", "multiple of --processes (3)"),
        ("--batch 1 --processes 2", "multiple of --processes (2)"),
        ("--images 1", "at least --batch (2)"),
    ],
)
def test_a_training_is_resumed_with_its_settings(
    more: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"images": 4, "batch": 2, "processes": 1, "side": 192, "rate": 2e-3}
    torch.save({"settings": settings}, tmp_path / trainer.CHECKPOINT)
    with pytest.raises(SystemExit):
        run(tmp_path, monkeypatch, *more.split())
    assert said in capsys.readouterr().err


def test_a_checkpoint_without_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"step": 1}, tmp_path / trainer.CHECKPOINT)
    with pytest.raises(SystemExit):
        run(tmp_path, monkeypatch)
    assert "does not say with which settings" in capsys.readouterr().err


def test_two_processes_learn_from_the_whole_batch(tmp_path: Path) -> None:
    script = str(Path(trainer.__file__))
    command = [sys.executable, script, "--out", str(tmp_path), *"--images 4 --batch 2 --side 128 --every 2".split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
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
    assert (tmp_path / "detector.onnx").stat().st_size < 10_000_000
    found = DetectorNetwork(tmp_path / "detector.onnx").find(np.zeros((100, 70, 3), np.uint8))
    assert len(found.boxes) == len(found.probabilities) and found.probabilities.shape[1] == len(trainer.NAMES)


def test_pictures_are_a_pure_function_of_their_number() -> None:
    for index in range(4):
        pixels, boxes, classes = trainer.training_picture(index, 192)
        again = trainer.training_picture(index, 192)
        assert all(np.array_equal(a, b) for a, b in zip((pixels, boxes, classes), again, strict=True))
        assert pixels.shape == (192, 192, 3) and len(boxes) == len(classes)
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= 192).all() and (boxes[:, 2:] > boxes[:, :2]).all()
