"""Pictures with an annotation file each: a file too many or too few never moves an index silently."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from visenv.tasks.reasonseg import ReasonSeg
from visenv.tasks.visdrone import VisDrone
from visenv.tasks.vstar import VStar

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import write
from fixtures._playing import refused, samples

DRONE = "VisDrone/VisDrone2019-DET-val"
CASES: dict[str, tuple[Callable[[Path], Any], str, str, str]] = {
    "ReasonSeg": (ReasonSeg, "val", "ReasonSeg/val/val_003.jpg", "ReasonSeg/val/val_003.json"),
    "VisDrone": (VisDrone, "val", f"{DRONE}/images/{{}}.jpg", f"{DRONE}/annotations/{{}}.txt"),
    "VStar": (lambda root: VStar(root), "OCR", "VStar/OCR/sa_1003.jpg", "VStar/OCR/sa_1003.json"),
    "VStar-shuffled": (
        lambda root: VStar(root, letters="shuffled"),
        "test",
        "VStar/relative_position/sa_1003.jpg",
        "VStar/relative_position/sa_1003.json",
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Callable[[], Any], str, Path, Path]:
    """Return how to make the task, its split, one of its pictures and that one's annotation file."""
    make, split, picture, note = CASES[request.param]
    write(request.param.partition("-")[0].lower(), tmp_path)
    fourth = sorted((tmp_path / DRONE / "images").glob("*.jpg"))[3].stem if request.param == "VisDrone" else ""
    return lambda: make(tmp_path), split, tmp_path / picture.format(fourth), tmp_path / note.format(fourth)


def findings(task: Any, split: str) -> list[Any]:
    return [
        *task.audit_split(split),
        *(f for k, e in enumerate(task.entries(split)) for f in task.audit_entry(split, k, e)),
    ]


def test_hidden_files_are_not_there(case: Any) -> None:
    make, split, picture, note = case
    before = [(s.id, s.cluster) for s in samples(make(), split)]
    for path in (picture, note):
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
        (path.parent / ".DS_Store").write_bytes(b"\0")
    assert [(s.id, s.cluster) for s in samples(make(), split)] == before


def test_a_lost_picture_is_refused_by_name(case: Any) -> None:
    make, split, picture, note = case
    picture.unlink()
    refused(lambda: make().num_samples(split, 1), "1 annotation files without a picture", note.name, f"{split!r}")


def test_a_lost_annotation_file_is_refused_by_name(case: Any) -> None:
    make, split, _, note = case
    note.unlink()
    refused(lambda: make().num_samples(split, 1), "1 annotation files missing", note.name)


def test_a_picture_too_many_is_refused_by_name(case: Any) -> None:
    make, split, picture, note = case
    (picture.parent / "a stray one.jpg").write_bytes(picture.read_bytes())
    refused(lambda: make().num_samples(split, 1), f"a stray one{note.suffix}")


def test_where_the_pictures_are_as_many_as_they_should_be_nothing_has_moved(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, split, picture, note = case
    before = [(s.id, s.cluster) for s in samples(make(), split)]
    clean = findings(make(), split)
    monkeypatch.setattr(type(make()), "sizes", {split: len(before)})
    stray = note.with_name(f"stray{note.suffix}")
    stray.write_text("{}")
    task = make()
    assert [(s.id, s.cluster) for s in samples(task, split)] == before
    assert [f.where for f in findings(task, split) if f not in clean] == [f"{stray.parent.name}/{stray.name}"]
    stray.unlink()
    picture.unlink()  # one lost and one too many are as many, too
    picture.with_name("another.jpg").write_bytes(b"")
    refused(lambda: make().num_samples(split, 1), note.name, f"another{note.suffix}")


def test_at_the_official_number_a_lost_annotation_file_is_its_samples_alone(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, split, _, note = case
    before = [(s.id, s.cluster) for s in samples(make(), split)]
    clean = findings(make(), split)
    monkeypatch.setattr(type(make()), "sizes", {split: len(before)})
    note.unlink()
    task = make()
    lost = [k for k in range(task.num_samples(split, 1)) if not made(task, split, k)]
    assert len(lost) == 1 and task.num_samples(split, 1) == len(before)
    new = [f for f in findings(task, split) if f not in clean]
    assert any(note.name in f.what for f in new)
    kept = [(s.id, s.cluster) for k in range(len(before)) if k not in lost for s in [task.sample(split, 1, k)]]
    assert kept == [b for k, b in enumerate(before) if k not in lost]


def made(task: Any, split: str, index: int) -> bool:
    try:
        task.sample(split, 1, index)
    except (ValueError, FileNotFoundError):
        return False
    return True


def test_a_file_in_the_place_of_a_folder_and_an_empty_folder(case: Any) -> None:
    make, split, picture, _ = case
    folder = picture.parent
    for path in folder.iterdir():
        path.unlink()
    refused(lambda: make().num_samples(split, 1))
    folder.rmdir()
    folder.write_text("")
    refused(lambda: make().num_samples(split, 1))
