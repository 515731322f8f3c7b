"""REC-8K: pairs in the authors' order, points as truth, an F1 for boxes only."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from visenv.agents.oracle import Oracle
from visenv.tasks import rec8k
from visenv.tasks.rec8k import REC8K

from visenv.answers import Answer
from visenv.testing import check_task
from visenv.toolsets import FULL

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import rec8k as fixture
from fixtures._playing import nothing, nowhere, refused, refused_alone, rows, samples, truncate, truth


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    fixture.write(root)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Path:
    fixture.write(tmp_path)
    return tmp_path


def change(root: Path, file: str, edit: Callable[[Any], Any]) -> None:
    path = root / "REC8K" / "anno" / f"{file}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_every_split_keeps_the_promises_of_a_task(root: Path) -> None:
    check_task(lambda: REC8K(root), num_samples=8)


def test_pairs_points_and_clusters(root: Path) -> None:
    task = REC8K(root)
    pairs = json.loads((root / "REC8K/anno/splits.json").read_text(encoding="utf-8"))
    truths = json.loads((root / "REC8K/anno/annotations.json").read_text(encoding="utf-8"))
    for split in task.splits:
        for sample, (image, caption) in zip(samples(task, split), pairs[split], strict=True):
            assert sample.instruction.endswith(caption) and sample.cluster == image
            assert [list(p) for p in sample.target.points_xy] == truths[image][caption]["points"]
            assert not sample.target.boxes_xyxy and not sample.target.masks
    assert {s.meta["source"] for s in samples(task, "train")} == set(fixture.SOURCES[:4])
    assert {0, 1, 60} <= {s.target.num_objects for s in samples(task, "val")}


def test_truth_nothing_and_none(root: Path) -> None:
    task = REC8K(root)
    drawn = samples(task, "test")
    right, failed, none = (rows(task.profile, drawn, answer) for answer in (truth, nothing, nowhere))
    counts = [s.target.num_objects for s in drawn]
    assert set(map(task.profile.primary, right)) == {1.0}
    assert not any(map(task.profile.primary, failed))
    assert [task.profile.primary(row) for row in none] == [float(count == 0) for count in counts]
    metrics = task.profile.aggregate(right)
    assert metrics["MAE_true"] == 0.0 and metrics["F1"] is None
    assert metrics["MAE"] == pytest.approx(sum(count == 0 for count in counts) / len(counts))  # its point at the corner
    assert task.profile.aggregate(none)["MAE_true"] == pytest.approx(np.mean(counts))


def test_boxes_around_the_points_have_an_f1(root: Path) -> None:
    task = REC8K(root)
    drawn = [s for s in samples(task, "val") if s.target.num_objects]
    around = rows(task.profile, drawn, lambda s: Answer(boxes_xyxy=tuple((x - 3, y - 2, x + 3, y + 2) for x, y in s.target.points_xy)))  # fmt: skip
    assert task.profile.aggregate(around)["F1"] == 1.0


def test_the_oracle_counts_what_has_points_only(root: Path) -> None:
    for sample in samples(REC8K(root), "val")[:4]:
        privilege = SimpleNamespace(target=sample.target, objects=(), register_target=lambda: None)
        spec: Any = SimpleNamespace(privilege=privilege, toolset=FULL)
        call = Oracle().start(spec).act({})
        assert call == {"name": "submit_count", "arguments": {"count": sample.target.num_objects}}


def test_pictures_beyond_the_limit_are_shrunk_with_their_points(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = REC8K(own).sample("train", 1, 5)
    monkeypatch.setattr(rec8k, "MAX_SIDE_PX", 80)
    after = REC8K(own).sample("train", 1, 5)
    assert max(after.images[0].size_wh) == 80 and after.files == (None,)
    (width, height), (wide, high) = before.images[0].size_wh, after.images[0].size_wh
    assert height * 80 / width != high  # whole pixels: the sides are not shrunk by one factor
    for (x, y), (u, v) in zip(before.target.points_xy, after.target.points_xy, strict=True):
        assert math.isclose(x / width, u / wide) and math.isclose(y / height, v / high)


@pytest.mark.parametrize(
    ("file", "edit", "words"),
    [
        ("splits", lambda d: d.pop("val"), ("val",)),
        ("splits", lambda d: d.update(val={}), ("a list of pairs",)),
        ("annotations", lambda d: [c.update(points=[[1]]) for p in d.values() for c in p.values()], ("x and y",)),
        ("annotations", lambda d: [c.update(points="many") for p in d.values() for c in p.values()], ("points",)),
        ("annotations", lambda d: [c.update(points=[[1, None]]) for p in d.values() for c in p.values()], ("number",)),
        ("annotations", lambda d: [c.pop("points") for p in d.values() for c in p.values()], ("points",)),
        ("annotations", lambda d: [p.update(dict.fromkeys(p, 3)) for p in d.values()], ("JSON object",)),
    ],
)
def test_damaged_annotations(own: Path, file: str, edit: Callable[[Any], Any], words: tuple[str, ...]) -> None:
    change(own, file, edit)
    refused(lambda: REC8K(own).num_samples("val", 1), *words)


@pytest.mark.parametrize(
    ("pair", "word"),
    [
        (["unknown.jpg", "dots"], "unknown.jpg"),
        (["8-cs-8.jpg", "no such phrase"], "8-cs-8.jpg"),
        (["../../secret", "dots"], "inside the folder"),
        ("dots", "an image id and a caption"),
        ([3, "dots"], "text"),
    ],
)
def test_a_damaged_pair_keeps_its_place_and_spoils_no_other(own: Path, pair: Any, word: str) -> None:
    before = [(s.id, s.cluster, s.target) for s in samples(REC8K(own), "val")]
    change(own, "splits", lambda d: d["val"].__setitem__(2, pair))
    task = REC8K(own)
    assert refused_alone(task, "val", word) == [2]
    kept = [(s.id, s.cluster, s.target) for k in range(len(before)) if k != 2 for s in [task.sample("val", 1, k)]]
    assert kept == before[:2] + before[3:]


def test_a_type_that_is_no_text_is_of_no_score(own: Path) -> None:
    change(own, "annotations", lambda d: [c.update(type=["color", 3]) for p in d.values() for c in p.values()])
    assert {s.meta["type"] for s in samples(REC8K(own), "val")} == {""}


def test_missing_and_damaged_files(own: Path) -> None:
    picture = own / "REC8K" / "rec-8k" / REC8K(own).sample("val", 1, 0).cluster
    truncate(picture)
    refused(lambda: REC8K(own).sample("val", 1, 0), "readable picture")
    picture.unlink()
    refused(lambda: REC8K(own).sample("val", 1, 0), picture.name, "github.com/sydai")
    truncate(own / "REC8K" / "anno" / "annotations.json")
    refused(lambda: REC8K(own).num_samples("val", 1), "annotations.json", "JSON")
    (own / "REC8K" / "anno" / "splits.json").unlink()
    refused(lambda: REC8K(own).num_samples("val", 1), "splits.json")


def test_the_audit_names_points_outside(own: Path) -> None:
    image, caption = json.loads((own / "REC8K/anno/splits.json").read_text(encoding="utf-8"))["val"][2]
    change(own, "annotations", lambda d: d[image][caption]["points"].append([5000, 3]))
    task = REC8K(own)
    found = [f for k, e in enumerate(task.read("val")) for f in task.audit_entry("val", k, e)]
    assert [(f.where, f.kind) for f in found] == [("REC8K/val/1/2", "outside")]


def test_points_outside_of_a_shrunk_and_turned_picture_are_found(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = REC8K(own).sample("train", 1, 8)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    with Pillow.open(before.files[0]) as file:
        file.convert("RGB").save(before.files[0], exif=exif)
    monkeypatch.setattr(rec8k, "MAX_SIDE_PX", 80)
    task = REC8K(own)
    after = task.sample("train", 1, 8)
    (width, height), (wide, high) = before.images[0].size_wh, after.images[0].size_wh
    assert (wide, high) == (round(height * 80 / width), 80)
    for (x, y), (u, v) in zip(before.target.points_xy, after.target.points_xy, strict=True):
        assert math.isclose(1 - y / height, u / wide) and math.isclose(x / width, v / high)
    assert ["EXIF orientation 6" in f.what for f in task.audit_entry("train", 8, task.entries("train")[8])] == [True]
