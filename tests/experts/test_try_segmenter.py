"""The trial of a promptable segmenter: two steps, resumed to the same weights, and files that compute what was trained."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from visenv.leaderboard.expert_quality import View

from visenv.experts import SegmentRequest

for extra in ("torch", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(extra, reason=f"training needs {extra}: pip install visenv[train]")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
torch, trial = importlib.import_module("torch"), importlib.import_module("try_segmenter")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def run(out: Path, monkeypatch: pytest.MonkeyPatch, *, stop: int, write: bool = False) -> dict[str, torch.Tensor]:
    """Train up to step ``stop`` of two, on one small picture each, and return the averaged networks."""
    monkeypatch.setattr(
        sys, "argv", ["", "train", "--out", str(out), *"--images 2 --batch 1 --prompts 3 --side 192 --every 1".split()]
    )
    kept, steps = trial.losses, iter(range(9))

    def losses(*arguments: object) -> dict[str, torch.Tensor]:
        if next(steps) == stop:
            raise KeyboardInterrupt
        return kept(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trial, "losses", losses)
        if not write:
            patch.setattr(trial, "export", lambda *_: None)
        with contextlib.suppress(KeyboardInterrupt):
            trial.main()
    return torch.load(out / trial.CHECKPOINT, weights_only=True)["average"]


def test_two_steps_resume_export_and_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: dict[int, list[View]]
) -> None:
    once = run(tmp_path / "once", monkeypatch, stop=9)
    half = run(tmp_path / "twice", monkeypatch, stop=1)
    assert any(not torch.equal(once[key], half[key]) for key in once)
    twice = run(tmp_path / "twice", monkeypatch, stop=9, write=True)  # raises when a file and its network disagree
    assert all(torch.equal(once[key], twice[key]) for key in once)
    expert, view = trial.TrialSegmenter(tmp_path / "twice"), drawn[1][0]
    for off, on in (((3.5, 4.5), (30.5, 40.5)), ((511.0, 0.0), (500.0, 511.5))):
        request = SegmentRequest(
            image=view.image, box_xyxy=(8, 10, 90, 100), points_xy=(off, on), points_positive=(False, True)
        )
        (first,), (again,) = expert.run([request]), expert.run([request])
        mask = first.mask.to_dense()
        assert first.mask == again.mask and 0 <= first.score <= 1
        assert mask[int(on[1]), int(on[0])] and not mask[int(off[1]), int(off[0])]


@pytest.mark.parametrize("window", [(10.0, 20.0, 96.0), (-30.0, 150.0, 80.0), (33.3, 44.4, 140.0)])
def test_what_is_put_back_is_what_was_looked_at(window: tuple[float, float, float]) -> None:
    truth = np.zeros((200, 190), bool)
    truth[max(0, int(window[1]) + 20) : int(window[1]) + 60, max(0, int(window[0]) + 10) : int(window[0]) + 70] = True
    seen = trial.looked_at(truth.astype(np.float32), window)
    part, (left, top) = trial.put_back(seen - 0.5, window, truth.shape)
    back = np.zeros_like(truth)
    back[top : top + part.shape[0], left : left + part.shape[1]] = part
    assert (back & truth).sum() / (back | truth).sum() > 0.93


def test_pictures_are_a_pure_function_of_their_number() -> None:
    for index in range(6):
        (pixels, labels), (again, same) = trial.training_picture(index, 192), trial.training_picture(index, 192)
        assert np.array_equal(pixels, again) and np.array_equal(labels, same)
        assert pixels.shape == (192, 192, 3) and labels.shape == (192, 192) and labels.max() > 0
