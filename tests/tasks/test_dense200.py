"""Dense200: boxes by category, the order of the annotation kept, odd boxes scored as they are and named by the audit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from visenv.tasks.dense200 import Dense200
from visenv.tasks.profiles.dense200_rexomni import row_from_dicts

from visenv.answers import Answer
from visenv.testing import check_task

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import dense200 as fixture
from fixtures._playing import nothing, refused, refused_alone, rows, samples, truncate, truth

FILE = "Dense200/_annotations/box_eval/Dense200.jsonl"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    fixture.write(root)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    fixture.write(tmp_path)
    return tmp_path


def records(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / FILE).read_text().splitlines()]


def change(root: Path, edit: Callable[[dict[str, Any]], Any], number: int = 0) -> None:
    """Change one record of the file."""
    found = records(root)
    edit(found[number])
    (root / FILE).write_text("\n".join(map(json.dumps, found)))


def test_it_keeps_the_promises_of_a_task(root: Path) -> None:
    check_task(lambda: Dense200(root), num_samples=12)


def test_targets_are_the_annotation_in_its_order(root: Path) -> None:
    drawn = samples(Dense200(root), "test")
    for sample, record in zip(drawn, records(root), strict=True):
        pairs = [(name, tuple(box)) for name, boxes in record["gt"].items() for box in boxes]
        assert list(zip(sample.target.labels, sample.target.boxes_xyxy, strict=True)) == pairs
        assert all(name in sample.instruction for name in record.get("categories", ()))
    assert drawn[0].target.no_target
    assert drawn[1].instruction == "Put a box around every object of this category: apple."
    assert "unicorn" in drawn[4].instruction
    assert drawn[2].files[0].name == "0002.jpg"


def test_rows_are_those_of_the_annotation_itself(root: Path) -> None:
    task = Dense200(root)
    for sample, record in zip(samples(task, "test"), records(root), strict=True):
        assert task.profile.row(sample.target, truth(sample)) == row_from_dicts(record["gt"], record["gt"])


def test_truth_nothing_and_wrong_names(root: Path) -> None:
    task = Dense200(root)
    drawn = samples(task, "test")
    assert all(s == 1.0 for s in map(task.profile.primary, rows(task.profile, drawn, truth)))
    assert not any(map(task.profile.primary, rows(task.profile, drawn, nothing)))
    boxes = drawn[3].target.boxes_xyxy
    unnamed = task.profile.row(drawn[3].target, Answer(boxes_xyxy=boxes, labels=("thing",) * len(boxes)))
    assert task.profile.primary(unnamed) == 0
    for profile in task.also:
        assert profile.aggregate(rows(profile, drawn, truth))


def test_other_places_of_the_files(own: Path) -> None:
    first = samples(Dense200(own), "test")
    (own / "Dense200" / "_annotations").rename(own / "Dense200" / "annotations")
    (own / "Dense200" / "dense200").rename(own / "Dense200" / "images")
    change_paths = own / "Dense200" / "annotations" / "box_eval" / "Dense200.jsonl"
    change_paths.write_text(change_paths.read_text().replace("dense200/", ""))
    second = samples(Dense200(own), "test")
    assert [s.target for s in first] == [s.target for s in second]
    assert [s.images for s in first] == [s.images for s in second]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: r.update(image_path="../../etc/passwd"), ("inside the folder",)),
        (lambda r: r.update(image_path="/etc/passwd"), ("inside the folder",)),
        (lambda r: r.pop("image_path"), ("image_path",)),
        (lambda r: r.update(gt=[[1, 2, 3, 4]]), ("boxes by category",)),
        (lambda r: r["gt"].update(apple=[[1, 2, 3]]), ("x1, y1, x2, y2",)),
        (lambda r: r["gt"].update(apple=[[1, 2, 3, "4"]]), ("a number",)),
        (lambda r: r["gt"].update(apple=[[1, 2, 3, True]]), ("a number",)),
        (lambda r: r["gt"].update(apple=[[1, 2, 3, 10**400]]), ("finite",)),
        (lambda r: r["gt"].update(apple=None), ("list of boxes",)),
        (lambda r: r["gt"].update({"\ud800": []}), ("UTF-8",)),
        (lambda r: r.update(categories=[], gt={}), ("at least one category",)),
        (lambda r: r.update(categories="apple"), ("a list of texts",)),
    ],
)
def test_a_damaged_record_keeps_its_place_and_spoils_no_other(
    own: Path, edit: Callable[[dict[str, Any]], Any], words: tuple[str, ...]
) -> None:
    change(own, edit, 1)
    assert refused_alone(Dense200(own), "test", *words) == [1]


@pytest.mark.parametrize(
    ("truth", "categories", "asked", "findings"),
    [
        (["apple"], ["APPLE"], ("apple",), 0),
        (["lane 1", "lane 2"], ["lane 2", "lane 1"], ("lane 2", "lane 1"), 0),
        (["lane 1", "lane 2"], ["Lane", "lane 2"], ("lane 1", "lane 2"), 0),
        (["apple"], ["pear"], ("pear", "apple"), 1),
        (["apple"], ["apple", "unicorn", "apple"], ("apple", "unicorn"), 0),
        (["茶", "米"], ["米"], ("米", "茶"), 1),
        (["apple"], None, ("apple",), 0),
    ],
)
def test_what_is_asked_for_is_what_is_annotated(
    own: Path, truth: list[str], categories: list[str] | None, asked: tuple[str, ...], findings: int
) -> None:
    change(own, lambda r: r.update(gt={name: [[1, 2, 9, 9]] for name in truth}, categories=categories), 5)
    task = Dense200(own)
    assert task.sample("test", 1, 5).meta["categories"] == asked
    assert task.sample("test", 1, 5).target.labels == tuple(truth)
    assert len([f for f in task.audit_entry("test", 5, task.entries("test")[5]) if f.kind == "form"]) == findings


@pytest.mark.parametrize("text", ["{", "[1]", '{"image_path": NaN}', "[" * 100_000, '"' * 3])
def test_damaged_files(own: Path, text: str) -> None:
    (own / FILE).write_text(text)
    refused(lambda: Dense200(own).num_samples("test", 1), "Dense200.jsonl")
    (own / FILE).write_bytes(b"\xff\xfe\x00")
    refused(lambda: Dense200(own).num_samples("test", 1), "UTF-8")


def test_lines_and_box_lists_beyond_the_limits(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visenv.tasks.dense200.MAX_BOXES", 3)
    assert len(refused_alone(Dense200(own), "test", "at most 3 in all")) > 6
    monkeypatch.setattr("visenv.tasks.reading.MAX_LINE_BYTES", 60)
    refused(lambda: Dense200(own).num_samples("test", 1), "at most 60 bytes")


def test_missing_and_damaged_pictures(own: Path) -> None:
    picture = own / "Dense200" / "dense200" / "0005.jpg"
    truncate(picture)
    refused(lambda: Dense200(own).sample("test", 1, 5), "readable picture")
    picture.unlink()
    refused(lambda: Dense200(own).sample("test", 1, 5), "0005.jpg", "Mountchicken")
    refused(lambda: Dense200(own / "elsewhere").num_samples("test", 1), "annotations are missing")
    (finding,) = [f for k, e in enumerate(Dense200(own).read("test")) for f in Dense200(own).audit_entry("test", k, e)]
    assert finding.kind == "missing"


def test_the_audit_names_odd_boxes_and_empty_categories(own: Path) -> None:
    change(own, lambda r: r["gt"].update(apple=[[-3, 2, 30, 40], [10, 10, 10, 20], [1, 1, 9, 9]]), 1)
    change(own, lambda r: (r["gt"].update(mug=[]), r["categories"].append("mug")), 5)
    task = Dense200(own)
    found = [f for k, e in enumerate(task.read("test")) for f in task.audit_entry("test", k, e)]
    assert [(f.where, f.kind) for f in found] == [
        ("Dense200/test/1/1", "outside"), ("Dense200/test/1/1", "empty"), ("Dense200/test/1/5", "form"),
    ]  # fmt: skip
    assert task.sample("test", 1, 1).target.boxes_xyxy[0] == (-3.0, 2.0, 30.0, 40.0)


def test_the_miniature_is_the_same_every_time(root: Path, own: Path) -> None:
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        assert path.read_bytes() == (own / path.relative_to(root)).read_bytes()
